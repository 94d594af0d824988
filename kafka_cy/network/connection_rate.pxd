"""The rate of new connections (max.connection.creation.rate)."""
from libc.stdint cimport int64_t

from kafka_cy.base.atomics cimport atomic_cas_i64, atomic_load_relaxed_i64

cdef enum:
    CREATION_RATE_NO_LIMIT = 0x7fffffff
    CREATION_BURST_NS = 1000000000      # one second's worth of connections may arrive at once
    CREATION_STOPPED_NS = 1000000000    # a rate of 0 is checked again after this time

# Purpose: spreads new connections over time. Owner: the server. Threads: reactors account for what they accept; the control
# plane changes `per_second` (a). Lifetime: the server's. Limits: none (two numbers).
cdef struct ConnectionRate:
    int64_t per_second
    int64_t due_ns                      # (a) monotonic time until which accepted connections have used up the rate


cdef inline int64_t creation_wait_ns(ConnectionRate* rate, int64_t now_ns) noexcept nogil:
    """Return how long new connections stay in the backlog; 0: accept the next one now."""
    cdef int64_t early
    cdef int64_t per_second = atomic_load_relaxed_i64(&rate.per_second)
    if per_second >= CREATION_RATE_NO_LIMIT:
        return 0
    if per_second <= 0:
        return CREATION_STOPPED_NS
    early = atomic_load_relaxed_i64(&rate.due_ns) - now_ns - CREATION_BURST_NS
    return early if early > 0 else 0


cdef inline void creation_count(ConnectionRate* rate, int64_t now_ns) noexcept nogil:
    """Account for one accepted connection."""
    cdef int64_t due
    cdef int64_t per_second = atomic_load_relaxed_i64(&rate.per_second)
    if per_second <= 0 or per_second >= CREATION_RATE_NO_LIMIT:
        return
    due = atomic_load_relaxed_i64(&rate.due_ns)
    while not atomic_cas_i64(&rate.due_ns, due, (due if due > now_ns else now_ns) + 1000000000 // per_second):
        due = atomic_load_relaxed_i64(&rate.due_ns)
