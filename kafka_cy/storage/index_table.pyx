"""Load, map, append to and write the entry tables of the offset and time indexes."""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from kafka_cy.base.posix cimport (
    EIO, ENOENT, ENOMEM, O_CREAT, O_RDONLY, O_RDWR, close, cut_file, map_file, munmap, open_file, read_some, size_of_fd,
    write_whole,
)


cdef void table_init(IndexTable* table, int32_t entry_size) noexcept nogil:
    table.data = NULL
    table.entry_size = entry_size
    table.count = 0
    table.capacity = 0
    table.written = 0
    table.mapped_size = 0


cdef void table_free(IndexTable* table) noexcept nogil:
    if table.mapped_size:
        munmap(table.data, table.mapped_size)
    else:
        free(table.data)
    table_init(table, table.entry_size)


cdef int table_reserve(IndexTable* table, int32_t count) noexcept nogil:
    cdef int32_t wanted = table.capacity * 2 if table.capacity else 16
    cdef uint8_t* grown
    if count <= table.capacity:
        return 0
    if wanted < count:
        wanted = count
    grown = <uint8_t*>realloc(table.data, <size_t>wanted * table.entry_size)
    if grown == NULL:
        return ENOMEM
    table.data = grown
    table.capacity = wanted
    return 0


cdef int table_append(IndexTable* table, const uint8_t* entry) noexcept nogil:
    if table_reserve(table, table.count + 1):
        return ENOMEM
    memcpy(table.data + <size_t>table.count * table.entry_size, entry, table.entry_size)
    table.count += 1
    return 0


cdef bint entry_is_zero(const uint8_t* entry, int32_t size) noexcept nogil:
    cdef int32_t i
    for i in range(size):
        if entry[i]:
            return False
    return True


cdef void trim_padding(IndexTable* table) noexcept nogil:
    """Drop zero padding. Kafka preallocates active indexes with zeros and truncates them only on a clean close. Entries
    are sorted, so the padding is one run at the end. An all-zero first entry is real only in an offset index;
    dropping it is harmless."""
    cdef int32_t low = 0
    cdef int32_t high = table.count
    cdef int32_t middle
    if high == 0 or not entry_is_zero(table.data + <size_t>(high - 1) * table.entry_size, table.entry_size):
        return
    while low < high:
        middle = low + (high - low) // 2
        if entry_is_zero(table.data + <size_t>middle * table.entry_size, table.entry_size):
            high = middle
        else:
            low = middle + 1
    table.count = low


cdef int table_map(IndexTable* table, int fd) noexcept nogil:
    cdef int64_t size
    cdef int failed = 0
    table_free(table)
    if fd < 0:
        return 0 if fd == -ENOENT else -fd
    size = size_of_fd(fd)
    if size < 0:
        failed = <int>-size
    elif size >= table.entry_size:
        failed = map_file(fd, <size_t>size, &table.data)
    if not failed and size >= table.entry_size:
        table.mapped_size = <size_t>size
        table.count = <int32_t>(size // table.entry_size)
        trim_padding(table)
    close(fd)
    table.written = table.count
    return failed


cdef int table_load(IndexTable* table, const char* path) noexcept nogil:
    cdef int64_t size
    cdef int32_t count
    cdef int failed = 0
    cdef int fd = open_file(path, O_RDONLY)
    table_free(table)
    if fd < 0:
        return 0 if fd == -ENOENT else -fd
    size = size_of_fd(fd)
    count = <int32_t>(size // table.entry_size)
    if size < 0:
        failed = <int>-size
    elif count > 0:
        failed = table_reserve(table, count)
    if not failed and count > 0:
        size = read_some(fd, table.data, <size_t>count * table.entry_size, 0)
        if size < <int64_t>count * table.entry_size:
            failed = <int>-size if size < 0 else EIO
    if not failed and count > 0:
        table.count = count
        trim_padding(table)
    close(fd)
    table.written = table.count
    return failed


cdef int table_write(IndexTable* table, const char* path, bint exact) noexcept nogil:
    cdef size_t start = <size_t>table.written * table.entry_size
    cdef size_t end = <size_t>table.count * table.entry_size
    cdef int failed = 0
    cdef int fd
    if table.mapped_size or (table.written == table.count and not exact):
        return 0
    fd = open_file(path, O_RDWR | O_CREAT)
    if fd < 0:
        return -fd
    if end > start:
        failed = write_whole(fd, table.data + start, end - start, <int64_t>start)
    if not failed and exact:
        failed = cut_file(fd, <int64_t>end)
    close(fd)
    if not failed:
        table.written = table.count
    return failed
