"""Checks of a broker's settings against each other, as Kafka makes them when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kafka_cy.config.types import ConfigError, parse_integer, split_list

if TYPE_CHECKING:
    from kafka_cy.config.broker_config import BrokerConfig

_ORDERED_PAIRS: Final = (
    ("group.min.session.timeout.ms", "group.max.session.timeout.ms"),
    ("group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    ("group.consumer.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    ("group.consumer.min.session.timeout.ms", "group.consumer.session.timeout.ms"),
    ("group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
    ("group.consumer.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
    ("group.consumer.min.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms"),
    ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
)
_OVERRIDES_KEY: Final = "max.connections.per.ip.overrides"
_OVERRIDES_ALLOWED: Final = "a list of host:number such as 127.0.0.1:200,backup.example:10"


def check_relations(config: BrokerConfig) -> None:
    """Raise ConfigError for a value that does not go with another one."""
    for name in ("log.retention.ms", "log.retention.minutes", "log.retention.hours"):
        if config[name] == 0:
            raise ConfigError(name, 0, "-1 (no limit), or at least 1")
    queued, request = config["queued.max.request.bytes"], config["socket.request.max.bytes"]
    if 0 < queued < request:
        allowed = f"-1, or at least socket.request.max.bytes, {request}"
        raise ConfigError("queued.max.request.bytes", queued, allowed)
    check_connection_limits(config["max.connections.per.ip"], config[_OVERRIDES_KEY])
    map_bytes, threads = config["log.cleaner.dedupe.buffer.size"], max(config["log.cleaner.threads"], 1)
    if map_bytes // threads <= 1 << 20:
        allowed = f"more than 1048576 for each of log.cleaner.threads, {threads}"
        raise ConfigError("log.cleaner.dedupe.buffer.size", map_bytes, allowed)
    for low, high in _ORDERED_PAIRS:
        if config[low] > config[high]:
            raise ConfigError(low, config[low], f"at most {high}, {config[high]}")


def check_connection_limits(limit: int, overrides: str) -> None:
    """Check `max.connections.per.ip` and its overrides. Raises ConfigError."""
    if limit == 0 and not parse_connection_overrides(overrides):
        allowed = f"at least 1, or 0 together with {_OVERRIDES_KEY}"
        raise ConfigError("max.connections.per.ip", 0, allowed)
    parse_connection_overrides(overrides)


def parse_connection_overrides(text: str) -> dict[str, int]:
    """Parse `max.connections.per.ip.overrides` into address -> limit. Raises ConfigError.

    The limit follows the last colon, so that an IPv6 address can be written with or without brackets.
    """
    result: dict[str, int] = {}
    for entry in split_list(text):
        host, colon, limit_text = entry.rpartition(":")
        host, limit = host.strip(), parse_integer(limit_text.strip(), bits=32)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        if not colon or limit is None or limit < 0:
            raise ConfigError(_OVERRIDES_KEY, text, _OVERRIDES_ALLOWED, f"{entry} is not of the form host:number")
        if not host or not all(each.isascii() and (each.isalnum() or each in "-%._:") for each in host):
            raise ConfigError(_OVERRIDES_KEY, text, _OVERRIDES_ALLOWED, f"contains invalid addresses : {host}")
        result[host] = limit
    return result


def check_quorum(config: BrokerConfig) -> None:
    """Refuse settings that would make this process a member of a KRaft cluster of several processes.

    A file for one combined process (process.roles=broker,controller) is accepted: a single kafka-cy broker serves the same
    purpose. Raises ConfigError.
    """
    roles: list[str] = config["process.roles"] or []
    if not roles:
        return  # Kafka 4 does not start without roles; older files have no quorum
    for name in ("controller.quorum.voters", "controller.quorum.bootstrap.servers"):
        members: list[Any] = config[name]
        if members and "controller" not in roles:
            reason = "process.roles has no controller, so this broker would depend on the controllers of another process"
            raise ConfigError(name, config.text(name), "unset: kafka-cy cannot join a KRaft quorum", reason)
        if len(members) > 1:
            reason = "kafka-cy stores its metadata itself and cannot join a KRaft quorum of several controllers"
            raise ConfigError(name, config.text(name), "one entry, or unset", reason)
