"""One cleaning round of one log. See cleaner.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.storage.cleaner_control cimport CleanerControl
from kafka_cy.storage.cleaner_reader cimport RoundStats
from kafka_cy.storage.log_cleaning cimport Cleanable
from kafka_cy.storage.log_struct cimport Log

cdef enum:
    GROUP_SEGMENTS_MAX = 64     # segments merged into one: all of them are open at once

# Clean the log from `cleanable.first_dirty` on, as of `now_ms`. STORAGE_OK: done, the log's cleaner offset has moved.
# STORAGE_DELETED or STORAGE_OFFLINE: the log or the cleaner was stopped; nothing is lost and nothing needs reporting.
# Any other StorageError: the round failed (`failed_errno`, 0 none); segments it already replaced stay replaced.
cdef int clean_log(
    CleanerControl* control, Log* log, const Cleanable* cleanable, int64_t now_ms, RoundStats* stats, int* failed_errno
) noexcept nogil
