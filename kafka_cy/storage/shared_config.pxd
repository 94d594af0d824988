"""A topic's configuration for the data plane, which its logs share. See shared_config.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.atomic_words cimport load_words
from kafka_cy.base.atomics cimport atomic_load_i32
from kafka_cy.records.batch cimport ProduceRules

cdef struct LogConfig:
    ProduceRules rules
    int64_t segment_bytes
    int64_t segment_ms
    int64_t segment_jitter_ms
    int32_t segment_index_bytes
    int32_t index_interval_bytes
    int64_t retention_ms                # -1: unlimited
    int64_t retention_bytes             # -1: no limit
    int64_t file_delete_delay_ms
    int64_t flush_interval_messages     # 1: fsync before the response
    int64_t flush_interval_ms
    int64_t producer_id_expiration_ms
    bint cleanup_delete
    bint cleanup_compact
    bint preallocate
    double cleanable_dirty_ratio_min    # min.cleanable.dirty.ratio
    int64_t compaction_lag_min_ms
    int64_t compaction_lag_max_ms
    int64_t delete_retention_ms         # how long tombstones and markers stay after the first round that keeps them
    int32_t min_insync_replicas

# Purpose: the configuration of one topic, read by many threads without a lock while it is replaced.
# Lifetime: `references`: one for each log of the topic and for its Python handle (LogSettings). A log keeps the same one for its
#   whole life, so that no reader can hold a freed one; a replaced configuration is overwritten, so that none is left to be freed.
# Protocol: `versions[version & 1]` is in force. A writer fills the other one, then counts `version` up. A reader copies the one
#   in force, and does so again if `version` has changed meanwhile: the next writer fills what the reader was copying. So no
#   reader waits for a writer that was interrupted, and no writer for a reader.
# Threads: one writer at a time, any number of readers.
cdef struct SharedConfig:
    int32_t references          # (a)
    int32_t version             # (a)
    LogConfig versions[2]

cdef SharedConfig* shared_config_new(const LogConfig* config) noexcept nogil            # with one reference; NULL without memory
cdef SharedConfig* shared_config_ref(SharedConfig* shared) noexcept nogil
cdef void shared_config_unref(SharedConfig* shared) noexcept nogil
# In force when this returns. It waits for nobody; the caller sees to it that no other thread does the same at the same time.
cdef void shared_config_replace(SharedConfig* shared, const LogConfig* config) noexcept nogil


cdef inline LogConfig shared_config_read(SharedConfig* shared) noexcept nogil:
    cdef LogConfig config
    cdef int32_t version = atomic_load_i32(&shared.version)
    cdef int32_t before
    while True:
        before = version
        load_words(&config, &shared.versions[before & 1], sizeof(LogConfig))
        version = atomic_load_i32(&shared.version)
        if version == before:
            return config
