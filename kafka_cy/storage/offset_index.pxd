"""Offset index: (offset - base offset: int32, file position: int32), sorted by both.

An entry names a batch by its *last* offset and gives the position where that batch begins.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.records.wire cimport load_be32, store_be32
from kafka_cy.storage.index_table cimport IndexTable, table_append

cdef enum:
    OFFSET_ENTRY_SIZE = 8


cdef inline int64_t offset_entry_relative(const IndexTable* table, int32_t i) noexcept nogil:
    return <int32_t>load_be32(table.data + <size_t>i * OFFSET_ENTRY_SIZE)


cdef inline int64_t offset_entry_position(const IndexTable* table, int32_t i) noexcept nogil:
    return <int64_t><uint32_t>load_be32(table.data + <size_t>i * OFFSET_ENTRY_SIZE + 4)


cdef inline int offset_index_append(IndexTable* table, int64_t relative, int64_t position) noexcept nogil:
    cdef uint8_t entry[OFFSET_ENTRY_SIZE]
    store_be32(entry, <uint32_t>relative)
    store_be32(entry + 4, <uint32_t>position)
    return table_append(table, entry)


cdef inline int64_t offset_index_floor(const IndexTable* table, int64_t relative) noexcept nogil:
    """Position of the last entry with an offset <= base + relative; 0 when there is none."""
    cdef int32_t low = 0
    cdef int32_t high = table.count
    cdef int32_t middle
    while low < high:
        middle = low + (high - low) // 2
        if offset_entry_relative(table, middle) <= relative:
            low = middle + 1
        else:
            high = middle
    return offset_entry_position(table, low - 1) if low > 0 else 0


cdef inline int64_t position_index_floor(const IndexTable* table, int64_t position) noexcept nogil:
    """The last indexed batch start <= position; 0 when there is none."""
    cdef int32_t low = 0
    cdef int32_t high = table.count
    cdef int32_t middle
    while low < high:
        middle = low + (high - low) // 2
        if offset_entry_position(table, middle) <= position:
            low = middle + 1
        else:
            high = middle
    return offset_entry_position(table, low - 1) if low > 0 else 0
