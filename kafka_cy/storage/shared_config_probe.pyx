"""A topic's configuration, read for tests as the data plane reads it."""
from libc.stdint cimport int64_t

from kafka_cy.storage.log_settings cimport LogSettings
from kafka_cy.storage.shared_config cimport LogConfig, SharedConfig, shared_config_read


def mixed_copies(LogSettings settings, int64_t reads):
    """Read it that often without the GIL. Returns in how many copies message.timestamp.before.max.ms, retention.ms and
    delete.retention.ms were not the same: the copy was of two configurations."""
    cdef SharedConfig* shared = settings.shared
    cdef LogConfig config
    cdef int64_t mixed = 0
    cdef int64_t _i
    with nogil:
        for _i in range(reads):
            config = shared_config_read(shared)
            if config.rules.timestamp_before_max_ms != config.retention_ms or config.retention_ms != config.delete_retention_ms:
                mixed += 1
    return mixed
