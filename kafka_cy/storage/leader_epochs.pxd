"""Leader epochs and their start offsets (Kafka's leader-epoch-checkpoint). See leader_epochs.pyx."""
from libc.stdint cimport int32_t, int64_t

cdef struct EpochEntry:
    int32_t epoch
    int64_t start_offset

# Guarded by the log's segments_mutex. Both columns ascend.
cdef struct LeaderEpochs:
    EpochEntry* entries
    int32_t count
    int32_t capacity
    bint dirty                  # differs from the file

cdef void epochs_free(LeaderEpochs* epochs) noexcept nogil
cdef int epochs_copy(const LeaderEpochs* epochs, LeaderEpochs* copy) noexcept nogil     # 0, or -1: out of memory
cdef int epochs_assign(LeaderEpochs* epochs, int32_t epoch, int64_t start_offset) noexcept nogil   # 0, or -1: out of memory
cdef int32_t epochs_latest(LeaderEpochs* epochs) noexcept nogil                         # -1 none
cdef int32_t epochs_of(LeaderEpochs* epochs, int64_t offset) noexcept nogil             # -1 unknown
cdef void epochs_end_offset_for(
    LeaderEpochs* epochs, int32_t asked_epoch, int64_t log_end, int32_t* epoch, int64_t* end_offset
) noexcept nogil
cdef void epochs_truncate_end(LeaderEpochs* epochs, int64_t end_offset) noexcept nogil
cdef void epochs_truncate_start(LeaderEpochs* epochs, int64_t start_offset) noexcept nogil
# Replace leader-epoch-checkpoint in an open folder; its data is synced, its name is not. 0 or an errno.
cdef int epochs_write(const LeaderEpochs* epochs, int folder) noexcept nogil
cdef int epochs_read(LeaderEpochs* epochs, const char* directory) noexcept nogil        # 0 or an errno (EINVAL: unreadable)
