"""Keys of replication, leader election, and the connections between brokers."""

from typing import Final

from kafka_cy.config.types import Entry

_SINGLE: Final = "ignored: kafka-cy runs as a single broker, so no partition has a second replica"
_NO_PEERS: Final = "ignored: kafka-cy runs as a single broker and sends no requests to other brokers"

KEYS: Final[tuple[Entry, ...]] = (
    ("auto.leader.rebalance.enable", "BOOLEAN", "true", "read-only", None, "HIGH", _SINGLE,
     "Whether leadership returns to preferred replicas in the background."),
    ("controlled.shutdown.enable", "BOOLEAN", "true", "read-only", None, "MEDIUM", _SINGLE,
     "Whether a stopping broker hands over leadership first."),
    ("leader.imbalance.check.interval.seconds", "LONG", "300", "read-only", ("at_least", 1), "HIGH", _SINGLE,
     "Interval of the check for leader imbalance."),
    ("num.replica.fetchers", "INT", "1", "cluster-wide", ("at_least", 1), "HIGH", _SINGLE,
     "Number of threads that fetch from each leader."),
    ("replica.fetch.backoff.ms", "INT", "1000", "read-only", ("at_least", 0), "MEDIUM", _SINGLE,
     "Pause after a failed fetch of a follower."),
    ("replica.fetch.max.bytes", "INT", "1048576", "read-only", ("at_least", 0), "MEDIUM", _SINGLE,
     "Maximum number of bytes per partition in a follower's fetch."),
    ("replica.fetch.min.bytes", "INT", "1", "read-only", None, "HIGH", _SINGLE,
     "Minimum number of bytes for which a follower's fetch waits."),
    ("replica.fetch.response.max.bytes", "INT", "10485760", "read-only", ("at_least", 0), "MEDIUM", _SINGLE,
     "Maximum size of the response to a follower's fetch."),
    ("replica.fetch.wait.max.ms", "INT", "500", "read-only", None, "HIGH", _SINGLE,
     "Maximum wait of a follower's fetch."),
    ("replica.high.watermark.checkpoint.interval.ms", "LONG", "5000", "read-only", None, "HIGH",
     "ignored: high watermarks are written with the recovery points; see log.flush.offset.checkpoint.interval.ms",
     "Interval at which high watermarks are written."),
    ("replica.lag.time.max.ms", "LONG", "30000", "read-only", None, "HIGH", _SINGLE,
     "A follower that has not caught up for this time is removed from the in-sync replicas."),
    ("replica.selector.class", "STRING", None, "read-only", None, "MEDIUM", _SINGLE,
     "Java class that selects the replica from which a consumer reads."),
    ("replica.socket.receive.buffer.bytes", "INT", "65536", "read-only", None, "HIGH", _NO_PEERS,
     "Receive buffer of a follower's connection."),
    ("replica.socket.timeout.ms", "INT", "30000", "read-only", None, "HIGH", _NO_PEERS,
     "Socket timeout of a follower's connection."),
    ("request.timeout.ms", "INT", "30000", "read-only", None, "HIGH", _NO_PEERS,
     "Timeout of a request to another broker."),
    ("socket.connection.setup.timeout.max.ms", "LONG", "30000", "read-only", None, "MEDIUM", _NO_PEERS,
     "Maximum connection timeout to another broker."),
    ("socket.connection.setup.timeout.ms", "LONG", "10000", "read-only", None, "MEDIUM", _NO_PEERS,
     "Initial connection timeout to another broker."),
)

#: Throttles that Kafka takes only as dynamic settings: they have no default and are not described unless set.
INTERNAL_KEYS: Final[tuple[Entry, ...]] = (
    ("follower.replication.throttled.rate", "LONG", None, "cluster-wide", ("at_least", 0), "MEDIUM", _SINGLE,
     "Maximum number of bytes per second that throttled replicas on this broker fetch."),
    ("leader.replication.throttled.rate", "LONG", None, "cluster-wide", ("at_least", 0), "MEDIUM", _SINGLE,
     "Maximum number of bytes per second that throttled replicas read from this leader."),
    ("replica.alter.log.dirs.io.max.bytes.per.second", "LONG", None, "cluster-wide",
     ("at_least", 0), "MEDIUM", "ignored: moves between log directories are not throttled",
     "Maximum number of bytes per second for moves between log directories."),
    ("unclean.leader.election.interval.ms", "LONG", "300000", "read-only", ("at_least", 1), "MEDIUM", _SINGLE,
     "Interval of the check for partitions that need an unclean leader election."),
)
