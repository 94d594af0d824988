"""Offset index: (offset - base offset: int32, file position: int32), sorted by both.

An entry names a batch by its *last* offset and gives the batch's start position.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.records.wire cimport load_be32, store_be32
from kafka_cy.storage.index_table cimport IndexTable, entries_up_to, table_append

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
    """Position of the last entry with an offset <= base + relative; 0 if none exists."""
    cdef int32_t count = entries_up_to(table, offset_entry_relative, relative)
    return offset_entry_position(table, count - 1) if count > 0 else 0


cdef inline int64_t position_index_floor(const IndexTable* table, int64_t position) noexcept nogil:
    """The last indexed batch start <= position; 0 if none exists."""
    cdef int32_t count = entries_up_to(table, offset_entry_position, position)
    return offset_entry_position(table, count - 1) if count > 0 else 0
