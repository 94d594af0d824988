"""Keys of transactions and idempotent producers."""

from typing import Final

from kafka_cy.config.types import Entry

KEYS: Final[tuple[Entry, ...]] = (
    ("add.partitions.to.txn.retry.backoff.max.ms", "INT", "100", "read-only", ("at_least", 0), "HIGH", "api",
     "How long a Produce tries to add partitions to a transaction while the previous transaction ends."),
    ("add.partitions.to.txn.retry.backoff.ms", "INT", "20", "read-only", ("at_least", 1), "HIGH", "api",
     "Pause between these attempts."),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "INT", "10000", "read-only",
     ("at_least", 1), "LOW", "coordinator",
     "Interval of the check for timed-out transactions."),
    ("transaction.max.timeout.ms", "INT", "900000", "read-only", ("at_least", 1), "HIGH", "coordinator",
     "Maximum timeout that a transaction can request."),
    ("transaction.partition.verification.enable", "BOOLEAN", "true", "cluster-wide", None, "LOW", "server",
     "Whether a transactional write is refused if the client has not added its partition to the transaction."),
    ("transaction.remove.expired.transaction.cleanup.interval.ms", "INT", "3600000", "read-only",
     ("at_least", 1), "LOW", "coordinator",
     "Interval of the check for expired transactional ids."),
    ("transaction.state.log.load.buffer.size", "INT", "5242880", "read-only", ("at_least", 1), "HIGH",
     "ignored: 256 KiB are read at once",
     "Number of bytes that are read at once when transactions are loaded."),
    ("transaction.state.log.min.isr", "INT", "2", "read-only", ("at_least", 1), "HIGH", "cluster",
     "Value of min.insync.replicas of the transaction topic, at most the number of brokers."),
    ("transaction.state.log.num.partitions", "INT", "50", "read-only", ("at_least", 1), "HIGH", "cluster",
     "Number of partitions of the transaction topic. It must not change later."),
    ("transaction.state.log.replication.factor", "SHORT", "3", "read-only", ("at_least", 1), "HIGH", "cluster",
     "Replication factor of the transaction topic, at most the number of brokers."),
    ("transaction.state.log.segment.bytes", "INT", "104857600", "read-only", ("at_least", 1), "HIGH", "cluster",
     "Segment size of the transaction topic."),
    ("transaction.two.phase.commit.enable", "BOOLEAN", "false", "read-only", None, "LOW", "api",
     "Whether transactions can take part in a two-phase commit (KIP-939). That needs unstable.api.versions.enable."),
    ("transactional.id.expiration.ms", "INT", "604800000", "read-only", ("at_least", 1), "HIGH", "coordinator",
     "Time after which an unused transactional id is removed."),
)
