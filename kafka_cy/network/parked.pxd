"""Requests that wait for a partition or a deadline, on the reactor of their connection; see parked.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.network.connection cimport Connection
from kafka_cy.network.request cimport Parked
from kafka_cy.network.reactor_state cimport ReactorState
from kafka_cy.network.timer_wheel cimport Timer
from kafka_cy.storage.partition cimport Partition

# One parked request on its reactor's list for one partition.
cdef struct Watch:
    Watch* next             # in the partition's list
    Watch* prev
    Watch* sibling          # next watch of the same request
    Partition* partition    # one reference
    ParkedState* owner

# The network layer's part of a Parked. Owner: the reactor. Lifetime: from parked_watch or park_start to parked_end.
cdef struct ParkedState:
    Timer timer             # first: a due Timer* is its ParkedState*
    Parked* parked
    Watch* watches
    Watch own_watch         # the first one needs no malloc
    ParkedState* next       # next one of the connection
    ParkedState* prev
    ParkedState* check_next
    bint check_queued
    bint started
    int64_t bytes           # reserved from the request budget

cdef int parked_add_watch(ReactorState* reactor, Parked* parked, Partition* partition) noexcept nogil
# Counts the memory that the parked request needs, once. False: it may not wait, because parked requests hold too much.
# It ends with parked_end all the same.
cdef bint parked_reserve(ReactorState* reactor, Parked* parked, int64_t bytes) noexcept nogil
cdef int parked_start(ReactorState* reactor, Parked* parked) noexcept nogil
cdef void parked_end(ReactorState* reactor, Parked* parked) noexcept nogil          # unlinks and frees everything
cdef void parked_check(ReactorState* reactor, Parked* parked, bint expired) noexcept nogil
# The partition advanced: check all requests that wait on it here. Takes over the caller's reference.
cdef void parked_wake(ReactorState* reactor, Partition** partitions, int count) noexcept nogil
cdef void parked_expire(ReactorState* reactor, int64_t now_ns) noexcept nogil       # all expired ones
cdef void parked_expire_connection(ReactorState* reactor, Connection* connection) noexcept nogil    # draining
cdef void parked_drop_connection(ReactorState* reactor, Connection* connection) noexcept nogil      # it closed
