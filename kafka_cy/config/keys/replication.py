"""Keys of replication, leader election, and the connections between brokers."""

from typing import Final

from kafka_cy.config.types import Entry

_SELECTORS: Final = (
    "org.apache.kafka.common.replica.RackAwareReplicaSelector", "org.apache.kafka.common.replica.LeaderSelector",
)
_SETUP: Final = "ignored: connecting to another broker may take as long as a request, see replica.socket.timeout.ms"

KEYS: Final[tuple[Entry, ...]] = (
    ("auto.leader.rebalance.enable", "BOOLEAN", "true", "read-only", None, "HIGH", "in a cluster: server",
     "Whether leadership returns to preferred replicas in the background."),
    ("controlled.shutdown.enable", "BOOLEAN", "true", "read-only", None, "MEDIUM", "in a cluster: server",
     "Whether a stopping broker hands over leadership first."),
    ("leader.imbalance.check.interval.seconds", "LONG", "300", "read-only", ("at_least", 1), "HIGH", "in a cluster: server",
     "Interval of the check for leader imbalance."),
    ("num.replica.fetchers", "INT", "1", "cluster-wide", ("at_least", 1), "HIGH", "in a cluster: replication",
     "Number of threads that fetch from each leader."),
    ("replica.fetch.backoff.ms", "INT", "1000", "read-only", ("at_least", 0), "MEDIUM", "in a cluster: replication",
     "Pause after a failed fetch of a follower."),
    ("replica.fetch.max.bytes", "INT", "1048576", "read-only", ("at_least", 0), "MEDIUM", "in a cluster: replication",
     "Maximum number of bytes per partition in a follower's fetch."),
    ("replica.fetch.min.bytes", "INT", "1", "read-only", None, "HIGH", "in a cluster: replication",
     "Minimum number of bytes for which a follower's fetch waits."),
    ("replica.fetch.response.max.bytes", "INT", "10485760", "read-only", ("at_least", 0), "MEDIUM", "in a cluster: replication",
     "Maximum size of the response to a follower's fetch."),
    ("replica.fetch.wait.max.ms", "INT", "500", "read-only", None, "HIGH", "in a cluster: replication",
     "Maximum wait of a follower's fetch."),
    ("replica.high.watermark.checkpoint.interval.ms", "LONG", "5000", "read-only", None, "HIGH", "in a cluster: server",
     "Interval at which high watermarks are written. A broker by itself writes them with the recovery points "
     "(log.flush.offset.checkpoint.interval.ms)."),
    ("replica.lag.time.max.ms", "LONG", "30000", "read-only", None, "HIGH", "in a cluster: replication",
     "A follower that has not caught up for this time is removed from the in-sync replicas."),
    ("replica.selector.class", "STRING", None, "read-only", ("in", *_SELECTORS), "MEDIUM", "in a cluster: server",
     "Which replica a consumer with client.rack is told to read from: its leader (LeaderSelector, or unset), or one in its rack "
     "(RackAwareReplicaSelector). Other classes are Java: kafka-cy refuses them."),
    ("replica.socket.receive.buffer.bytes", "INT", "65536", "read-only", None, "HIGH",
     "ignored: the operating system chooses the receive buffers of connections to other brokers",
     "Receive buffer of a follower's connection."),
    ("replica.socket.timeout.ms", "INT", "30000", "read-only", None, "HIGH", "in a cluster: replication",
     "Socket timeout of a follower's connection."),
    ("request.timeout.ms", "INT", "30000", "read-only", None, "HIGH", "in a cluster: server",
     "Timeout of a request to another broker."),
    ("socket.connection.setup.timeout.max.ms", "LONG", "30000", "read-only", None, "MEDIUM", _SETUP,
     "Maximum connection timeout to another broker."),
    ("socket.connection.setup.timeout.ms", "LONG", "10000", "read-only", None, "MEDIUM", _SETUP,
     "Initial connection timeout to another broker."),
)

#: Throttles that Kafka takes only as dynamic settings: they have no default and are not described unless set.
INTERNAL_KEYS: Final[tuple[Entry, ...]] = (
    ("follower.replication.throttled.rate", "LONG", None, "cluster-wide", ("at_least", 0), "MEDIUM", "in a cluster: server",
     "Maximum number of bytes per second that throttled replicas on this broker fetch."),
    ("leader.replication.throttled.rate", "LONG", None, "cluster-wide", ("at_least", 0), "MEDIUM", "in a cluster: server",
     "Maximum number of bytes per second that throttled replicas read from this leader."),
    ("replica.alter.log.dirs.io.max.bytes.per.second", "LONG", None, "cluster-wide",
     ("at_least", 0), "MEDIUM", "server",
     "Maximum number of bytes per second for moves between log directories."),
    ("unclean.leader.election.interval.ms", "LONG", "300000", "read-only", ("at_least", 1), "MEDIUM",
     "ignored: unclean elections are made when a partition loses its leader, as in Apache Kafka with ZooKeeper",
     "Interval of the check for partitions that need an unclean leader election."),
)
