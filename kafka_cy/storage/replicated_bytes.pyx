"""Counts of the process; each is on a cache line of its own, because fetchers and reactors write them at the same time."""
from libc.stdint cimport int64_t

from kafka_cy.base.atomics cimport atomic_add_relaxed_i64, atomic_load_relaxed_i64

cdef enum:
    LINE = 8                    # counts of a cache line; a line before the first count and one after the last are free

cdef int64_t[48] counts


cdef inline int64_t* count_of(ReplicatedBytes which) noexcept nogil:
    return &counts[(<int>which + 1) * LINE]


cdef void count_replicated(ReplicatedBytes which, int64_t size) noexcept nogil:
    atomic_add_relaxed_i64(count_of(which), size)


cdef int64_t replicated(ReplicatedBytes which) noexcept nogil:
    return atomic_load_relaxed_i64(count_of(which))


def replicated_bytes():
    """(in, out)"""
    return replicated(REPLICATED_IN), replicated(REPLICATED_OUT)


def reassigned_bytes():
    """(in, out): those of replicas that a reassignment adds."""
    return replicated(REASSIGNED_IN), replicated(REASSIGNED_OUT)
