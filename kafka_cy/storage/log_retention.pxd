"""Removing the oldest records of a log. See log_retention.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.storage.log_struct cimport Log

cdef int log_delete_records(Log* log, int64_t offset) noexcept nogil    # raises the log start offset
cdef int log_delete_old_segments(Log* log, int64_t high_watermark, int64_t now_ms, int32_t* deleted) noexcept nogil
cdef void raise_start(Log* log, int64_t offset) noexcept nogil          # with the append mutex
