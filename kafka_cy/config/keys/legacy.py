"""Keys that only Apache Kafka before 4.0 has, for the upgrade of brokers and record formats; `zookeeper` has the others."""

from typing import Final

from kafka_cy.config.types import Entry

_REMOVED: Final = "ignored: Apache Kafka removed this key in version 4.0"

#: Files written for Apache Kafka 3 contain these keys. Apache Kafka 4 does not know them, so clients do not see them.
INTERNAL_KEYS: Final[tuple[Entry, ...]] = (
    ("delegation.token.master.key", "PASSWORD", None, "read-only", None, "MEDIUM", "server",
     "Older name of delegation.token.secret.key, which counts if both are set."),
    ("log.message.downconversion.enable", "BOOLEAN", None, "read-only", None, "MEDIUM", _REMOVED,
     "Whether old consumers get batches in an old record format."),
    ("log.message.format.version", "STRING", None, "read-only", None, "MEDIUM", _REMOVED,
     "Record format version of stored batches."),
    ("log.message.timestamp.difference.max.ms", "LONG", None, "read-only", None, "MEDIUM", _REMOVED,
     "Allowed difference between a record's timestamp and the broker's clock. Use "
     "log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms."),
)
