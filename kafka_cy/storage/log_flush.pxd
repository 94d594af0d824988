"""Flushing a log: what is on disk afterwards, and who is told. See log_flush.pyx."""
from kafka_cy.base.histogram cimport Histogram
from kafka_cy.storage.log_struct cimport FlushListener, Log

cdef int log_flush(Log* log) noexcept nogil                         # fdatasync; calls on_flushed
cdef void log_queue_flush(Log* log) noexcept nogil                  # by a background thread, coalesced
cdef Histogram* log_flush_times() noexcept nogil                    # LogFlushRateAndTime: flush durations, in ticks
# Tells the listener, as after a flush: its partition looks at the log again. Not with the append mutex.
cdef void log_tell_listener(Log* log) noexcept nogil
cdef void log_set_listener(Log* log, const FlushListener* listener) noexcept nogil
cdef void log_remove_listener(Log* log, void* context) noexcept nogil       # if it is the current listener
cdef int flush_locked(Log* log) noexcept nogil                      # 0 or an errno; with the flush mutex
cdef int settle_rolled(Log* log) noexcept nogil
cdef int log_sync_names(Log* log) noexcept nogil                    # fsyncs the folder if it changed; 0 or an errno
