"""The index of aborted transactions of a log."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove

from kafka_cy.base.posix cimport (
    ENOENT, ENOMEM, O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, PATH_BYTES_MAX, close, name_file, open_file, read_some, size_of_fd,
    sync_data, unlink, write_whole,
)
from kafka_cy.records.wire cimport load_be16, load_be64, store_be16, store_be64
from kafka_cy.storage.segment cimport segments_give_way


cdef void transactions_free(TransactionIndex* index) noexcept nogil:
    free(index.entries)
    index.entries = NULL
    index.count = 0
    index.capacity = 0


cdef int transactions_append(TransactionIndex* index, const AbortedTransaction* aborted) noexcept nogil:
    cdef AbortedTransaction* grown
    cdef int32_t wanted
    if index.count == index.capacity:
        wanted = index.capacity * 2 if index.capacity else 8
        grown = <AbortedTransaction*>realloc(index.entries, <size_t>wanted * sizeof(AbortedTransaction))
        if grown == NULL:
            return -1
        index.entries = grown
        index.capacity = wanted
    index.entries[index.count] = aborted[0]
    index.count += 1
    return 0


cdef void encode(uint8_t* raw, const AbortedTransaction* aborted) noexcept nogil:
    store_be16(raw, 0)
    store_be64(raw + 2, <uint64_t>aborted.producer_id)
    store_be64(raw + 10, <uint64_t>aborted.first_offset)
    store_be64(raw + 18, <uint64_t>aborted.last_offset)
    store_be64(raw + 26, <uint64_t>aborted.last_stable_offset)


cdef int open_giving_way(const char* path, int flags) noexcept nogil:
    """A descriptor, or -errno."""
    cdef int fd = open_file(path, flags)
    while fd < 0 and segments_give_way(-fd):
        fd = open_file(path, flags)
    return fd


cdef int transactions_write(const char* directory, int64_t base_offset, const AbortedTransaction* aborted) noexcept nogil:
    """Add one entry to the file of the segment `base_offset`."""
    cdef char path[PATH_BYTES_MAX]
    cdef uint8_t raw[ABORTED_ENTRY_SIZE]
    cdef int64_t size
    cdef int failed
    cdef int fd
    name_file(path, PATH_BYTES_MAX, directory, base_offset, b".txnindex")
    fd = open_giving_way(path, O_RDWR | O_CREAT)
    if fd < 0:
        return -fd
    encode(raw, aborted)
    size = size_of_fd(fd)
    if size >= 0:
        failed = write_whole(fd, raw, ABORTED_ENTRY_SIZE, size // ABORTED_ENTRY_SIZE * ABORTED_ENTRY_SIZE)
    else:
        failed = <int>-size
    close(fd)
    return failed


cdef int transactions_load(TransactionIndex* index, const char* directory, int64_t base_offset) noexcept nogil:
    """-1: the file has something that is not an entry."""
    cdef char path[PATH_BYTES_MAX]
    cdef uint8_t raw[ABORTED_ENTRY_SIZE]
    cdef AbortedTransaction aborted
    cdef int64_t position = 0
    cdef int64_t there
    cdef int fd
    name_file(path, PATH_BYTES_MAX, directory, base_offset, b".txnindex")
    fd = open_giving_way(path, O_RDONLY)
    if fd < 0:
        return 0 if fd == -ENOENT else -fd
    there = read_some(fd, raw, ABORTED_ENTRY_SIZE, position)
    while there == ABORTED_ENTRY_SIZE:
        if load_be16(raw) != 0:
            there = 1           # a version that nobody has written
            break
        aborted.producer_id = <int64_t>load_be64(raw + 2)
        aborted.first_offset = <int64_t>load_be64(raw + 10)
        aborted.last_offset = <int64_t>load_be64(raw + 18)
        aborted.last_stable_offset = <int64_t>load_be64(raw + 26)
        if transactions_append(index, &aborted) < 0:
            close(fd)
            return ENOMEM
        position += ABORTED_ENTRY_SIZE
        there = read_some(fd, raw, ABORTED_ENTRY_SIZE, position)
    close(fd)
    return -1 if there > 0 else <int>-there


cdef void transactions_truncate_end(TransactionIndex* index, int64_t end_offset) noexcept nogil:
    while index.count > 0 and index.entries[index.count - 1].last_offset >= end_offset:
        index.count -= 1


cdef void transactions_truncate_start(TransactionIndex* index, int64_t start_offset) noexcept nogil:
    cdef int32_t dropped = 0
    while dropped < index.count and index.entries[dropped].last_offset < start_offset:
        dropped += 1
    if dropped > 0:
        memmove(index.entries, index.entries + dropped, <size_t>(index.count - dropped) * sizeof(AbortedTransaction))
        index.count -= dropped


cdef int transactions_write_file(
    const TransactionIndex* index, const char* path, int64_t first, int64_t end
) noexcept nogil:
    """A power cut afterwards leaves all entries or, if the name is lost, no file."""
    cdef uint8_t raw[ABORTED_ENTRY_SIZE]
    cdef int64_t position = 0
    cdef int failed = 0
    cdef int32_t i
    cdef int fd = -1
    unlink(path)
    for i in range(index.count):
        if index.entries[i].last_offset < first or index.entries[i].last_offset >= end:
            continue
        if fd < 0:
            fd = open_giving_way(path, O_RDWR | O_CREAT | O_TRUNC)
            if fd < 0:
                return -fd
        encode(raw, &index.entries[i])
        failed = write_whole(fd, raw, ABORTED_ENTRY_SIZE, position)
        if failed:
            break
        position += ABORTED_ENTRY_SIZE
    if fd >= 0:
        if not failed:
            failed = sync_data(fd)
        close(fd)
    return failed


cdef int transactions_rewrite(TransactionIndex* index, const char* directory, int64_t base_offset, int64_t end) noexcept nogil:
    """Rewrite the file of segment [base_offset, end) from the index (after a truncation or a rebuild)."""
    cdef char path[PATH_BYTES_MAX]
    name_file(path, PATH_BYTES_MAX, directory, base_offset, b".txnindex")
    return transactions_write_file(index, path, base_offset, end)


cdef int transactions_copy_below(const TransactionIndex* index, int64_t end, TransactionIndex* copy) noexcept nogil:
    cdef int32_t i
    cdef int failed = 0
    copy.entries = NULL
    copy.count = 0
    copy.capacity = 0
    for i in range(index.count):
        if index.entries[i].last_offset < end:
            failed |= transactions_append(copy, &index.entries[i])
    return failed


cdef int transactions_merge(
    const TransactionIndex* index, int64_t first, int64_t end, const TransactionIndex* kept, TransactionIndex* merged
) noexcept nogil:
    cdef int32_t i
    cdef int failed = 0
    merged.entries = NULL
    merged.count = 0
    merged.capacity = 0
    for i in range(index.count):
        if index.entries[i].last_offset < first:
            failed |= transactions_append(merged, &index.entries[i])
    for i in range(kept.count):
        failed |= transactions_append(merged, &kept.entries[i])
    for i in range(index.count):
        if index.entries[i].last_offset >= end:
            failed |= transactions_append(merged, &index.entries[i])
    if failed:
        transactions_free(merged)
    return failed


cdef int transactions_overlapping(
    TransactionIndex* index, int64_t first, int64_t last_exclusive, int64_t** pairs, int32_t* count
) noexcept nogil:
    """In index order. Entries with a marker below `first` are skipped by bisection (markers are sorted)."""
    cdef int32_t low = 0
    cdef int32_t high = index.count
    cdef int32_t middle, i
    cdef int64_t* found
    pairs[0] = NULL
    count[0] = 0
    while low < high:
        middle = low + (high - low) // 2
        if index.entries[middle].last_offset < first:
            low = middle + 1
        else:
            high = middle
    if low == index.count:
        return 0
    found = <int64_t*>malloc(<size_t>(index.count - low) * 2 * sizeof(int64_t))
    if found == NULL:
        return -1
    for i in range(low, index.count):
        if index.entries[i].first_offset < last_exclusive:
            found[2 * count[0]] = index.entries[i].producer_id
            found[2 * count[0] + 1] = index.entries[i].first_offset
            count[0] += 1
        if index.entries[i].last_stable_offset >= last_exclusive:
            break               # all later entries begin at or after this one's stable offset
    if count[0] == 0:
        free(found)
        return 0
    pairs[0] = found
    return 0
