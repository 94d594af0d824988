"""Which brokers are alive, as the data plane may read it. See live_brokers.pyx."""
from libc.stdint cimport int32_t

cdef enum:
    BROKERS_MAX = 100000        # broker ids of this process's life; further ones count as dead

# A flag (a) that is 1 while the broker is alive and may join an ISR. Valid for the life of the process. Takes brokers.mutex.
cdef const int32_t* broker_alive(int32_t broker_id) noexcept nogil
