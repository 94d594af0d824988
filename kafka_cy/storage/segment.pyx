"""Segments and the process-wide bound on how many of their files are open."""
from libc.errno cimport EAGAIN
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_cas_i64, atomic_load_i32, atomic_load_i64, atomic_store_i32, atomic_store_i64, atomic_sub_i32,
    atomic_sub_i64,
)
from kafka_cy.base.clock cimport wall_clock_ms
from kafka_cy.base.page_cache cimport pread_cached
from kafka_cy.base.posix cimport (
    EMFILE, ENFILE, ENOENT, O_CREAT, O_RDWR, PATH_BYTES_MAX, close, cut_file, name_file, open_file, open_files_max,
    pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock, read_some, rename_path, size_of_fd,
    size_of_file, sync_data, sync_path, unlink, write_whole,
)
from kafka_cy.records.batch cimport BATCH_HEADER_SIZE, LOG_OVERHEAD, BatchHeader
from kafka_cy.records.wire cimport load_be32, load_be64
from kafka_cy.storage.index_table cimport IndexTable, table_free, table_init, table_map, table_write
from kafka_cy.storage.offset_index cimport (
    OFFSET_ENTRY_SIZE, offset_entry_position, offset_entry_relative, offset_index_append,
)
from kafka_cy.storage.time_index cimport TIME_ENTRY_SIZE, time_index_maybe_append

cdef enum:
    REPAIRED_INTERVAL_BYTES = 4096      # index.interval.bytes of an index that is made anew

