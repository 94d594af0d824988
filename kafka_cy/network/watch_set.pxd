"""Watches that stay from one request of a connection to the next; see watch_set.pyx. On the thread of the reactor."""
from libc.stdint cimport int64_t

from kafka_cy.network.connection cimport Connection
from kafka_cy.network.parked cimport SetWatch, Watch, WatchSet, WatchSetDrop
from kafka_cy.network.reactor_state cimport ReactorState
from kafka_cy.network.request cimport Parked, Reactor
from kafka_cy.network.timer_wheel cimport Timer
from kafka_cy.storage.partition cimport Partition

# Hear of all that advanced before this call. Call it before the list `woken` is looked at.
cdef void watch_set_hear(Reactor* reactor) noexcept nogil
cdef void watch_set_init(WatchSet* watches, WatchSetDrop drop) noexcept nogil
# Add a zeroed watch of a partition, armed. The caller holds a reference to the partition until it is removed. -1: no memory.
cdef int watch_set_add(Reactor* reactor, WatchSet* watches, SetWatch* watch, Partition* partition) noexcept nogil
# Remove a watch, unless it was never added. It must not be used after that.
cdef void watch_set_remove(Reactor* reactor, SetWatch* watch) noexcept nogil
# What its partition does from now on wakes the set again. Call it before the partition is looked at.
cdef void watch_set_arm(Reactor* reactor, SetWatch* watch) noexcept nogil
# The parked request waits with them until its end, besides the watches of its own. -1: no memory.
cdef int watch_set_wait(Reactor* reactor, WatchSet* watches, Parked* parked) noexcept nogil
# No request uses them from now on; without another one until the deadline, they are dropped.
cdef void watch_set_rest(Reactor* reactor, WatchSet* watches, int64_t deadline_ns) noexcept nogil
cdef void watch_set_use(Reactor* reactor, WatchSet* watches) noexcept nogil     # a request uses them again
# -- internal to the network layer --
cdef void watch_set_expire(ReactorState* reactor, Timer* timer) noexcept nogil
cdef void watch_set_drop_connection(ReactorState* reactor, Connection* connection) noexcept nogil


cdef inline void set_watch_wake(SetWatch* watch) noexcept nogil:
    if not watch.woken:
        watch.woken = True
        watch.woken_next = watch.set.woken
        watch.set.woken = watch


cdef inline void watch_sets_wake(ReactorState* reactor, Partition* partition) noexcept nogil:
    """The partition advanced; requests that wait are checked later."""
    cdef Watch* watch = <Watch*>partition.parked[reactor.shared.id] if partition.parked != NULL else NULL
    while watch != NULL:
        if watch.owner == NULL:
            set_watch_wake(<SetWatch*>watch)
        watch = watch.next
