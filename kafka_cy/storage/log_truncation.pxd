"""Removing the newest records of a log. See log_truncation.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.storage.log_struct cimport Log

# Keeps the batches that end below `offset`, and ends the log there.
cdef int log_truncate_to(Log* log, int64_t offset) noexcept nogil
cdef int log_truncate_fully(Log* log, int64_t new_start) noexcept nogil
cdef int truncate_fully_locked(Log* log, int64_t new_start) noexcept nogil      # 0 or an errno
