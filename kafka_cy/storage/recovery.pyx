"""Recovery of one log's files after a start. Runs before the log is shared: no locks."""
from libc.errno cimport errno
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc, qsort, realloc, strtoll
from libc.string cimport strcmp, strlen

from kafka_cy.base.posix cimport (
    DIR, EIO, ENOMEM, O_RDONLY, PATH_BYTES_MAX, close, closedir, cut_file, dirent, join_path, name_file, open_file, opendir,
    read_some, readdir, rename_path, size_of_fd, unlink,
)
from kafka_cy.records.batch cimport (
    ATTRIBUTE_CONTROL, BATCH_OK, LOG_OVERHEAD, BatchHeader, batch_crc_matches,
)
from kafka_cy.records.legacy cimport LegacyMessage, legacy_crc_matches, legacy_message_read
from kafka_cy.records.wire cimport load_be32, load_be64
from kafka_cy.storage.batch_cursor cimport BatchCursor, cursor_header, cursor_init, records_timestamp
from kafka_cy.storage.index_table cimport table_free
from kafka_cy.storage.leader_epochs cimport epochs_assign, epochs_latest
from kafka_cy.storage.producer_state cimport producers_apply, producers_clear, producers_read_snapshot, producers_reserve
from kafka_cy.storage.segment_index cimport segment_index_batch
from kafka_cy.storage.transaction_index cimport AbortedTransaction, transactions_append

cdef int64_t SEGMENT_OFFSETS_MAX = 1 << 31     # the offset index stores offsets relative to the segment's base offset in 31 bits


cdef bint ends_with(const char* name, const char* suffix) noexcept nogil:
    cdef size_t size = strlen(name)
    cdef size_t suffix_size = strlen(suffix)
    return size >= suffix_size and strcmp(name + size - suffix_size, suffix) == 0


cdef int64_t offset_of_name(const char* name, const char* suffix) noexcept nogil:
    """Parse NNNNNNNNNNNNNNNNNNNN + suffix; -1 for another name."""
    cdef int32_t i
    if strlen(name) != 20 + strlen(suffix) or strcmp(name + 20, suffix) != 0:
        return -1
    for i in range(20):
        if name[i] < 48 or name[i] > 57:
            return -1
    return strtoll(name, NULL, 10)


cdef int by_offset(const void* a, const void* b) noexcept nogil:
    cdef int64_t left = (<int64_t*>a)[0]
    cdef int64_t right = (<int64_t*>b)[0]
    return -1 if left < right else (1 if left > right else 0)


cdef void sort_offsets(int64_t* values, int32_t count) noexcept nogil:
    if count > 1:               # qsort must not be given NULL, even for zero items
        qsort(values, <size_t>count, sizeof(int64_t), by_offset)


cdef int push(int64_t** values, int32_t* count, int64_t value) noexcept nogil:
    """Capacity is the next power of two."""
    cdef int64_t* grown
    if count[0] & (count[0] - 1) == 0:
        grown = <int64_t*>realloc(values[0], <size_t>(2 * count[0] if count[0] else 1) * sizeof(int64_t))
        if grown == NULL:
            return -1
        values[0] = grown
    values[0][count[0]] = value
    count[0] += 1
    return 0


cdef int list_one(Listing* listing, const char* directory, const char* name) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef int64_t offset = offset_of_name(name, b".log")
    if offset >= 0:
        return push(&listing.segments, &listing.segments_count, offset)
    offset = offset_of_name(name, b".snapshot")
    if offset >= 0:
        return push(&listing.snapshots, &listing.snapshots_count, offset)
    offset = offset_of_name(name, b".txnindex")
    if offset >= 0:
        return push(&listing.transactions, &listing.transactions_count, offset)
    if ends_with(name, b".deleted") or ends_with(name, b".tmp"):
        join_path(path, PATH_BYTES_MAX, directory, name)
        unlink(path)
    return 0


cdef int64_t cleaned_min(const char* directory) noexcept nogil:
    """The smallest base offset of a .cleaned file: that cleaning did not finish, so its .swap files are ignored."""
    cdef DIR* folder = opendir(directory)
    cdef dirent* entry
    cdef int64_t offset
    cdef int64_t smallest = 0x7fffffffffffffff
    if folder == NULL:
        return smallest
    entry = readdir(folder)
    while entry != NULL:
        offset = offset_of_name(entry.d_name, b".log.cleaned")
        if 0 <= offset < smallest:
            smallest = offset
        entry = readdir(folder)
    closedir(folder)
    return smallest