cdef pthread_mutex_t repair_mutex       # one index is made anew at a time; taken before the open mutex
cdef pthread_mutex_t open_mutex         # guards the ring, opening, closing, and segment.directory
cdef Segment* clock_hand = NULL
cdef int64_t open_count = 0
cdef int64_t open_max = max(32, open_files_max() // 2)
pthread_mutex_init(&open_mutex, NULL)
pthread_mutex_init(&repair_mutex, NULL)


cdef Segment* segment_new(const char* directory, int64_t base_offset) noexcept nogil:
    cdef Segment* segment = <Segment*>calloc(1, sizeof(Segment))
    if segment == NULL:
        return NULL
    segment.references = 1
    segment.pins = -1
    segment.fd = -1
    segment.directory = directory
    segment.base_offset = base_offset
    segment.size = -1
    segment.created_ms = wall_clock_ms()
    segment.first_timestamp = -1
    segment.max_timestamp = -1
    segment.max_timestamp_offset = -1
    table_init(&segment.offsets, OFFSET_ENTRY_SIZE)
    table_init(&segment.times, TIME_ENTRY_SIZE)
    return segment


cdef Segment* segment_acquire(Segment* segment) noexcept nogil:
    atomic_add_i32(&segment.references, 1)
    return segment


cdef void ring_remove(Segment* segment) noexcept nogil:
    global clock_hand, open_count
    if segment.next == NULL:
        return
    if clock_hand == segment:
        clock_hand = segment.next if segment.next != segment else NULL
    segment.next.previous = segment.previous
    segment.previous.next = segment.next
    segment.next = NULL
    segment.previous = NULL
    open_count -= 1


cdef void ring_insert(Segment* segment) noexcept nogil:
    global clock_hand, open_count
    if clock_hand == NULL:
        segment.next = segment
        segment.previous = segment
        clock_hand = segment
    else:
        segment.next = clock_hand
        segment.previous = clock_hand.previous
        clock_hand.previous.next = segment
        clock_hand.previous = segment
    open_count += 1


cdef void close_files(Segment* segment) noexcept nogil:
    """With the open mutex, and nobody pinning."""
    ring_remove(segment)
    if segment.fd >= 0:
        close(segment.fd)
        segment.fd = -1
    if segment.indexes_mapped:
        table_free(&segment.offsets)
        table_free(&segment.times)
        segment.indexes_mapped = False


cdef void segment_unref(Segment* segment) noexcept nogil:
    if atomic_sub_i32(&segment.references, 1) > 0:
        return
    pthread_mutex_lock(&open_mutex)
    close_files(segment)
    pthread_mutex_unlock(&open_mutex)
    table_free(&segment.offsets)
    table_free(&segment.times)
    free(segment)


cdef bint evict_one() noexcept nogil:
    """With the open mutex: close one segment that nobody uses. Two rounds of the clock at most."""
    global clock_hand
    cdef int64_t steps = open_count * 2
    cdef Segment* segment
    while steps > 0 and clock_hand != NULL:
        steps -= 1
        segment = clock_hand
        clock_hand = segment.next
        if atomic_load_i32(&segment.recently_used):
            atomic_store_i32(&segment.recently_used, 0)
        elif atomic_cas_i64(&segment.pins, 0, -1):
            close_files(segment)
            return True
    return False


cdef bint evict_for(int error_number) noexcept nogil:
    """With the open mutex, after an open() that failed."""
    return (error_number == EMFILE or error_number == ENFILE) and evict_one()


cdef bint segments_give_way(int error_number) noexcept nogil:
    cdef bint given
    pthread_mutex_lock(&open_mutex)
    given = evict_for(error_number)
    pthread_mutex_unlock(&open_mutex)
    return given


cdef int open_pinned(Segment* segment) noexcept nogil:
    """The slow half of segment_pin."""
    cdef char path[PATH_BYTES_MAX]
    cdef int64_t pins
    cdef int fd
    pthread_mutex_lock(&open_mutex)
    pins = atomic_load_i64(&segment.pins)
    while pins >= 0:            # somebody else opened it meanwhile
        if atomic_cas_i64(&segment.pins, pins, pins + 1):
            pthread_mutex_unlock(&open_mutex)
            return 0
        pins = atomic_load_i64(&segment.pins)
    while open_count >= open_max and evict_one():
        pass
    name_file(path, PATH_BYTES_MAX, segment.directory, segment.base_offset, b".log")
    fd = open_file(path, O_RDWR | (O_CREAT if segment.active else 0))
    while fd < 0 and evict_for(-fd):
        fd = open_file(path, O_RDWR | (O_CREAT if segment.active else 0))
    if fd < 0:
        pthread_mutex_unlock(&open_mutex)
        return -fd
    segment.fd = fd
    if atomic_load_i64(&segment.size) < 0:
        atomic_store_i64(&segment.size, size_of_fd(segment.fd))
    ring_insert(segment)
    atomic_store_i64(&segment.pins, 1)
    pthread_mutex_unlock(&open_mutex)
    return 0


cdef int segment_pin(Segment* segment) noexcept nogil:
    cdef int64_t pins = atomic_load_i64(&segment.pins)
    if not atomic_load_i32(&segment.recently_used):
        atomic_store_i32(&segment.recently_used, 1)
    while pins >= 0:
        if atomic_cas_i64(&segment.pins, pins, pins + 1):
            return 0
        pins = atomic_load_i64(&segment.pins)
    return open_pinned(segment)


cdef void segment_unpin(Segment* segment) noexcept nogil:
    atomic_sub_i64(&segment.pins, 1)


cdef void name_index(Segment* segment, bint time, char* path) noexcept nogil:
    """With the open mutex."""
    cdef const char* suffix = b".timeindex" if time else b".index"
    if segment.deleted:
        suffix = b".timeindex.deleted" if time else b".index.deleted"
    name_file(path, PATH_BYTES_MAX, segment.directory, segment.base_offset, suffix)


cdef int segment_map_indexes(Segment* segment) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef int failed = 0
    cdef bint fit = True
    pthread_mutex_lock(&open_mutex)
    if not segment.active and not segment.indexes_mapped and not segment.indexes_unwritten:
        name_index(segment, False, path)
        failed = table_map(&segment.offsets, path)
        while failed and evict_for(failed):
            failed = table_map(&segment.offsets, path)
        name_index(segment, True, path)
        if not failed:
            failed = table_map(&segment.times, path)
        while failed and evict_for(failed):
            failed = table_map(&segment.times, path)
        fit = failed == 0 and indexes_fit(segment)
        segment.indexes_mapped = fit
    pthread_mutex_unlock(&open_mutex)
    return failed if failed or fit else repair_indexes(segment)


cdef bint indexes_fit(Segment* segment) noexcept nogil:
    """Do the maps of a closed segment look whole? One read; what they miss is a torn or lost file, not a changed one."""
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef IndexTable* offsets = &segment.offsets
    cdef int64_t position = 0
    cdef int64_t last_offset = 0x7fffffffffffffff
    if segment.size <= 0:
        return True
    if offsets.mapped_size % OFFSET_ENTRY_SIZE or segment.times.mapped_size % TIME_ENTRY_SIZE:
        return False
    if offsets.count == 0 and segment.size > REPAIRED_INTERVAL_BYTES:
        return False
    if offsets.count > 0:
        position = offset_entry_position(offsets, offsets.count - 1)
        last_offset = segment.base_offset + offset_entry_relative(offsets, offsets.count - 1)
    cursor_init(&cursor, segment, segment.size)
    if cursor_header(&cursor, position, &header) <= 0:
        return offsets.count == 0
    if header.base_offset < segment.base_offset or header.base_offset > last_offset:
        return False
    return segment.times.count > 0 or records_timestamp(&header) < 0


cdef int repair_indexes(Segment* segment) noexcept nogil:
    """Make a pinned, closed segment's indexes anew from its batch headers: once, instead of a scan at every lookup."""
    cdef Segment scratch
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef int64_t position = 0
    cdef int there
    memset(&scratch, 0, sizeof(Segment))
    scratch.base_offset = segment.base_offset
    scratch.first_timestamp = -1
    scratch.max_timestamp = -1
    table_init(&scratch.offsets, OFFSET_ENTRY_SIZE)
    table_init(&scratch.times, TIME_ENTRY_SIZE)
    cursor_init(&cursor, segment, segment.size)
    pthread_mutex_lock(&repair_mutex)
    there = 0 if segment.indexes_mapped else cursor_header(&cursor, 0, &header)
    while there > 0 and 0 <= header.base_offset - segment.base_offset <= 0x7fffffff:
        segment_index_batch(
            &scratch, header.base_offset + header.last_offset_delta, records_timestamp(&header), position,
            LOG_OVERHEAD + header.length, REPAIRED_INTERVAL_BYTES)
        position += LOG_OVERHEAD + header.length
        there = cursor_header(&cursor, position, &header)
    if scratch.max_timestamp >= 0:
        time_index_maybe_append(&scratch.times, scratch.max_timestamp, scratch.max_timestamp_offset - segment.base_offset)
    take_repaired(segment, &scratch)
    pthread_mutex_unlock(&repair_mutex)
    return -there if there < 0 else 0


cdef void take_repaired(Segment* segment, Segment* scratch) noexcept nogil:
    """The tables stay in memory until the segment is closed; when they cannot be written, the next map repairs again."""
    cdef char path[PATH_BYTES_MAX]
    pthread_mutex_lock(&open_mutex)
    if segment.indexes_mapped:          # another thread was first
        table_free(&scratch.offsets)
        table_free(&scratch.times)
    else:
        if scratch.offsets.count != segment.offsets.count or scratch.times.count != segment.times.count:
            name_index(segment, False, path)
            table_write(&scratch.offsets, path, True)
            name_index(segment, True, path)
            table_write(&scratch.times, path, True)
        table_free(&segment.offsets)
        table_free(&segment.times)
        segment.offsets = scratch.offsets
        segment.times = scratch.times
        segment.indexes_mapped = True
    pthread_mutex_unlock(&open_mutex)


cdef int64_t segment_size(Segment* segment) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef int64_t size = atomic_load_i64(&segment.size)
    if size < 0:
        pthread_mutex_lock(&open_mutex)
        name_file(path, PATH_BYTES_MAX, segment.directory, segment.base_offset, b".log")
        size = size_of_file(path)
        if size >= 0:
            atomic_store_i64(&segment.size, size)
        pthread_mutex_unlock(&open_mutex)
    return size


cdef void cursor_init(BatchCursor* cursor, Segment* segment, int64_t limit) noexcept nogil:
    cursor.segment = segment
    cursor.limit = limit
    cursor.cached_only = False
    cursor.window_position = 0
    cursor.window_size = 0


cdef const uint8_t* cursor_bytes(BatchCursor* cursor, int64_t position, int64_t wanted, int64_t* there) noexcept nogil:
    """Up to `wanted` bytes at `position`; NULL on a read error: then `there` is -errno."""
    cdef int64_t size = CURSOR_WINDOW_SIZE
    if position < cursor.window_position or position + wanted > cursor.window_position + cursor.window_size:
        if position + size > cursor.limit:
            size = cursor.limit - position
        if cursor.cached_only:
            size = pread_cached(cursor.segment.fd, cursor.window, <size_t>size, position)
            if 0 <= size < wanted:
                size = -EAGAIN              # The rest is on the disk, or a later page is.
        else:
            size = read_some(cursor.segment.fd, cursor.window, <size_t>size, position)
        if size < 0:
            there[0] = size
            return NULL
        cursor.window_position = position
        cursor.window_size = size
    there[0] = cursor.window_position + cursor.window_size - position
    return cursor.window + (position - cursor.window_position)


cdef int cursor_header(BatchCursor* cursor, int64_t position, BatchHeader* header) noexcept nogil:
    """Magic 0 and 1 entries have a shorter header: offsets, length and timestamp are what callers need of them."""
    cdef int64_t wanted = min(BATCH_HEADER_SIZE, cursor.limit - position)
    cdef int64_t there = 0
    cdef const uint8_t* raw
    if wanted < LOG_OVERHEAD + 14:      # the smallest entry: magic 0 without key and value
        return 0
    raw = cursor_bytes(cursor, position, wanted, &there)
    if raw == NULL:
        return <int>there
    if there < wanted:
        return 0
    header.base_offset = <int64_t>load_be64(raw)
    header.length = <int32_t>load_be32(raw + 8)
    header.magic = <signed char>raw[16]
    if header.length < 14 or position + LOG_OVERHEAD + header.length > cursor.limit or header.magic > 2 or header.magic < 0:
        return 0
    if header.magic == 2:
        return header_from(raw, header) if wanted == BATCH_HEADER_SIZE else 0
    header.leader_epoch = -1
    header.last_offset_delta = 0
    header.attributes = <signed char>raw[17]
    header.max_timestamp = <int64_t>load_be64(raw + 18) if header.magic == 1 else -1
    header.producer_id = -1
    header.producer_epoch = -1
    header.base_sequence = -1
    header.records_count = 1
    return 1


cdef int header_from(const uint8_t* raw, BatchHeader* header) noexcept nogil:
    header.leader_epoch = <int32_t>load_be32(raw + 12)
    header.crc = load_be32(raw + 17)
    header.attributes = <short>((raw[21] << 8) | raw[22])
    header.last_offset_delta = <int32_t>load_be32(raw + 23)
    header.base_timestamp = <int64_t>load_be64(raw + 27)
    header.max_timestamp = <int64_t>load_be64(raw + 35)
    header.producer_id = <int64_t>load_be64(raw + 43)
    header.producer_epoch = <short>((raw[51] << 8) | raw[52])
    header.base_sequence = <int32_t>load_be32(raw + 53)
    header.records_count = <int32_t>load_be32(raw + 57)
    return 1 if header.length >= BATCH_HEADER_SIZE - LOG_OVERHEAD and header.last_offset_delta >= 0 else 0


cdef int segment_append_bytes(Segment* segment, const void* data, size_t size) noexcept nogil:
    return write_whole(segment.fd, data, size, segment.size)


cdef int segment_index_batch(
    Segment* segment, int64_t last_offset, int64_t max_timestamp, int64_t position, int64_t size, int32_t interval_bytes
) noexcept nogil:
    """Kafka's order: the timestamp counts before, the batch's bytes after, the check of the interval."""
    cdef int failed = 0
    if max_timestamp > segment.max_timestamp:
        segment.max_timestamp = max_timestamp
        segment.max_timestamp_offset = last_offset
    if segment.first_timestamp < 0:
        segment.first_timestamp = max_timestamp
    if segment.bytes_since_index > interval_bytes:
        failed = offset_index_append(&segment.offsets, last_offset - segment.base_offset, position)
        if not failed:
            failed = time_index_maybe_append(
                &segment.times, segment.max_timestamp, segment.max_timestamp_offset - segment.base_offset)
        segment.bytes_since_index = 0
    segment.bytes_since_index += size
    return failed


cdef const char* directory_of(Segment* segment, bint* deleted) noexcept nogil:
    cdef const char* directory
    pthread_mutex_lock(&open_mutex)
    directory = segment.directory
    deleted[0] = segment.deleted
    pthread_mutex_unlock(&open_mutex)
    return directory


cdef int write_table(Segment* segment, IndexTable* table, const char* suffix, bint exact) noexcept nogil:
    """By the name that the folder has now: it may be renamed meanwhile. Nothing for a deleted segment."""
    cdef char path[PATH_BYTES_MAX]
    cdef bint deleted = False
    cdef const char* tried = NULL
    cdef const char* directory = directory_of(segment, &deleted)
    cdef int failed = ENOENT
    while failed == ENOENT and directory != tried and not deleted:
        tried = directory
        name_file(path, PATH_BYTES_MAX, directory, segment.base_offset, suffix)
        failed = table_write(table, path, exact)
        while failed and segments_give_way(failed):
            failed = table_write(table, path, exact)
        directory = directory_of(segment, &deleted)
    return 0 if deleted else failed


cdef int segment_write_indexes(Segment* segment, bint exact) noexcept nogil:
    cdef int failed = write_table(segment, &segment.offsets, b".index", exact)
    return failed if failed else write_table(segment, &segment.times, b".timeindex", exact)


cdef void segment_seal_times(Segment* segment) noexcept nogil:
    if segment.max_timestamp >= 0:
        time_index_maybe_append(&segment.times, segment.max_timestamp, segment.max_timestamp_offset - segment.base_offset)


cdef int segment_close_indexes(Segment* segment) noexcept nogil:
    segment_seal_times(segment)
    return segment_write_indexes(segment, True)


cdef void settled(Segment* segment) noexcept nogil:
    pthread_mutex_lock(&open_mutex)
    segment.indexes_unwritten = False
    segment.indexes_mapped = True
    pthread_mutex_unlock(&open_mutex)


cdef void segment_retire(Segment* segment, bint indexes_written) noexcept nogil:
    if indexes_written:
        settled(segment)
        atomic_store_i32(<int32_t*>&segment.active, 0)
        return
    segment.indexes_unwritten = True
    if segment.offsets.written or segment.times.written:
        # The files hold the beginning only, and would pass for whole ones.
        unlink_one(segment.directory, segment.base_offset, b".index")
        unlink_one(segment.directory, segment.base_offset, b".timeindex")
        segment.offsets.written = 0
        segment.times.written = 0
    atomic_store_i32(<int32_t*>&segment.active, 0)


cdef int segment_settle_indexes(Segment* segment) noexcept nogil:
    cdef int failed = segment_write_indexes(segment, True)
    if not failed:
        settled(segment)
    return failed


cdef int segment_trim(Segment* segment) noexcept nogil:
    cdef bint deleted = False
    cdef int failed
    if not segment.preallocated:
        return 0
    failed = segment_pin(segment)
    if failed:
        directory_of(segment, &deleted)
        return 0 if deleted else failed
    failed = cut_file(segment.fd, segment.size)
    segment_unpin(segment)
    segment.preallocated = False
    return failed


cdef int segment_flush(Segment* segment) noexcept nogil:
    cdef bint deleted = False
    cdef int failed = segment_pin(segment)
    if failed:
        directory_of(segment, &deleted)
        return 0 if deleted else failed
    failed = sync_data(segment.fd)
    if not failed and not atomic_load_i32(<int32_t*>&segment.active):
        sync_indexes(segment)
    segment_unpin(segment)
    return failed


cdef void sync_indexes(Segment* segment) noexcept nogil:
    """A closed segment's index files get no more writes. One that a power cut damages nevertheless is noticed when it is
    mapped, so a failure here is none of the log's."""
    cdef char paths[2][PATH_BYTES_MAX]
    pthread_mutex_lock(&open_mutex)
    name_file(paths[0], PATH_BYTES_MAX, segment.directory, segment.base_offset, b".index")
    name_file(paths[1], PATH_BYTES_MAX, segment.directory, segment.base_offset, b".timeindex")
    pthread_mutex_unlock(&open_mutex)
    sync_path(paths[0])
    sync_path(paths[1])


cdef int segments_rename_directory(Segment** segments, int32_t count, const char* old, const char* fresh) noexcept nogil:
    cdef int32_t i
    cdef int failed
    pthread_mutex_lock(&open_mutex)
    failed = rename_path(old, fresh)
    if not failed:
        for i in range(count):
            segments[i].directory = fresh
    pthread_mutex_unlock(&open_mutex)
    return failed


cdef void rename_one(const char* directory, int64_t base_offset, const char* suffix, const char* new_suffix) noexcept nogil:
    cdef char old_path[PATH_BYTES_MAX]
    cdef char new_path[PATH_BYTES_MAX]
    name_file(old_path, PATH_BYTES_MAX, directory, base_offset, suffix)
    name_file(new_path, PATH_BYTES_MAX, directory, base_offset, new_suffix)
    rename_path(old_path, new_path)


cdef void segment_rename_deleted(Segment* segment) noexcept nogil:
    """.deleted: gone for readers that come and for a restart; the files go after file.delete.delay.ms."""
    segment_pin(segment)        # a reader that looked it up a moment ago still finds the descriptor
    pthread_mutex_lock(&open_mutex)
    rename_one(segment.directory, segment.base_offset, b".index", b".index.deleted")
    rename_one(segment.directory, segment.base_offset, b".timeindex", b".timeindex.deleted")
    rename_one(segment.directory, segment.base_offset, b".txnindex", b".txnindex.deleted")
    rename_one(segment.directory, segment.base_offset, b".log", b".log.deleted")
    segment.deleted = True
    pthread_mutex_unlock(&open_mutex)


cdef void unlink_one(const char* directory, int64_t base_offset, const char* suffix) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    name_file(path, PATH_BYTES_MAX, directory, base_offset, suffix)
    unlink(path)


cdef void segment_unlink_files(const char* directory, int64_t base_offset, bint renamed) noexcept nogil:
    unlink_one(directory, base_offset, b".log.deleted" if renamed else b".log")
    unlink_one(directory, base_offset, b".index.deleted" if renamed else b".index")
    unlink_one(directory, base_offset, b".timeindex.deleted" if renamed else b".timeindex")
    unlink_one(directory, base_offset, b".txnindex.deleted" if renamed else b".txnindex")
