"""A log's leader epochs: look-ups, new epochs, the checkpoint file. See log_epochs.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.storage.log_struct cimport Log

cdef int32_t log_epoch_of(Log* log, int64_t offset) noexcept nogil  # leader epoch that wrote the offset, -1 unknown
cdef int32_t log_latest_epoch(Log* log) noexcept nogil
# OffsetForLeaderEpoch (LeaderEpochFileCache.endOffsetFor): largest epoch <= the requested one and its end offset; -1,
# -1 undefined.
cdef void log_end_offset_for_epoch(
    Log* log, int32_t asked_epoch, int32_t* epoch, int64_t* end_offset
) noexcept nogil
# On becoming leader: the epoch begins at the log's end. 0 or STORAGE_NO_MEMORY.
cdef int log_assign_epoch(Log* log, int32_t epoch) noexcept nogil
cdef int log_assign_epoch_locked(Log* log, int32_t epoch) noexcept nogil    # with the append mutex
# A batch of a new epoch was appended; with the append mutex, before its offsets are visible.
cdef void begin_epoch(Log* log, int32_t epoch, int64_t start_offset) noexcept nogil
# Write leader-epoch-checkpoint if the epochs changed. With the flush mutex, or before the log is shared. 0 or an errno.
cdef int write_epochs(Log* log) noexcept nogil
