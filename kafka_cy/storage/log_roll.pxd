"""Rolling to a new active segment. See log_roll.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.storage.log_struct cimport Log

cdef int log_roll(Log* log) noexcept nogil                          # starts a new active segment, unless it is empty
cdef int roll_locked(Log* log, int64_t new_base) noexcept nogil
