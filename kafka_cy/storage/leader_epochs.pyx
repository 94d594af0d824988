"""Which leader epoch wrote which offsets (Kafka's LeaderEpochFileCache)."""
from libc.errno cimport errno
from libc.stdint cimport int32_t, int64_t
from libc.stdio cimport FILE, fclose, ferror, fopen, fscanf, snprintf
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from kafka_cy.base.posix cimport (
    EINVAL, EIO, ENOENT, ENOMEM, O_CREAT, O_RDWR, O_TRUNC, PATH_BYTES_MAX, close, join_path, sync_data, write_whole,
)
from kafka_cy.base.posix_folder cimport open_at, rename_at
from kafka_cy.storage.segment cimport segments_give_way

cdef enum:
    LINE_BYTES_MAX = 40         # an epoch, a space, an offset, a line feed


cdef void epochs_free(LeaderEpochs* epochs) noexcept nogil:
    free(epochs.entries)
    epochs.entries = NULL
    epochs.count = 0
    epochs.capacity = 0


cdef int epochs_copy(const LeaderEpochs* epochs, LeaderEpochs* copy) noexcept nogil:
    copy.entries = <EpochEntry*>malloc(<size_t>(epochs.count + 1) * sizeof(EpochEntry))
    copy.count = 0
    copy.capacity = 0
    copy.dirty = epochs.dirty
    if copy.entries == NULL:
        return -1
    copy.count = epochs.count
    copy.capacity = epochs.count + 1
    memcpy(copy.entries, epochs.entries, <size_t>epochs.count * sizeof(EpochEntry))
    return 0


cdef int epochs_assign(LeaderEpochs* epochs, int32_t epoch, int64_t start_offset) noexcept nogil:
    """Record that `epoch` begins at `start_offset`; conflicting entries are removed."""
    cdef EpochEntry* grown
    if epoch < 0 or (epochs.count > 0 and epochs.entries[epochs.count - 1].epoch == epoch
                     and epochs.entries[epochs.count - 1].start_offset <= start_offset):
        return 0
    while epochs.count > 0 and (epochs.entries[epochs.count - 1].epoch >= epoch
                                or epochs.entries[epochs.count - 1].start_offset >= start_offset):
        epochs.count -= 1
    if epochs.count == epochs.capacity:
        grown = <EpochEntry*>realloc(epochs.entries, <size_t>(epochs.capacity + 4) * sizeof(EpochEntry))
        if grown == NULL:
            return -1
        epochs.entries = grown
        epochs.capacity += 4
    epochs.entries[epochs.count].epoch = epoch
    epochs.entries[epochs.count].start_offset = start_offset
    epochs.count += 1
    epochs.dirty = True
    return 0


cdef int32_t epochs_latest(LeaderEpochs* epochs) noexcept nogil:
    return epochs.entries[epochs.count - 1].epoch if epochs.count > 0 else -1


cdef int32_t epochs_of(LeaderEpochs* epochs, int64_t offset) noexcept nogil:
    cdef int32_t i
    for i in range(epochs.count - 1, -1, -1):
        if epochs.entries[i].start_offset <= offset:
            return epochs.entries[i].epoch
    return -1


cdef void epochs_end_offset_for(
    LeaderEpochs* epochs, int32_t asked_epoch, int64_t log_end, int32_t* epoch, int64_t* end_offset
) noexcept nogil:
    """The largest epoch <= the requested one, and its end offset. Below the first known epoch, the end is that epoch's
    start."""
    cdef int32_t i
    epoch[0] = -1
    end_offset[0] = -1
    if asked_epoch < 0 or epochs.count == 0 or asked_epoch > epochs_latest(epochs):
        return
    if asked_epoch == epochs_latest(epochs):
        epoch[0] = asked_epoch
        end_offset[0] = log_end
        return
    for i in range(epochs.count):
        if epochs.entries[i].epoch > asked_epoch:
            end_offset[0] = epochs.entries[i].start_offset
            epoch[0] = epochs.entries[i - 1].epoch if i > 0 else asked_epoch
            return


cdef void epochs_truncate_end(LeaderEpochs* epochs, int64_t end_offset) noexcept nogil:
    while epochs.count > 0 and epochs.entries[epochs.count - 1].start_offset >= end_offset:
        epochs.count -= 1
        epochs.dirty = True


cdef void epochs_truncate_start(LeaderEpochs* epochs, int64_t start_offset) noexcept nogil:
    """Drop epochs that ended at or before `start_offset`; the epoch that contains it now begins there."""
    cdef int32_t dropped = 0
    while dropped + 1 < epochs.count and epochs.entries[dropped + 1].start_offset <= start_offset:
        dropped += 1
    if dropped > 0:
        memmove(epochs.entries, epochs.entries + dropped, <size_t>(epochs.count - dropped) * sizeof(EpochEntry))
        epochs.count -= dropped
        epochs.dirty = True
    if epochs.count > 0 and epochs.entries[0].start_offset < start_offset:
        epochs.entries[0].start_offset = start_offset
        epochs.dirty = True


cdef int epochs_write(const LeaderEpochs* epochs, int folder) noexcept nogil:
    """Through a temporary file that is renamed: a crash leaves the old text or the new one."""
    cdef size_t capacity = LINE_BYTES_MAX * (<size_t>epochs.count + 2)
    cdef char* text = <char*>malloc(capacity)
    cdef size_t size
    cdef int32_t i
    cdef int fd, failed
    if text == NULL:
        return ENOMEM
    size = <size_t>snprintf(text, capacity, b"0\n%d\n", epochs.count)
    for i in range(epochs.count):
        size += <size_t>snprintf(
            text + size, capacity - size, b"%d %lld\n", epochs.entries[i].epoch, <long long>epochs.entries[i].start_offset)
    fd = open_at(folder, b"leader-epoch-checkpoint.tmp", O_RDWR | O_CREAT | O_TRUNC)
    if fd < 0:
        free(text)
        return -fd
    failed = write_whole(fd, text, size, 0)
    if not failed:
        failed = sync_data(fd)      # the name must not lead to an empty file
    close(fd)
    free(text)
    return failed if failed else rename_at(folder, b"leader-epoch-checkpoint.tmp", b"leader-epoch-checkpoint")


cdef int epochs_read(LeaderEpochs* epochs, const char* directory) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef FILE* file
    cdef int version = -1
    cdef int count = -1
    cdef int epoch = 0
    cdef long long start_offset = 0
    cdef int failed = 0
    epochs.count = 0
    join_path(path, PATH_BYTES_MAX, directory, b"leader-epoch-checkpoint")
    file = fopen(path, b"re")
    while file == NULL and segments_give_way(errno):
        file = fopen(path, b"re")
    if file == NULL:
        return 0 if errno == ENOENT else errno
    if fscanf(file, b"%d %d", &version, &count) != 2 or version != 0 or count < 0:
        failed = EINVAL
    while not failed and count > 0:
        if fscanf(file, b"%d %lld", &epoch, &start_offset) != 2:
            failed = EINVAL
        elif epochs_assign(epochs, epoch, start_offset) < 0:
            failed = ENOMEM
        count -= 1
    if failed == EINVAL and ferror(file):
        failed = EIO
    fclose(file)
    epochs.dirty = False
    return failed
