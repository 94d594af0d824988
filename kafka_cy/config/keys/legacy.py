"""Keys that only Apache Kafka before 4.0 has: ZooKeeper, and the upgrade of brokers and record formats."""

from typing import Final

from kafka_cy.config.types import Entry

_SASL: Final = "ignored: SASL is not supported yet; a SASL listener stops the start"
_ZOOKEEPER: Final = "ignored: kafka-cy stores its metadata itself and does not connect to ZooKeeper"
_REMOVED: Final = "ignored: Apache Kafka removed this key in version 4.0"

#: Files written for Apache Kafka 3 contain these keys. Apache Kafka 4 does not know them, so clients do not see them.
INTERNAL_KEYS: Final[tuple[Entry, ...]] = (
    ("broker.id.generation.enable", "BOOLEAN", None, "read-only", None, "MEDIUM", _REMOVED,
     "Whether a broker without an id gets a generated one."),
    ("control.plane.listener.name", "STRING", None, "read-only", None, "MEDIUM", _REMOVED,
     "Listener for requests from the controller."),
    ("controlled.shutdown.max.retries", "INT", None, "read-only", None, "MEDIUM", _REMOVED,
     "Number of attempts at a controlled shutdown."),
    ("controlled.shutdown.retry.backoff.ms", "LONG", None, "read-only", None, "MEDIUM", _REMOVED,
     "Pause between attempts at a controlled shutdown."),
    ("delegation.token.master.key", "PASSWORD", None, "read-only", None, "MEDIUM", _SASL,
     "Older name of delegation.token.secret.key."),
    ("inter.broker.protocol.version", "STRING", None, "read-only", None, "MEDIUM", _REMOVED,
     "Protocol version between brokers during an upgrade."),
    ("log.message.downconversion.enable", "BOOLEAN", None, "read-only", None, "MEDIUM", _REMOVED,
     "Whether old consumers get batches in an old record format."),
    ("log.message.format.version", "STRING", None, "read-only", None, "MEDIUM", _REMOVED,
     "Record format version of stored batches."),
    ("log.message.timestamp.difference.max.ms", "LONG", None, "read-only", None, "MEDIUM", _REMOVED,
     "Allowed difference between a record's timestamp and the broker's clock. Use "
     "log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms."),
    ("password.encoder.secret", "PASSWORD", None, "read-only", None, "MEDIUM", _REMOVED,
     "Key that encrypts passwords in ZooKeeper."),
    ("reserved.broker.max.id", "INT", None, "read-only", None, "MEDIUM", _REMOVED,
     "Largest broker id that is not generated."),
    ("zookeeper.connect", "STRING", None, "read-only", None, "MEDIUM",
     "refused: kafka-cy stores its metadata itself and cannot join a ZooKeeper cluster; remove the key to run a "
     "single broker",
     "ZooKeeper servers of the cluster."),
    ("zookeeper.connection.timeout.ms", "INT", None, "read-only", None, "MEDIUM", _ZOOKEEPER,
     "Connection timeout to ZooKeeper."),
    ("zookeeper.max.in.flight.requests", "INT", None, "read-only", None, "MEDIUM", _ZOOKEEPER,
     "Maximum number of unanswered requests to ZooKeeper."),
    ("zookeeper.metadata.migration.enable", "BOOLEAN", None, "read-only", None, "MEDIUM", _ZOOKEEPER,
     "Whether the cluster migrates from ZooKeeper to KRaft."),
    ("zookeeper.session.timeout.ms", "INT", None, "read-only", None, "MEDIUM", _ZOOKEEPER,
     "Session timeout in ZooKeeper."),
    ("zookeeper.set.acl", "BOOLEAN", None, "read-only", None, "MEDIUM", _ZOOKEEPER,
     "Whether znodes are created with ACLs."),
    ("zookeeper.ssl.client.enable", "BOOLEAN", None, "read-only", None, "MEDIUM", _ZOOKEEPER,
     "Whether the connection to ZooKeeper uses TLS."),
)
