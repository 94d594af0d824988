"""Segments, and the process-wide bound on their open files."""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free

from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_cas_i64, atomic_load_i32, atomic_load_i64, atomic_store_i32, atomic_store_i64, atomic_sub_i32,
    atomic_sub_i64,
)
from kafka_cy.base.clock cimport wall_clock_ms
from kafka_cy.base.posix cimport (
    EMFILE, ENFILE, ENOENT, O_CREAT, O_RDONLY, O_RDWR, PATH_BYTES_MAX, close, cut_file, name_file, open_files_max,
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock, read_some, size_of_fd,
    sync_data, sync_path, unlink, write_whole,
)
from kafka_cy.storage.index_table cimport IndexTable, table_free, table_init
from kafka_cy.storage.log_folder cimport LogFolder, folder_name, open_in_folder, rename_in_folder
from kafka_cy.storage.offset_index cimport OFFSET_ENTRY_SIZE
from kafka_cy.storage.storage_error cimport STORAGE_IO_ERROR, STORAGE_OK
from kafka_cy.storage.time_index cimport TIME_ENTRY_SIZE

cdef pthread_mutex_t ring_mutex         # guards the ring of open segments and their count; held over no file operation
cdef Segment* clock_hand = NULL
cdef int64_t open_count = 0             # including those being opened
cdef int64_t open_max = max(32, open_files_max() // 2)
pthread_mutex_init(&ring_mutex, NULL)

# A segment's open resources: detached with ring_mutex held, closed without it.
cdef struct OpenFiles:
    int32_t fd                  # -1 none
    IndexTable offsets
    IndexTable times


cdef Segment* segment_new(LogFolder* folder, int64_t base_offset) noexcept nogil:
    cdef Segment* segment = <Segment*>calloc(1, sizeof(Segment))
    if segment == NULL:
        return NULL
    segment.references = 1
    segment.pins = -1
    segment.fd = -1
    segment.folder = folder
    segment.base_offset = base_offset
    segment.size = -1
    segment.created_ms = wall_clock_ms()
    segment.first_timestamp = -1
    segment.max_timestamp = -1
    segment.max_timestamp_offset = -1
    table_init(&segment.offsets, OFFSET_ENTRY_SIZE)
    table_init(&segment.times, TIME_ENTRY_SIZE)
    pthread_mutex_init(&segment.files_mutex, NULL)
    return segment


cdef Segment* segment_acquire(Segment* segment) noexcept nogil:
    atomic_add_i32(&segment.references, 1)
    return segment


cdef void ring_remove(Segment* segment) noexcept nogil:
    global clock_hand
    if segment.next == NULL:
        return
    if clock_hand == segment:
        clock_hand = segment.next if segment.next != segment else NULL
    segment.next.previous = segment.previous
    segment.previous.next = segment.next
    segment.next = NULL
    segment.previous = NULL


cdef void ring_insert(Segment* segment) noexcept nogil:
    global clock_hand
    if clock_hand == NULL:
        segment.next = segment
        segment.previous = segment
        clock_hand = segment
    else:
        segment.next = clock_hand
        segment.previous = clock_hand.previous
        clock_hand.previous.next = segment
        clock_hand.previous = segment


cdef void take_files(Segment* segment, OpenFiles* files) noexcept nogil:
    """With ring_mutex, from a segment that can no longer be pinned, or has -1 pins: the next pin opens it again."""
    global open_count
    files.fd = segment.fd
    table_init(&files.offsets, OFFSET_ENTRY_SIZE)
    table_init(&files.times, TIME_ENTRY_SIZE)
    if segment.next != NULL:
        ring_remove(segment)
        open_count -= 1
    segment.fd = -1
    if segment.indexes_mapped:
        files.offsets = segment.offsets
        files.times = segment.times
        table_init(&segment.offsets, OFFSET_ENTRY_SIZE)
        table_init(&segment.times, TIME_ENTRY_SIZE)
        atomic_store_i32(&segment.indexes_mapped, 0)


cdef void close_files(OpenFiles* files) noexcept nogil:
    if files.fd >= 0:
        close(files.fd)
    table_free(&files.offsets)
    table_free(&files.times)


cdef void segment_unref(Segment* segment) noexcept nogil:
    cdef OpenFiles files
    if atomic_sub_i32(&segment.references, 1) > 0:
        return
    pthread_mutex_lock(&ring_mutex)
    take_files(segment, &files)
    pthread_mutex_unlock(&ring_mutex)
    close_files(&files)
    table_free(&segment.offsets)
    table_free(&segment.times)
    pthread_mutex_destroy(&segment.files_mutex)
    free(segment)


cdef bint choose_unused(OpenFiles* files) noexcept nogil:
    """With ring_mutex: take the files of one unused segment. At most two rounds of the clock."""
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
            take_files(segment, files)
            return True
    return False


cdef bint close_one() noexcept nogil:
    cdef OpenFiles files
    cdef bint found
    pthread_mutex_lock(&ring_mutex)
    found = choose_unused(&files)
    pthread_mutex_unlock(&ring_mutex)
    if found:
        close_files(&files)
    return found


cdef bint segments_give_way(int error_number) noexcept nogil:
    return (error_number == EMFILE or error_number == ENFILE) and close_one()


cdef void count_open(int64_t change) noexcept nogil:
    """Count one more or fewer open segment; if too many are open, close one first."""
    global open_count
    cdef OpenFiles files
    cdef bint found
    while True:
        pthread_mutex_lock(&ring_mutex)
        found = change > 0 and open_count >= open_max and choose_unused(&files)
        if not found:
            open_count += change
        pthread_mutex_unlock(&ring_mutex)
        if not found:
            return
        close_files(&files)


cdef inline bint pin_opened(Segment* segment) noexcept nogil:
    """True, with one more pin, if the files are open."""
    cdef int64_t pins = atomic_load_i64(&segment.pins)
    while pins >= 0:
        if atomic_cas_i64(&segment.pins, pins, pins + 1):
            return True
        pins = atomic_load_i64(&segment.pins)
    return False


cdef int open_and_pin(Segment* segment) noexcept nogil:
    """Call with files_mutex."""
    cdef int flags = O_RDWR | (O_CREAT if segment.active else 0)
    cdef int fd
    count_open(1)
    fd = open_in_folder(segment.folder, segment.base_offset, b".log", flags)
    while fd < 0 and segments_give_way(-fd):
        fd = open_in_folder(segment.folder, segment.base_offset, b".log", flags)
    if fd < 0:
        count_open(-1)
        return -fd
    if atomic_load_i64(&segment.size) < 0:
        atomic_store_i64(&segment.size, size_of_fd(fd))
    pthread_mutex_lock(&ring_mutex)
    segment.fd = fd
    ring_insert(segment)
    atomic_store_i64(&segment.pins, 1)
    pthread_mutex_unlock(&ring_mutex)
    return 0


cdef int segment_pin(Segment* segment) noexcept nogil:
    cdef int failed = 0
    if not atomic_load_i32(&segment.recently_used):
        atomic_store_i32(&segment.recently_used, 1)
    if pin_opened(segment):
        return 0
    pthread_mutex_lock(&segment.files_mutex)
    if not pin_opened(segment):
        failed = open_and_pin(segment)
    pthread_mutex_unlock(&segment.files_mutex)
    return failed


cdef void segment_unpin(Segment* segment) noexcept nogil:
    atomic_sub_i64(&segment.pins, 1)


cdef void segment_release(Segment* segment) noexcept nogil:
    segment_unpin(segment)
    segment_unref(segment)


cdef int segment_read(Segment* segment, int64_t position, uint8_t* buffer, size_t size) noexcept nogil:
    return STORAGE_OK if read_some(segment.fd, buffer, size, position) == <int64_t>size else STORAGE_IO_ERROR


cdef int64_t segment_size(Segment* segment) noexcept nogil:
    cdef int64_t size = atomic_load_i64(&segment.size)
    cdef int fd
    if size >= 0:
        return size
    fd = open_in_folder(segment.folder, segment.base_offset, b".log", O_RDONLY)
    while fd < 0 and segments_give_way(-fd):
        fd = open_in_folder(segment.folder, segment.base_offset, b".log", O_RDONLY)
    if fd < 0:
        return -1
    size = size_of_fd(fd)
    close(fd)
    if size < 0:
        return -1
    atomic_store_i64(&segment.size, size)
    return size


cdef int segment_append_bytes(Segment* segment, const void* data, size_t size) noexcept nogil:
    return write_whole(segment.fd, data, size, segment.size)


cdef int unless_deleted(Segment* segment, int failed) noexcept nogil:
    """A deleted segment's file may be missing."""
    return 0 if atomic_load_i32(&segment.deleted) else failed


cdef int segment_trim(Segment* segment) noexcept nogil:
    cdef int failed
    if not segment.preallocated:
        return 0
    failed = segment_pin(segment)
    if failed:
        return unless_deleted(segment, failed)
    failed = cut_file(segment.fd, segment.size)
    segment_unpin(segment)
    segment.preallocated = False
    return failed


cdef int segment_flush(Segment* segment) noexcept nogil:
    cdef int failed = segment_pin(segment)
    if failed:
        return unless_deleted(segment, failed)
    failed = sync_data(segment.fd)
    if not failed:
        failed = sync_transactions(segment)
    if not failed and not atomic_load_i32(&segment.active):
        sync_index(segment, b".index")
        sync_index(segment, b".timeindex")
    segment_unpin(segment)
    return failed


cdef int sync_transactions(Segment* segment) noexcept nogil:
    """The index of aborted transactions, if there is one. A start does not see that entries are missing, so a failure here is one
    of the log, also for an active segment. An entry that comes meanwhile has its own flush."""
    cdef int failed
    if atomic_load_i32(&segment.aborted_synced):
        return 0
    atomic_store_i32(&segment.aborted_synced, 1)
    failed = sync_aborted_file(segment)
    if failed:
        atomic_store_i32(&segment.aborted_synced, 0)
    return failed


cdef int sync_aborted_file(Segment* segment) noexcept nogil:
    cdef int failed
    cdef int fd = open_in_folder(segment.folder, segment.base_offset, b".txnindex", O_RDONLY)
    while fd < 0 and segments_give_way(-fd):
        fd = open_in_folder(segment.folder, segment.base_offset, b".txnindex", O_RDONLY)
    if fd < 0:
        return 0 if fd == -ENOENT else -fd
    failed = sync_data(fd)
    close(fd)
    return failed


cdef void sync_index(Segment* segment, const char* suffix) noexcept nogil:
    """A closed segment's index files get no more writes. Damage after a power failure is detected when a file is
    mapped, so a failure here does not affect the log."""
    cdef char path[PATH_BYTES_MAX]
    name_file(path, PATH_BYTES_MAX, folder_name(segment.folder), segment.base_offset, suffix)
    sync_path(path)


cdef void segment_rename_deleted(Segment* segment) noexcept nogil:
    """Rename to .deleted: invisible to new readers and to a restart; the files are removed after file.delete.delay.ms. The .log
    comes first: a .log without its .txnindex would show aborted records, while the start removes a .txnindex without a .log.
    If a rename fails, `deleted` is -errno (see retire_segment)."""
    cdef int failed
    segment_pin(segment)        # a reader that just looked it up still finds the descriptor
    pthread_mutex_lock(&segment.files_mutex)
    failed = rename_in_folder(segment.folder, segment.base_offset, b".log", b".log.deleted")
    if not failed:
        failed = rename_if_there(segment, b".index", b".index.deleted")
    if not failed:
        failed = rename_if_there(segment, b".timeindex", b".timeindex.deleted")
    if not failed:
        failed = rename_if_there(segment, b".txnindex", b".txnindex.deleted")
    atomic_store_i32(&segment.deleted, -failed if failed else 1)
    pthread_mutex_unlock(&segment.files_mutex)


cdef int rename_if_there(Segment* segment, const char* suffix, const char* new_suffix) noexcept nogil:
    cdef int failed = rename_in_folder(segment.folder, segment.base_offset, suffix, new_suffix)
    return 0 if failed == ENOENT else failed


cdef void segment_unlink_files(const LogFolder* folder, int64_t base_offset) noexcept nogil:
    unlink_one(folder, base_offset, b".log")
    unlink_one(folder, base_offset, b".index")
    unlink_one(folder, base_offset, b".timeindex")
    unlink_one(folder, base_offset, b".txnindex")


cdef void unlink_one(const LogFolder* folder, int64_t base_offset, const char* suffix) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    name_file(path, PATH_BYTES_MAX, folder_name(folder), base_offset, suffix)
    unlink(path)
