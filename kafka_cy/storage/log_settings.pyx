"""A topic's configuration: from Python's dictionary to the struct that its logs read."""
from kafka_cy.storage.shared_config cimport LogConfig, shared_config_new, shared_config_replace, shared_config_unref

CODECS = {"producer": -1, "uncompressed": 0, "none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
LEVEL_KEYS = {"gzip": "compression.gzip.level", "lz4": "compression.lz4.level", "zstd": "compression.zstd.level"}
# Bounds for the unpacked size of one batch: eight times max.message.bytes, within these.
UNPACKED_BYTES_MIN, UNPACKED_BYTES_MAX = 1 << 28, 1 << 30


DEFAULTS = {}       # of all topic keys, once they were asked for


def default_of(name):
    """Kafka's default of a topic key, from kafka_cy.config. A broker gives all keys; tests and tools leave most of them out."""
    if not DEFAULTS:
        from kafka_cy.config import BrokerConfig

        DEFAULTS.update(BrokerConfig({}).log_defaults())
    return DEFAULTS[name]


class Settings(dict):
    """Topic keys with typed values; those that are missing have Kafka's defaults."""

    def __missing__(self, name):
        return default_of(name)


cdef int fill_config(LogConfig* config, dict topic_config) except -1:
    values = Settings(topic_config)
    codec = str(values["compression.type"])
    policies = values["cleanup.policy"]
    if isinstance(policies, str):
        policies = policies.split(",")
    config.segment_bytes = values["segment.bytes"]
    config.segment_ms = values["segment.ms"]
    config.segment_jitter_ms = values["segment.jitter.ms"]
    config.segment_index_bytes = values["segment.index.bytes"]
    config.index_interval_bytes = values["index.interval.bytes"]
    config.retention_ms = values["retention.ms"]
    config.retention_bytes = values["retention.bytes"]
    config.file_delete_delay_ms = values["file.delete.delay.ms"]
    config.flush_interval_messages = values["flush.messages"]
    config.flush_interval_ms = values["flush.ms"]
    config.producer_id_expiration_ms = values["producer.id.expiration.ms"]
    config.cleanup_delete = "delete" in policies
    config.cleanup_compact = "compact" in policies
    config.preallocate = values["preallocate"]
    config.cleanable_dirty_ratio_min = values["min.cleanable.dirty.ratio"]
    config.compaction_lag_min_ms = values["min.compaction.lag.ms"]
    config.compaction_lag_max_ms = values["max.compaction.lag.ms"]
    config.delete_retention_ms = values["delete.retention.ms"]
    if config.cleanup_compact and config.compaction_lag_max_ms > 0:
        config.segment_ms = min(config.segment_ms, config.compaction_lag_max_ms)   # the active segment is not cleaned
    config.min_insync_replicas = values["min.insync.replicas"]
    config.rules.message_bytes_max = values["max.message.bytes"]
    config.rules.compression_type = CODECS[codec]
    config.rules.compression_level = values[LEVEL_KEYS[codec]] if codec in LEVEL_KEYS else 0
    config.rules.log_append_time = str(values["message.timestamp.type"]) == "LogAppendTime"
    config.rules.key_required = config.cleanup_compact
    config.rules.timestamp_before_max_ms = values["message.timestamp.before.max.ms"]
    config.rules.timestamp_after_max_ms = values["message.timestamp.after.max.ms"]
    unpacked = 8 * values["max.message.bytes"]
    config.rules.unpacked_bytes_max = min(max(unpacked, UNPACKED_BYTES_MIN), UNPACKED_BYTES_MAX)
    return 0


cdef class LogSettings:
    """The configuration that all logs of a topic share. `LogSettings({})` has Kafka's defaults.

    Thread: any, with the GIL, which keeps two writers apart (see SharedConfig).
    """

    def __cinit__(self, dict config):
        cdef LogConfig filled
        fill_config(&filled, config)
        self.shared = shared_config_new(&filled)
        if self.shared == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.shared != NULL:
            shared_config_unref(self.shared)

    def replace(self, dict config):
        """Take new topic configuration (Kafka topic keys, typed values): in force in all logs when this returns.

        Raises KeyError for an unknown codec; nothing has changed then.
        """
        cdef LogConfig filled
        fill_config(&filled, config)
        shared_config_replace(self.shared, &filled)


cdef LogSettings settings_from(object config):
    return config if isinstance(config, LogSettings) else LogSettings(config or {})
