"""Requests that wait for a partition or a deadline, on the reactor of their connection; see parked.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.network.connection cimport Connection
from kafka_cy.network.request cimport Parked, Reactor
from kafka_cy.network.reactor_state cimport ReactorState
from kafka_cy.network.timer_wheel cimport Timer
from kafka_cy.storage.partition cimport Partition

cdef struct WatchSet

# One parked request on its reactor's list for one partition.
cdef struct Watch:
    Watch* next             # in the partition's list
    Watch* prev
    Watch* sibling          # next watch of the same request
    Partition* partition    # one reference; of a WatchSet: borrowed
    ParkedState* owner      # NULL: it belongs to a WatchSet

# A watch that stays when the request that waits with it is answered.
cdef struct SetWatch:
    Watch watch             # first field
    WatchSet* set
    SetWatch* woken_next
    bint muted              # its partition does not have the request that waits checked
    bint woken              # its partition advanced since it was armed: it is in the list `woken` of the set

ctypedef void (*WatchSetDrop)(Reactor* reactor, WatchSet* watches) noexcept nogil

# Watches of the requests of one connection that wait for the same partitions, one after the other. See watch_set.pyx.
# Owner: the reactor. Lifetime: until `drop`, which is called when the connection ends, or when no request used them for long.
cdef struct WatchSet:
    Timer timer             # first: TIMER_WATCH_SET; armed while no request uses them
    ParkedState* waiting    # the request that waits with them; NULL: none
    SetWatch* woken
    WatchSetDrop drop

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
    WatchSet* watch_set     # it waits with these, too; NULL: none
    bint after_hold         # checked again when the connection is not held any more, and not before
    int64_t bytes           # reserved from the request budget

# The request's state, allocated and linked to its connection at first use; NULL if memory is short.
cdef ParkedState* parked_state(Parked* parked) noexcept nogil
# This reactor's list of watches in the partition. The first caller allocates the array of lists; NULL if memory is short.
cdef Watch** parked_watches(ReactorState* reactor, Partition* partition) noexcept nogil
cdef int parked_add_watch(ReactorState* reactor, Parked* parked, Partition* partition) noexcept nogil
# Counts the memory that the parked request needs, once. False: it may not wait, because parked requests hold too much.
# It ends with parked_end all the same.
cdef bint parked_reserve(ReactorState* reactor, Parked* parked, int64_t bytes) noexcept nogil
# The same for a request that waits in any case. While parked requests hold much, its connection handles no further request.
cdef void parked_reserve_anyway(ReactorState* reactor, Parked* parked, int64_t bytes) noexcept nogil
cdef int parked_start(ReactorState* reactor, Parked* parked) noexcept nogil
cdef void parked_end(ReactorState* reactor, Parked* parked) noexcept nogil          # unlinks and frees everything
cdef void parked_check(ReactorState* reactor, Parked* parked, bint expired) noexcept nogil
# The partition advanced: check all requests that wait on it here. Takes over the caller's reference.
cdef void parked_wake(ReactorState* reactor, Partition** partitions, int count) noexcept nogil
cdef void parked_expire(ReactorState* reactor, Timer* timer) noexcept nogil         # the timer of a parked request
cdef void parked_expire_connection(ReactorState* reactor, Connection* connection) noexcept nogil    # draining
# The connection is not held any more: checks the requests that waited for this.
cdef void parked_after_hold(ReactorState* reactor, Connection* connection) noexcept nogil
cdef void parked_drop_connection(ReactorState* reactor, Connection* connection) noexcept nogil      # it closed
