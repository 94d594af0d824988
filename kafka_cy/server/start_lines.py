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
    if broker.metrics is not None:
        log.info("serving metrics", url=f"http://{_address(broker.config['kafkacy.metrics.listen'], broker.metrics.port)}/metrics")
    if broker.lag is not None:
        log.info("serving consumer lag", url=f"http://{_address(broker.config['kafkacy.lag.listen'], broker.lag.port)}/metrics")


def _address(listen: str, port: int) -> str:
    return f"{listen.strip().rpartition(':')[0] or '0.0.0.0'}:{port}"