cdef int64_t swap_end(const char* directory, const char* name) noexcept nogil:
    """The offset after the last whole batch of a .log.swap; its base offset if it has no whole batch."""
    cdef char path[PATH_BYTES_MAX]
    cdef uint8_t header[27]
    cdef int64_t position = 0
    cdef int64_t next_offset = offset_of_name(name, b".log.swap")
    cdef int64_t length
    cdef int fd
    join_path(path, PATH_BYTES_MAX, directory, name)
    fd = open_file(path, O_RDONLY)
    if fd < 0:
        return next_offset
    while read_some(fd, header, 27, position) == 27 and <int32_t>load_be32(header + 8) >= 15:
        length = LOG_OVERHEAD + <int64_t>load_be32(header + 8)
        if position + length > size_of_fd(fd):
            break
        next_offset = <int64_t>load_be64(header) + (<int32_t>load_be32(header + 23) if header[16] == 2 else 0) + 1
        position += length
    close(fd)
    return next_offset


cdef void delete_replaced(const char* directory, int64_t first, int64_t end) noexcept nogil:
    """The segments whose records a swapped-in segment [first, end) replaces; after a crash some of them may remain."""
    cdef char path[PATH_BYTES_MAX]
    cdef DIR* folder = opendir(directory)
    cdef dirent* entry
    cdef int64_t offset
    if folder == NULL:
        return
    entry = readdir(folder)
    while entry != NULL:
        offset = max(
            max(offset_of_name(entry.d_name, b".log"), offset_of_name(entry.d_name, b".index")),
            max(offset_of_name(entry.d_name, b".timeindex"), offset_of_name(entry.d_name, b".txnindex")))
        if first <= offset < end:
            join_path(path, PATH_BYTES_MAX, directory, entry.d_name)
            unlink(path)
        entry = readdir(folder)
    closedir(folder)


cdef void finish_swaps(const char* directory) noexcept nogil:
    """Finish a cleaner swap that stopped after writing new segments (.swap) and before all had replaced the old ones.
    The old segments are removed first, then the new logs are renamed, then their indexes, so the next start can
    continue from any interruption."""
    cdef char path[PATH_BYTES_MAX]
    cdef int64_t unfinished = cleaned_min(directory)
    cdef int64_t offset
    cdef dirent* entry
    cdef int step
    cdef DIR* folder
    for step in range(3):
        folder = opendir(directory)
        if folder == NULL:
            return
        entry = readdir(folder)
        while entry != NULL:
            offset = offset_of_name(entry.d_name, b".log.swap")
            if ends_with(entry.d_name, b".swap") and strlen(entry.d_name) > 20 and strtoll(entry.d_name, NULL, 10) >= unfinished:
                join_path(path, PATH_BYTES_MAX, directory, entry.d_name)
                unlink(path)
            elif step == 0 and offset >= 0:
                delete_replaced(directory, offset, max(swap_end(directory, entry.d_name), offset + 1))
            elif ends_with(entry.d_name, b".swap") and ((step == 1 and offset >= 0) or step == 2):
                finish_swap(directory, entry.d_name)
            entry = readdir(folder)
        closedir(folder)


cdef void finish_swap(const char* directory, const char* name) noexcept nogil:
    cdef char old_path[PATH_BYTES_MAX]
    cdef char new_path[PATH_BYTES_MAX]
    join_path(old_path, PATH_BYTES_MAX, directory, name)
    join_path(new_path, PATH_BYTES_MAX, directory, name)
    new_path[strlen(new_path) - 5] = 0
    rename_path(old_path, new_path)


cdef void delete_cleaned(const char* directory) noexcept nogil:
    """Remove unfinished cleaner files. Runs after the swaps, which use them to detect unfinished cleaning."""
    cdef char path[PATH_BYTES_MAX]
    cdef DIR* folder = opendir(directory)
    cdef dirent* entry
    if folder == NULL:
        return
    entry = readdir(folder)
    while entry != NULL:
        if ends_with(entry.d_name, b".cleaned"):
            join_path(path, PATH_BYTES_MAX, directory, entry.d_name)
            unlink(path)
        entry = readdir(folder)
    closedir(folder)


