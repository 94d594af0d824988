"""Keys of a KRaft controller and its quorum."""

from typing import Final

from kafka_cy.config.types import Entry

_KRAFT: Final = "ignored: kafka-cy stores its metadata itself and has no KRaft quorum"

KEYS: Final[tuple[Entry, ...]] = (
    ("broker.heartbeat.interval.ms", "INT", "2000", "read-only", None, "MEDIUM", _KRAFT,
     "Heartbeat interval of a broker to its KRaft controller."),
    ("broker.session.timeout.ms", "INT", "9000", "read-only", None, "MEDIUM", _KRAFT,
     "Time without a heartbeat after which a KRaft controller fences a broker."),
    ("controller.listener.names", "LIST", None, "read-only", None, "HIGH", "config",
     "Listeners of the KRaft controller. kafka-cy does not open them."),
    ("controller.quorum.append.linger.ms", "INT", "25", "read-only", ("at_least", 0), "MEDIUM", _KRAFT,
     "Time for which the KRaft leader collects writes into one batch."),
    ("controller.quorum.auto.join.enable", "BOOLEAN", "false", "read-only", None, "LOW", _KRAFT,
     "Whether a KRaft controller joins its quorum by itself."),
    ("controller.quorum.bootstrap.servers", "LIST", "", "read-only", None, "HIGH", "config",
     "Addresses of the KRaft controllers. Several addresses, or any without the role controller, stop the start: "
     "kafka-cy cannot join a quorum."),
    ("controller.quorum.election.backoff.max.ms", "INT", "1000", "read-only", ("at_least", 0), "HIGH", _KRAFT,
     "Maximum pause between KRaft elections."),
    ("controller.quorum.election.timeout.ms", "INT", "1000", "read-only", ("at_least", 0), "HIGH", _KRAFT,
     "Timeout of a KRaft election."),
    ("controller.quorum.fetch.max.bytes", "INT", "1048576", "read-only", ("at_least", 1), "LOW", _KRAFT,
     "Maximum size of a KRaft fetch response."),
    ("controller.quorum.fetch.snapshot.max.bytes", "INT", "1048576", "read-only", ("at_least", 1), "LOW", _KRAFT,
     "Maximum size of a KRaft snapshot fetch response."),
    ("controller.quorum.fetch.timeout.ms", "INT", "2000", "read-only", ("at_least", 0), "HIGH", _KRAFT,
     "Time without a successful fetch after which a KRaft voter starts an election."),
    ("controller.quorum.request.timeout.ms", "INT", "2000", "read-only", ("at_least", 0), "MEDIUM", _KRAFT,
     "Timeout of a request between KRaft controllers."),
    ("controller.quorum.retry.backoff.ms", "INT", "20", "read-only", ("at_least", 0), "LOW", _KRAFT,
     "Pause before a request to a KRaft controller is repeated."),
    ("controller.quorum.voters", "LIST", "", "read-only", None, "HIGH", "config",
     "Voters of the KRaft quorum. Several voters, another voter than this node, or any without the role controller, stop "
     "the start: kafka-cy cannot join a quorum."),
    ("controller.socket.timeout.ms", "INT", "30000", "read-only", None, "MEDIUM", "in a cluster: server",
     "Socket timeout between the controller and brokers."),
    ("initial.broker.registration.timeout.ms", "INT", "60000", "read-only", None, "MEDIUM", _KRAFT,
     "Timeout of a broker's registration with its KRaft controller."),
    ("log.dir.failure.timeout.ms", "LONG", "30000", "read-only", ("at_least", 1), "LOW", _KRAFT,
     "Time after which a broker that cannot report a failed log directory to its controller stops."),
    ("metadata.log.max.record.bytes.between.snapshots", "LONG", "20971520", "read-only",
     ("at_least", 1), "HIGH", _KRAFT,
     "Number of bytes after which a KRaft snapshot is written."),
    ("metadata.log.max.snapshot.interval.ms", "LONG", "3600000", "read-only", ("at_least", 0), "HIGH", _KRAFT,
     "Time after which a KRaft snapshot is written."),
    ("metadata.log.segment.bytes", "INT", "1073741824", "read-only", ("at_least", 8388608), "HIGH", _KRAFT,
     "Segment size of the KRaft metadata log."),
    ("metadata.log.segment.ms", "LONG", "604800000", "read-only", None, "HIGH", _KRAFT,
     "Segment age of the KRaft metadata log."),
    ("metadata.max.idle.interval.ms", "INT", "500", "read-only", ("at_least", 0), "LOW", _KRAFT,
     "Interval at which an idle KRaft controller writes a record."),
    ("metadata.max.retention.bytes", "LONG", "104857600", "read-only", None, "HIGH", _KRAFT,
     "Maximum size of the KRaft metadata log and its snapshots."),
    ("metadata.max.retention.ms", "LONG", "604800000", "read-only", None, "HIGH", _KRAFT,
     "Retention time of the KRaft metadata log and its snapshots."),
    ("process.roles", "LIST", None, "read-only", ("list_in", "broker", "controller"), "HIGH", "config",
     "Roles of a KRaft process. If set, it must contain broker. The role controller has no effect: kafka-cy stores "
     "its metadata itself."),
)

#: Keys that Kafka neither documents nor describes to clients.
INTERNAL_KEYS: Final[tuple[Entry, ...]] = (
    ("controller.performance.always.log.threshold.ms", "LONG", "2000", "read-only", ("at_least", 0), "MEDIUM", _KRAFT,
     "Duration above which a KRaft controller logs an event."),
    ("controller.performance.sample.period.ms", "LONG", "60000", "read-only", ("at_least", 100), "MEDIUM", _KRAFT,
     "Period of the KRaft controller's performance log."),
    ("internal.metadata.delete.delay.millis", "LONG", "60000", "read-only", None, "LOW", _KRAFT,
     "Delay before an old KRaft metadata file is deleted."),
    ("internal.metadata.log.segment.bytes", "INT", None, "read-only", None, "LOW", _KRAFT,
     "Segment size of the KRaft metadata log, for tests."),
    ("internal.metadata.max.batch.size.in.bytes", "INT", "8388608", "read-only", None, "LOW", _KRAFT,
     "Maximum size of a KRaft metadata batch."),
)
