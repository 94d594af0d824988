"""Lookups in the offset and time indexes, callable from Python: for micro-benchmarks only.

Both take sorted int64 arrays and return the sum of the results, so that the native loop is measured, not Python
calls.
"""
from libc.stdint cimport int64_t

from kafka_cy.storage.index_table cimport IndexTable, table_free, table_init
from kafka_cy.storage.offset_index cimport OFFSET_ENTRY_SIZE, offset_index_append, offset_index_floor
from kafka_cy.storage.time_index cimport TIME_ENTRY_SIZE, time_index_floor, time_index_maybe_append


cdef class IndexProbe:
    """Build an offset index with entry i at file position i, and a time index with entry i at relative offset i."""
    cdef IndexTable offsets
    cdef IndexTable times

    def __cinit__(self, const int64_t[::1] keys not None):
        cdef Py_ssize_t i
        table_init(&self.offsets, OFFSET_ENTRY_SIZE)
        table_init(&self.times, TIME_ENTRY_SIZE)
        for i in range(keys.shape[0]):
            if offset_index_append(&self.offsets, keys[i], i) or time_index_maybe_append(&self.times, keys[i], i):
                raise MemoryError

    def __dealloc__(self):
        table_free(&self.offsets)
        table_free(&self.times)

    def sum_of_positions(self, const int64_t[::1] targets not None):
        """Find the last entries with an offset <= target."""
        cdef int64_t total = 0
        cdef Py_ssize_t i
        with nogil:
            for i in range(targets.shape[0]):
                total += offset_index_floor(&self.offsets, targets[i])
        return total

    def sum_of_offsets(self, const int64_t[::1] targets not None):
        """Find the last entries with a timestamp < target."""
        cdef int64_t total = 0
        cdef Py_ssize_t i
        with nogil:
            for i in range(targets.shape[0]):
                total += time_index_floor(&self.times, targets[i])
        return total
