"""Applies the quotas of replication (KIP-73): at the start, and when they change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kafka_cy.quota import replication_quota

if TYPE_CHECKING:
    from kafka_cy.config.broker_config import BrokerConfig

#: Dynamic key -> kind of quota (replication_quota.KINDS). As in Kafka, what a file says of them does not count.
RATES: Final = {
    "leader.replication.throttled.rate": "leader",
    "follower.replication.throttled.rate": "follower",
    "replica.alter.log.dirs.io.max.bytes.per.second": "log dirs",
}

WINDOWS: Final = (
    ("replication.quota.window.num", "replication.quota.window.size.seconds", ("leader", "follower")),
    ("alter.log.dirs.replication.quota.window.num", "alter.log.dirs.replication.quota.window.size.seconds", ("log dirs",)),
)


def start_replication_quotas(config: BrokerConfig, log: Any) -> None:
    """Apply what is stored, and from now on every change. On the controller's thread."""
    for number, size, kinds in WINDOWS:
        if number in config.static or size in config.static:  # a start without them does not load the tables of these keys
            for kind in kinds:
                replication_quota.set_windows(kind, int(config[number]), int(config[size]))

    def apply(names: frozenset[str]) -> None:
        for key in RATES.keys() & names:
            text = config.dynamic_broker.get(key, config.dynamic_default.get(key))
            replication_quota.set_limit(RATES[key], None if text is None else int(text))
            if text is not None or names is not ALL:
                log.info("a quota of replication is set", key=key, bytes_per_second="none" if text is None else text)

    apply(ALL)
    config.add_change_listener(apply)


ALL: Final = frozenset(RATES)
