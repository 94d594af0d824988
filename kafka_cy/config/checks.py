"""Checks of a broker's settings against each other, as Kafka makes them when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kafka_cy.config.types import ConfigError, RelationError, parse_integer, split_list

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
    _check_cordoned(config["cordoned.log.dirs"], config.log_dirs)
    for low, high in _ORDERED_PAIRS:
        if config[low] > config[high]:
            raise ConfigError(low, config[low], f"at most {high}, {config[high]}")


def _check_cordoned(cordoned: list[str], log_dirs: list[str]) -> None:
    """Entries are compared as they are written, as in Kafka."""
    name = "cordoned.log.dirs"
    if "*" in cordoned:
        if set(cordoned) != {"*"}:
            reason = f"requirement failed: When {name} is set to *, it must not contain other values"
            raise RelationError(name, ",".join(cordoned), "* alone, or a list of log directories", reason)
        return
    missing = [path for path in cordoned if path not in log_dirs]
    if missing:
        reason = (
            f"requirement failed: All entries in {name} must be present in log.dirs or log.dir."
            f" Missing entries : {', '.join(missing)}"
        )
        raise RelationError(name, ",".join(cordoned), "a list of log directories, as log.dirs has them", reason)


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
    for name in ("controller.quorum.voters", "controller.quorum.bootstrap.servers"):
        members: list[Any] = config[name]
        if members and roles and "controller" not in roles:
            reason = "process.roles has no controller, so this broker would depend on the controllers of another process"
            raise ConfigError(name, config.text(name), "unset: kafka-cy cannot join a KRaft quorum", reason)
        if len(members) > 1:
            reason = "kafka-cy stores its metadata itself and cannot join a KRaft quorum of several controllers"
            raise ConfigError(name, config.text(name), "one entry, or unset", reason)
    for voter in config["controller.quorum.voters"]:
        if parse_integer(voter.partition("@")[0].strip(), bits=32) != config.broker_id:
            reason = "the voter is another node, and kafka-cy cannot join a KRaft quorum"
            allowed = f"an entry with the value of node.id, {config.broker_id}, or unset"
            raise ConfigError("controller.quorum.voters", config.text("controller.quorum.voters"), allowed, reason)


def check_member(config: BrokerConfig) -> None:
    """Check the settings of a member of a cluster (zookeeper.connect). Raises ConfigError."""
    connect = config.text("zookeeper.connect")
    if config["process.roles"]:
        reason = "process.roles is for KRaft, which has no ZooKeeper"
        raise ConfigError("zookeeper.connect", connect, "unset, or process.roles unset", reason)
    broker_id, reserved = config.broker_id, config["reserved.broker.max.id"]
    if config["broker.id.generation.enable"] and broker_id > reserved:
        allowed = f"at most reserved.broker.max.id, {reserved}, unless broker.id.generation.enable is false"
        raise ConfigError("broker.id", broker_id, allowed)
    if broker_id < 0 and not config["broker.id.generation.enable"]:
        raise ConfigError("broker.id", broker_id, "at least 0, because broker.id.generation.enable is false")
    protocols = {listener.name: listener.security_protocol for listener in config.listeners}
    inter_broker, control_plane = config.inter_broker_listener_name, config.control_plane_listener_name
    if control_plane is not None:
        if control_plane not in protocols:
            allowed = "one of the listeners: " + ", ".join(protocols)
            raise ConfigError("control.plane.listener.name", control_plane, allowed)
        if control_plane == inter_broker:
            raise ConfigError("control.plane.listener.name", control_plane, "another listener than the inter-broker one")
