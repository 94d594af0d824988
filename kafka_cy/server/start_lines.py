"""What the broker's log says about the start: the program, its configuration and its addresses."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafka_cy.config import definitions
from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.server.log import BrokerLog
from kafka_cy.version import VERSION, built_commit

if TYPE_CHECKING:
    from kafka_cy.config.listeners import Listener
    from kafka_cy.server.broker import KafkaServer

HIDDEN = "[hidden]"


def log_start(log: BrokerLog, config: BrokerConfig, config_path: str | None, overrides: Mapping[str, str]) -> None:
    """Say which program starts, with which configuration; at debug also every effective value."""
    commit = built_commit()
    log.info(
        "starting kafka-cy",
        version=VERSION,
        **({"commit": commit} if commit else {}),
        pid=os.getpid(),
        python=".".join(map(str, sys.version_info[:3])),
        node_id=config.broker_id,
        config=os.path.abspath(config_path) if config_path is not None else "none",  # noqa: PTH100 (start time)
        overrides=", ".join(f"{name}={shown(name, text)}" for name, text in overrides.items()),
        log_dirs=",".join(config.log_dirs),
    )
    if log.writes_debug:
        log.debug("configuration values", **effective_values(config))


def shown(name: str, text: str | None) -> str | None:
    """Return a broker key's value for the log; passwords, and values of keys that are not known, are hidden as in Kafka."""
    key = definitions.broker_key(name)
    return HIDDEN if text is not None and (key is None or key.sensitive) else text


def effective_values(config: BrokerConfig) -> dict[str, Any]:
    """Return the text of every broker key that has a value, by name."""
    names = [*definitions.broker_key_names(), *(name for name in config.static if name.startswith(definitions.LISTENER_PREFIX))]
    values = ((name, shown(name, config.text(name))) for name in names)
    return {name: value for name, value in values if value is not None}


def log_addresses(log: BrokerLog, broker: KafkaServer) -> None:
    """Say where the broker listens, and what it tells clients."""
    bound = {listener.name: listener for listener in broker.config.listeners}
    for name, host, port in broker.addresses:
        listener = bound[name]
        actual = listener._replace(port=listener.port or broker.bound_ports[name])
        log.info(
            "listening",
            listener=name,
            protocol=listener.security_protocol,
            address=actual.address,
            advertised=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        )
    scheme = "https" if broker.config["kafkacy.metrics.tls.certificate"] else "http"
    if broker.metrics is not None:
        address = _address(broker.config["kafkacy.metrics.listen"], broker.metrics.port)
        log.info("serving metrics", url=f"{scheme}://{address}/metrics")
    if broker.lag is not None:
        address = _address(broker.config["kafkacy.lag.listen"], broker.lag.port)
        log.info("serving consumer lag", url=f"{scheme}://{address}/metrics")


def warn_of_open_addresses(log: BrokerLog, config: BrokerConfig) -> None:
    """Say which listeners and pages serve other machines without asking who they are."""
    found = [listener for listener in config.listeners if not _authenticates(config, listener) and not is_loopback(listener.host)]
    if found:
        listeners = ", ".join(f"{listener} ({listener.security_protocol})" for listener in found)
        log.warning("clients on other machines need no authentication", listeners=listeners)
    if config["kafkacy.metrics.basic.auth.users.file"]:
        return
    pages = {name: config[f"kafkacy.{name}.listen"] for name in ("metrics", "lag")}
    reached = [f"{name} ({listen})" for name, listen in pages.items() if listen and not is_loopback(_host_of(listen))]
    if reached:
        log.warning("pages are shown to other machines without a password", pages=", ".join(reached))


def warn_of_anonymous_users(log: BrokerLog, config: BrokerConfig) -> None:
    """Say which listeners make everyone the same user, who has rights by an authorizer."""
    open_listeners = ", ".join(str(each) for each in config.listeners if not _authenticates(config, each))
    if not open_listeners or not str(config["authorizer.class.name"] or "").strip():
        return
    from kafka_cy.authorizer.acls import ANONYMOUS, to_bytes, user_of
    from kafka_cy.authorizer.authorizer import parse_super_users

    if to_bytes(ANONYMOUS) in map(user_of, parse_super_users(str(config["super.users"] or ""))):
        what = "clients without authentication may do anything: the authorizer knows them as User:ANONYMOUS, a super user"
    else:
        what = "clients without authentication are one user for the authorizer: each may do what User:ANONYMOUS or User:* may do"
    log.warning(what, listeners=open_listeners)


def _authenticates(config: BrokerConfig, listener: Listener) -> bool:
    if listener.security_protocol == "SSL":
        return bool(config.of_listener(listener.name, "ssl.client.auth")[1] == "required")
    return listener.security_protocol != "PLAINTEXT"


def is_loopback(host: str) -> bool:
    """Whether a socket that is bound to this host serves this machine only. Without ipaddress, which costs start time."""
    if host == "localhost":
        return True
    if host and not _is_address(host):
        import socket

        try:
            host = str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])  # as listening_socket
        except OSError:
            return False
    return host.removeprefix("::ffff:").startswith("127.") or host in ("::1", "0:0:0:0:0:0:0:1")


def _is_address(host: str) -> bool:
    return ":" in host or all(letter in "0123456789." for letter in host)


def _host_of(listen: str) -> str:
    return listen.strip().rpartition(":")[0].strip("[]")


def _address(listen: str, port: int) -> str:
    return f"{listen.strip().rpartition(':')[0] or '0.0.0.0'}:{port}"