cdef int listing_read(Listing* listing, const char* directory) noexcept nogil:
    cdef DIR* folder = opendir(directory)
    cdef dirent* entry
    cdef int failed = errno if folder == NULL else 0
    cdef bint swaps = False
    cdef bint cleaned = False
    listing.segments = NULL
    listing.segments_count = 0
    listing.snapshots = NULL
    listing.snapshots_count = 0
    listing.transactions = NULL
    listing.transactions_count = 0
    if folder == NULL:
        return failed
    entry = readdir(folder)
    while entry != NULL and not failed:
        if ends_with(entry.d_name, b".swap"):
            swaps = True
        elif ends_with(entry.d_name, b".cleaned"):
            cleaned = True
        else:
            failed = list_one(listing, directory, entry.d_name)
        entry = readdir(folder)
    closedir(folder)
    if failed:
        listing_free(listing)
        return ENOMEM
    if swaps:
        finish_swaps(directory)
        listing_free(listing)
        return listing_read(listing, directory)
    if cleaned:
        delete_cleaned(directory)
    sort_offsets(listing.segments, listing.segments_count)
    sort_offsets(listing.snapshots, listing.snapshots_count)
    sort_offsets(listing.transactions, listing.transactions_count)
    return 0


cdef void listing_free(Listing* listing) noexcept nogil:
    free(listing.segments)
    free(listing.snapshots)
    free(listing.transactions)
    listing.segments = NULL
    listing.snapshots = NULL
    listing.transactions = NULL


cdef int read_snapshot(ProducerState* producers, const char* directory, int64_t offset) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef int64_t size
    cdef uint8_t* data
    cdef int failed = -1
    cdef int fd
    name_file(path, PATH_BYTES_MAX, directory, offset, b".snapshot")
    fd = open_file(path, O_RDONLY)
    if fd < 0:
        return -1
    size = size_of_fd(fd)
    data = <uint8_t*>malloc(<size_t>size + 1) if size >= 0 else NULL
    if data != NULL and read_some(fd, data, <size_t>size, 0) == size:
        failed = producers_read_snapshot(producers, data, <size_t>size)
    free(data)
    close(fd)
    return failed


cdef int64_t snapshot_floor(ProducerState* producers, const char* directory, Listing* listing, int64_t offset) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef int32_t i
    for i in range(listing.snapshots_count - 1, -1, -1):
        if listing.snapshots[i] > offset:
            continue
        if read_snapshot(producers, directory, listing.snapshots[i]) == 0:
            return listing.snapshots[i]
        name_file(path, PATH_BYTES_MAX, directory, listing.snapshots[i], b".snapshot")
        unlink(path)            # torn: an older snapshot plus a longer replay gives the same state
    producers_clear(producers)
    return -1


cdef void snapshots_delete(const char* directory, int64_t below, int64_t above) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef DIR* folder = opendir(directory)
    cdef dirent* entry
    cdef int64_t offset
    if folder == NULL:
        return
    entry = readdir(folder)
    while entry != NULL:
        offset = offset_of_name(entry.d_name, b".snapshot")
        if offset >= 0 and (offset < below or offset > above):
            join_path(path, PATH_BYTES_MAX, directory, entry.d_name)
            unlink(path)
        entry = readdir(folder)
    closedir(folder)


cdef void snapshots_delete_above(const char* directory, int64_t offset) noexcept nogil:
    snapshots_delete(directory, 0, offset)


cdef void snapshots_delete_below(const char* directory, int64_t offset) noexcept nogil:
    snapshots_delete(directory, offset, 0x7fffffffffffffff)


cdef int read_batch(Segment* segment, int64_t position, size_t size, uint8_t** buffer, size_t* capacity) noexcept nogil:
    """Read the bytes of one batch into a reusable buffer; 0 or an errno."""
    cdef uint8_t* grown
    cdef int64_t there
    if size > capacity[0]:
        grown = <uint8_t*>realloc(buffer[0], size)
        if grown == NULL:
            return ENOMEM
        buffer[0] = grown
        capacity[0] = size
    there = read_some(segment.fd, buffer[0], size, position)
    if there < 0:
        return <int>-there
    return 0 if there == <int64_t>size else EIO


cdef int recover_batch(
    Segment* segment, const BatchHeader* header, const uint8_t* data, int64_t position, int32_t interval_bytes,
    ProducerState* producers, TransactionIndex* aborted, LeaderEpochs* epochs
) noexcept nogil:
    cdef size_t size = <size_t>(LOG_OVERHEAD + header.length)
    cdef AbortedTransaction transaction
    if producers_reserve(producers) < 0:
        return ENOMEM
    if producers_apply(producers, header, data, size, &transaction) and transactions_append(aborted, &transaction) < 0:
        return ENOMEM
    if header.leader_epoch > epochs_latest(epochs) and epochs_assign(epochs, header.leader_epoch, header.base_offset) < 0:
        return ENOMEM
    return segment_index_batch(
        segment, header.base_offset + header.last_offset_delta, records_timestamp(header), position, <int64_t>size,
        interval_bytes)


