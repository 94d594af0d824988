"""Group configuration keys in the order in which Kafka lists them.

Most have a broker key of the same name under "group." that gives the default.
"""

from typing import Final

from kafka_cy.config.types import Row

GROUP_KEYS: Final[tuple[Row, ...]] = (
    ("consumer.session.timeout.ms", "INT", "45000", "group", ("at_least", 1)),
    ("consumer.assignment.interval.ms", "INT", "1000", "group", ("at_least", 0)),
    ("share.auto.offset.reset", "STRING", "latest", "group", ("offset_reset",)),
    ("share.renew.acknowledge.enable", "BOOLEAN", "true", "group", None),
    ("streams.initial.rebalance.delay.ms", "INT", "3000", "group", ("at_least", 0)),
    ("share.session.timeout.ms", "INT", "45000", "group", ("at_least", 1)),
    ("streams.assignment.interval.ms", "INT", "1000", "group", ("at_least", 0)),
    ("share.heartbeat.interval.ms", "INT", "5000", "group", ("at_least", 1)),
    ("streams.heartbeat.interval.ms", "INT", "5000", "group", ("at_least", 1)),
    ("share.delivery.count.limit", "INT", "5", "group", ("at_least", 2)),
    ("consumer.heartbeat.interval.ms", "INT", "5000", "group", ("at_least", 1)),
    ("share.record.lock.duration.ms", "INT", "30000", "group", ("at_least", 1000)),
    ("share.assignment.interval.ms", "INT", "1000", "group", ("at_least", 0)),
    ("share.isolation.level", "STRING", "read_uncommitted", "group", ("in", "read_committed", "read_uncommitted")),
    ("streams.session.timeout.ms", "INT", "45000", "group", ("at_least", 1)),
    ("share.partition.max.record.locks", "INT", "2000", "group", ("at_least", 100)),
    ("streams.num.standby.replicas", "INT", "0", "group", ("at_least", 0)),
)

#: Group key -> broker key that gives its default.
BROKER_SYNONYMS: Final[dict[str, str]] = {
    "consumer.session.timeout.ms": "group.consumer.session.timeout.ms",
    "consumer.assignment.interval.ms": "group.consumer.assignment.interval.ms",
    "streams.initial.rebalance.delay.ms": "group.streams.initial.rebalance.delay.ms",
    "share.session.timeout.ms": "group.share.session.timeout.ms",
    "streams.assignment.interval.ms": "group.streams.assignment.interval.ms",
    "share.heartbeat.interval.ms": "group.share.heartbeat.interval.ms",
    "streams.heartbeat.interval.ms": "group.streams.heartbeat.interval.ms",
    "share.delivery.count.limit": "group.share.delivery.count.limit",
    "consumer.heartbeat.interval.ms": "group.consumer.heartbeat.interval.ms",
    "share.record.lock.duration.ms": "group.share.record.lock.duration.ms",
    "share.assignment.interval.ms": "group.share.assignment.interval.ms",
    "streams.session.timeout.ms": "group.streams.session.timeout.ms",
    "share.partition.max.record.locks": "group.share.partition.max.record.locks",
    "streams.num.standby.replicas": "group.streams.num.standby.replicas",
}
