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


cdef enum:
    BLOCK_ENTRIES = 64


cdef int32_t blocks_of(int32_t entries) noexcept nogil:
    return (entries + BLOCK_ENTRIES - 1) // BLOCK_ENTRIES


cdef int64_t* lowest_of(AbortedTransaction* entries, int32_t capacity) noexcept nogil:
    """The lowest first offset of each block of entries. It lies behind the entries, in the same memory."""
    return <int64_t*>(entries + capacity)


cdef void note_lowest(TransactionIndex* index, int32_t block) noexcept nogil:
    cdef int32_t i
    cdef int64_t lowest = index.entries[block * BLOCK_ENTRIES].first_offset
    for i in range(block * BLOCK_ENTRIES + 1, min((block + 1) * BLOCK_ENTRIES, index.count)):
        lowest = min(lowest, index.entries[i].first_offset)
    lowest_of(index.entries, index.capacity)[block] = lowest


cdef int grow(TransactionIndex* index) noexcept nogil:
    cdef int32_t wanted = index.capacity * 2 if index.capacity else 8
    cdef size_t bytes = <size_t>wanted * sizeof(AbortedTransaction) + <size_t>blocks_of(wanted) * sizeof(int64_t)
    cdef AbortedTransaction* grown = <AbortedTransaction*>realloc(index.entries, bytes)
    if grown == NULL:
        return -1
    memmove(
        lowest_of(grown, wanted), lowest_of(grown, index.capacity), <size_t>blocks_of(index.capacity) * sizeof(int64_t))
    index.entries = grown
    index.capacity = wanted
    return 0


cdef void transactions_free(TransactionIndex* index) noexcept nogil:
    free(index.entries)
    index.entries = NULL
    index.count = 0
    index.capacity = 0


cdef int transactions_append(TransactionIndex* index, const AbortedTransaction* aborted) noexcept nogil:
    if index.count == index.capacity and grow(index) < 0:
        return -1
    index.entries[index.count] = aborted[0]
    index.count += 1
    note_lowest(index, (index.count - 1) // BLOCK_ENTRIES)      # anew: a truncation may have cut the block
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
    cdef int32_t block
    while dropped < index.count and index.entries[dropped].last_offset < start_offset:
        dropped += 1
    if dropped > 0:
        memmove(index.entries, index.entries + dropped, <size_t>(index.count - dropped) * sizeof(AbortedTransaction))
        index.count -= dropped
        for block in range(blocks_of(index.count)):
            note_lowest(index, block)


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


cdef int32_t first_with_marker(const TransactionIndex* index, int64_t offset) noexcept nogil:
    """The first entry with a marker at or after the offset, by bisection: markers are sorted."""
    cdef int32_t low = 0
    cdef int32_t high = index.count
    cdef int32_t middle
    while low < high:
        middle = low + (high - low) // 2
        if index.entries[middle].last_offset < offset:
            low = middle + 1
        else:
            high = middle
    return low


cdef int32_t find_begun_before(const TransactionIndex* index, int32_t low, int64_t end, int64_t* pairs) noexcept nogil:
    """The number of entries from `low` on that begin below `end`; they are written to `pairs` unless that is NULL.

    While one transaction is open, any number may be aborted: blocks without such an entry are skipped.
    """
    cdef const int64_t* lowest = lowest_of(index.entries, index.capacity)
    cdef const AbortedTransaction* entry
    cdef int32_t found = 0
    cdef int32_t i = low
    while i < index.count:
        if lowest[i // BLOCK_ENTRIES] >= end:
            i = (i // BLOCK_ENTRIES + 1) * BLOCK_ENTRIES
            continue
        entry = &index.entries[i]
        if entry.first_offset < end:
            if pairs != NULL:
                pairs[2 * found] = entry.producer_id
                pairs[2 * found + 1] = entry.first_offset
            found += 1
        if entry.last_stable_offset >= end:
            break               # all later entries begin at or after this one's stable offset
        i += 1
    return found


cdef int transactions_overlapping(
    TransactionIndex* index, int64_t first, int64_t last_exclusive, int64_t** pairs, int32_t* count
) noexcept nogil:
    """In index order. The work and the memory are those of the entries found, and of one number for each block."""
    cdef int32_t low = first_with_marker(index, first)
    pairs[0] = NULL
    count[0] = find_begun_before(index, low, last_exclusive, NULL)
    if count[0] == 0:
        return 0
    pairs[0] = <int64_t*>malloc(<size_t>count[0] * 2 * sizeof(int64_t))
    if pairs[0] == NULL:
        count[0] = 0
        return -1
    find_begun_before(index, low, last_exclusive, pairs[0])
    return 0