cdef bint in_place(const BatchHeader* header, int64_t offset_min, int64_t offset_limit) noexcept nogil:
    """Are all offsets of a batch in [offset_min, offset_limit)?"""
    return (
        header.base_offset >= offset_min and 0 <= header.last_offset_delta < offset_limit - offset_min
        and header.base_offset < offset_limit - header.last_offset_delta
    )


cdef bint checksum_matches(const BatchHeader* header, const uint8_t* data) noexcept nogil:
    cdef LegacyMessage message
    if header.magic == 2:
        return batch_crc_matches(data, header)
    return (
        legacy_message_read(data, <size_t>(LOG_OVERHEAD + header.length), &message) == BATCH_OK
        and legacy_crc_matches(data, &message)
    )


cdef int follower_goes_back(
    BatchCursor* cursor, Segment* segment, const BatchHeader* header, int64_t position, uint8_t** buffer, size_t* capacity
) noexcept nogil:
    """Detect a damaged base offset, which the checksum does not cover: this batch lies after an offset gap, yet the
    next batch is whole and begins below this one's end. Returns 1 if so; negative: minus an errno."""
    cdef BatchHeader following
    cdef int64_t next_position = position + LOG_OVERHEAD + header.length
    cdef int there = cursor_header(cursor, next_position, &following)
    cdef int failed
    if there <= 0 or following.base_offset > header.base_offset + header.last_offset_delta:
        return there if there < 0 else 0
    failed = read_batch(segment, next_position, <size_t>(LOG_OVERHEAD + following.length), buffer, capacity)
    return -failed if failed else checksum_matches(&following, buffer[0])


cdef int recover_segment(
    Segment* segment, int64_t offset_min, int64_t offset_limit, int32_t index_interval_bytes, ProducerState* producers,
    TransactionIndex* aborted, LeaderEpochs* epochs, int64_t* end_offset, bint* was_cut
) noexcept nogil:
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef int64_t position = 0
    cdef uint8_t* buffer = NULL
    cdef size_t capacity = 0
    cdef int failed = 0
    cdef int there
    cdef int64_t next_offset = max(offset_min, segment.base_offset)
    offset_limit = segment.base_offset + min(offset_limit - segment.base_offset, SEGMENT_OFFSETS_MAX)
    table_free(&segment.offsets)
    table_free(&segment.times)
    cursor_init(&cursor, segment, segment.size)
    there = cursor_header(&cursor, position, &header)
    while there > 0 and in_place(&header, next_offset, offset_limit):
        if header.base_offset > next_offset:
            there = follower_goes_back(&cursor, segment, &header, position, &buffer, &capacity)
            if there != 0:
                break
        failed = read_batch(segment, position, <size_t>(LOG_OVERHEAD + header.length), &buffer, &capacity)
        if failed or not checksum_matches(&header, buffer):
            break
        failed = recover_batch(
            segment, &header, buffer if header.magic == 2 else NULL, position, index_interval_bytes, producers, aborted, epochs)
        if failed:
            break
        position += LOG_OVERHEAD + header.length
        next_offset = header.base_offset + header.last_offset_delta + 1
        there = cursor_header(&cursor, position, &header)
    free(buffer)
    if failed or there < 0:     # unreadable is not torn: nothing is cut
        return failed if failed else -there
    end_offset[0] = next_offset
    was_cut[0] = position < segment.size
    if was_cut[0]:
        failed = cut_file(segment.fd, position)
        if not failed:
            segment.size = position
    return failed


cdef int replay_producers(
    Segment* segment, int64_t bytes, int64_t from_offset, int64_t until_offset, ProducerState* producers
) noexcept nogil:
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef AbortedTransaction unused
    cdef int64_t position = 0
    cdef uint8_t* buffer = NULL
    cdef size_t capacity = 0
    cdef int failed = 0
    cdef int there
    cursor_init(&cursor, segment, bytes)
    there = cursor_header(&cursor, position, &header)
    while not failed and there > 0 and header.base_offset < until_offset:
        if header.producer_id >= 0 and header.base_offset >= from_offset:
            if header.attributes & ATTRIBUTE_CONTROL:
                failed = read_batch(segment, position, <size_t>(LOG_OVERHEAD + header.length), &buffer, &capacity)
            if not failed and producers_reserve(producers) < 0:
                failed = ENOMEM
            if not failed:      # a marker needs more than the header
                producers_apply(producers, &header, buffer, <size_t>(LOG_OVERHEAD + header.length), &unused)
        position += LOG_OVERHEAD + header.length
        there = cursor_header(&cursor, position, &header)
    free(buffer)
    return -there if there < 0 and not failed else failed
