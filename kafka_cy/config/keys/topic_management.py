"""Keys of topics: creation, deletion, and broker-wide defaults that do not begin with log."""

from typing import Final

from kafka_cy.config.types import Entry

_POLICY: Final = (
    "refused: kafka-cy cannot load Java classes, and starting without what this class decides would be unsafe"
)

KEYS: Final[tuple[Entry, ...]] = (
    ("alter.config.policy.class.name", "CLASS", None, "read-only", None, "LOW", _POLICY,
     "Java class that checks configuration changes."),
    ("auto.create.topics.enable", "BOOLEAN", "true", "read-only", None, "HIGH", "api",
     "Whether a topic is created when a client first asks for it."),
    ("compression.gzip.level", "INT", "-1", "cluster-wide", ("gzip_level",), "MEDIUM", "storage",
     "Compression level for recompression with gzip, from 1 (fast) to 9 (small). -1: the library's default."),
    ("compression.lz4.level", "INT", "9", "cluster-wide", ("between", 1, 17), "MEDIUM", "storage",
     "Compression level for recompression with lz4, from 1 (fast) to 17 (small)."),
    ("compression.type", "STRING", "producer", "cluster-wide",
     ("in", "uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"), "HIGH", "storage",
     "Codec of stored batches. producer: the codec that the producer chose."),
    ("compression.zstd.level", "INT", "3", "cluster-wide", ("between", -131072, 22), "MEDIUM", "storage",
     "Compression level for recompression with zstd. Negative levels are faster, high levels smaller."),
    ("create.topic.policy.class.name", "CLASS", None, "read-only", None, "LOW", _POLICY,
     "Java class that checks new topics."),
    ("default.replication.factor", "INT", "1", "read-only", None, "MEDIUM", "api",
     "Replication factor of a topic that is created without one."),
    ("delete.topic.enable", "BOOLEAN", "true", "read-only", None, "HIGH", "api",
     "Whether topics can be deleted."),
    ("message.max.bytes", "INT", "1048588", "cluster-wide", ("at_least", 0), "HIGH", "storage",
     "Maximum size of a record batch, as sent by the producer."),
    ("min.insync.replicas", "INT", "1", "cluster-wide", ("at_least", 1), "HIGH", "storage",
     "Number of in-sync replicas that a write with acks=all requires."),
    ("num.partitions", "INT", "1", "read-only", ("at_least", 1), "MEDIUM", "api",
     "Number of partitions of a topic that is created without one."),
    ("unclean.leader.election.enable", "BOOLEAN", "false", "cluster-wide", None, "HIGH", "in a cluster: server",
     "Whether a replica that is not in sync can become leader as a last resort. Records can be lost."),
)
