"""One cleaning round of one log; behaviour in cleaner.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.base.posix cimport pthread_cond_t, pthread_mutex_t
from kafka_cy.records.compression cimport Codecs
from kafka_cy.records.wire cimport Writer
from kafka_cy.storage.cleaned_batch cimport BatchFilter
from kafka_cy.storage.log cimport Cleanable, Log
from kafka_cy.storage.offset_map cimport OffsetMap

cdef enum:
    GROUP_SEGMENTS_MAX = 64     # segments that become one: all of them are open at once

# Broker configuration of the cleaner (log.cleaner.*).
cdef struct CleanerConfig:
    int32_t threads
    int64_t dedupe_buffer_bytes         # of all threads together, as the two that follow
    int32_t io_buffer_bytes             # half of it to read, half to write; grows to a batch that is larger
    double io_bytes_per_second          # read and written
    double load_max                     # how full the map of keys may be
    int64_t backoff_ms

# Purpose: what the threads of a cleaner share: configuration, bandwidth, the wish to stop.
# Locks: `mutex` guards all but the atomics, for nanoseconds.
cdef struct CleanerControl:
    pthread_mutex_t mutex
    pthread_cond_t changed              # by the monotonic clock
    int32_t stopping                    # (a)
    CleanerConfig config
    double bandwidth_free_ms            # monotonic: until then the bytes so far have used it up

# What a round did.
cdef struct RoundStats:
    int64_t started_ms                  # monotonic
    int64_t elapsed_ms
    int64_t first_dirty
    int64_t end_offset
    int64_t map_bytes_read
    int64_t bytes_read
    int64_t bytes_written
    int64_t segments_before
    int64_t segments_after
    double buffer_utilization           # of the map's slots

cdef void control_init(CleanerControl* control) noexcept nogil
cdef void control_destroy(CleanerControl* control) noexcept nogil
cdef void control_wait(CleanerControl* control, int64_t wait_ms) noexcept nogil    # or until control_wake
cdef void control_wake(CleanerControl* control) noexcept nogil
cdef int64_t monotonic_ms() noexcept nogil

# Clean the log from `cleanable.first_dirty` on, as of `now_ms`. STORAGE_OK: done, the log's cleaner offset has moved.
# STORAGE_DELETED or STORAGE_OFFLINE: the log or the cleaner was stopped; nothing is lost, and nothing is to be told.
# Any other StorageError: the round failed (`failed_errno`, 0 none); what it has replaced before stays.
cdef int clean_log(
    CleanerControl* control, Log* log, const Cleanable* cleanable, int64_t now_ms, RoundStats* stats, int* failed_errno
) noexcept nogil
