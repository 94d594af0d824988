"""Time index: (max timestamp so far: int64, offset - base offset of the batch that has it: int32), sorted by both."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from kafka_cy.records.wire cimport load_be32, load_be64, store_be32, store_be64
from kafka_cy.storage.index_table cimport IndexTable, entries_up_to, table_append

cdef enum:
    TIME_ENTRY_SIZE = 12


cdef inline int64_t time_entry_timestamp(const IndexTable* table, int32_t i) noexcept nogil:
    return <int64_t>load_be64(table.data + <size_t>i * TIME_ENTRY_SIZE)


cdef inline int64_t time_entry_relative(const IndexTable* table, int32_t i) noexcept nogil:
    return <int32_t>load_be32(table.data + <size_t>i * TIME_ENTRY_SIZE + 8)


cdef inline int time_index_maybe_append(IndexTable* table, int64_t timestamp_ms, int64_t relative) noexcept nogil:
    """Add an entry only for a larger timestamp."""
    cdef uint8_t entry[TIME_ENTRY_SIZE]
    if timestamp_ms < 0 or (table.count > 0 and timestamp_ms <= time_entry_timestamp(table, table.count - 1)):
        return 0
    store_be64(entry, <uint64_t>timestamp_ms)
    store_be32(entry + 8, <uint32_t>relative)
    return table_append(table, entry)


cdef inline int64_t time_index_floor(const IndexTable* table, int64_t timestamp_ms) noexcept nogil:
    """Relative offset of the last entry with a timestamp < timestamp_ms, 0 if none exists: a scan may begin there."""
    cdef int32_t count = entries_up_to(table, time_entry_timestamp, timestamp_ms - 1)
    return time_entry_relative(table, count - 1) if count > 0 else 0
