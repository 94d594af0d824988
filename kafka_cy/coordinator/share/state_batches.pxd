"""The state batches of a share partition in C memory; see state_batches.pyx."""
from libc.stdint cimport int8_t, int16_t, int64_t

# Neighbouring records in the same state; a StateBatch.
cdef struct BatchData:
    int64_t first_offset
    int64_t last_offset
    int16_t delivery_count
    int8_t delivery_state

# Immutable once its maker gives it away; then any thread reads it. Limits: BATCHES_MAX and ALL_BATCHES_MAX of state_coordinator;
# what is not stored yet: a request, or the records in flight of a share partition.
cdef class StateBatches:
    cdef BatchData* items
    cdef Py_ssize_t count

# With room for so many batches, and none of them counted. Raises MemoryError.
cdef StateBatches batches_with_room(Py_ssize_t room)
