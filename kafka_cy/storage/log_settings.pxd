"""A log's topic configuration. See log_settings.pyx."""
from kafka_cy.storage.log_struct cimport Log, LogConfig

# Fill `config` from Kafka topic keys with typed values; missing keys have Kafka's defaults. Raises KeyError for an unknown codec.
cdef int fill_config(LogConfig* config, dict topic_config) except -1
cdef int log_set_config(Log* log, const LogConfig* config) noexcept nogil
cdef void choose_jitter(Log* log) noexcept nogil                    # for the next time-based roll; with the append mutex
