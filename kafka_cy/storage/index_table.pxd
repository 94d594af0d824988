"""A table of fixed-size big-endian entries, as in Kafka's .index and .timeindex files. See index_table.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t

# Owner: one Segment. The active segment's table is malloc'ed and grows; a closed segment's table is a read-only
# mapping.
cdef struct IndexTable:
    uint8_t* data
    int32_t entry_size
    int32_t count
    int32_t capacity            # capacity of `data` in entries; 0 when mapped
    int32_t written             # entries already in the file
    size_t mapped_size          # > 0: size of the mapping in `data`

cdef void table_init(IndexTable* table, int32_t entry_size) noexcept nogil
cdef void table_free(IndexTable* table) noexcept nogil
# These return 0 or an errno.
cdef int table_append(IndexTable* table, const uint8_t* entry) noexcept nogil           # ENOMEM
cdef int table_map(IndexTable* table, int fd) noexcept nogil                            # closes `fd`; -ENOENT: an empty table
cdef int table_load(IndexTable* table, const char* path) noexcept nogil                 # load into memory, to append
cdef int table_write(IndexTable* table, const char* path, bint exact) noexcept nogil    # writes new entries; exact: cuts the file

ctypedef int64_t (*entry_key)(const IndexTable* table, int32_t i) noexcept nogil


cdef inline int32_t entries_up_to(const IndexTable* table, entry_key key, int64_t bound) noexcept nogil:
    """How many entries have a key <= bound; keys ascend."""
    cdef int32_t low = 0
    cdef int32_t high = table.count
    cdef int32_t middle
    while low < high:
        middle = low + (high - low) // 2
        if key(table, middle) <= bound:
            low = middle + 1
        else:
            high = middle
    return low
