"""Keys of a group resource in the order in which Kafka lists them.

Most have a broker key of the same name under "group." that gives the default.
"""

from typing import Final

from kafka_cy.config.types import Entry

KEYS: Final[tuple[Entry, ...]] = (
    ("consumer.session.timeout.ms", "INT", "45000", "group", ("at_least", 1), "MEDIUM", "coordinator",
     "Session timeout of members."),
    ("consumer.assignment.interval.ms", "INT", "1000", "group", ("at_least", 0), "MEDIUM", "coordinator",
     "Minimum time between two assignments of this consumer group."),
    ("share.auto.offset.reset", "STRING", "latest", "group", ("offset_reset",), "MEDIUM", "share",
     "Position at which a share group starts in a partition: earliest, latest or by_duration:PT1H."),
    ("share.renew.acknowledge.enable", "BOOLEAN", "true", "group", None, "MEDIUM", "share",
     "Whether a member can renew its lock on a record."),
    ("streams.initial.rebalance.delay.ms", "INT", "3000", "group", ("at_least", 0), "MEDIUM", "coordinator",
     "Time for which a new streams group waits for more members."),
    ("share.session.timeout.ms", "INT", "45000", "group", ("at_least", 1), "MEDIUM", "coordinator",
     "Session timeout of members."),
    ("streams.assignment.interval.ms", "INT", "1000", "group", ("at_least", 0), "MEDIUM", "coordinator",
     "Minimum time between two assignments of this streams group."),
    ("share.heartbeat.interval.ms", "INT", "5000", "group", ("at_least", 1), "MEDIUM", "coordinator",
     "Heartbeat interval of members."),
    ("streams.heartbeat.interval.ms", "INT", "5000", "group", ("at_least", 1), "MEDIUM", "coordinator",
     "Heartbeat interval of members."),
    ("share.delivery.count.limit", "INT", "5", "group", ("at_least", 2), "MEDIUM", "share",
     "Maximum number of deliveries of a record."),
    ("consumer.heartbeat.interval.ms", "INT", "5000", "group", ("at_least", 1), "MEDIUM", "coordinator",
     "Heartbeat interval of members."),
    ("share.record.lock.duration.ms", "INT", "30000", "group", ("at_least", 1000), "MEDIUM", "share",
     "Time for which a member locks a record."),
    ("share.assignment.interval.ms", "INT", "1000", "group", ("at_least", 0), "MEDIUM", "coordinator",
     "Minimum time between two assignments of this share group."),
    ("share.isolation.level", "STRING", "read_uncommitted", "group",
     ("in", "read_committed", "read_uncommitted"), "MEDIUM", "share",
     "Whether records of open and aborted transactions are delivered."),
    ("streams.session.timeout.ms", "INT", "45000", "group", ("at_least", 1), "MEDIUM", "coordinator",
     "Session timeout of members."),
    ("share.partition.max.record.locks", "INT", "2000", "group", ("at_least", 100), "MEDIUM", "share",
     "Maximum number of locked records of a partition."),
    ("streams.num.standby.replicas", "INT", "0", "group", ("at_least", 0), "MEDIUM", "coordinator",
     "Number of standby copies of each stateful task."),
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
