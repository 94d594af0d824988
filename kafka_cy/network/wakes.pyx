"""Wakes: a partition that advanced notifies the reactors whose parked requests wait for it.

The partition hook may run on any thread. On the reactor's own thread a wake is a list entry; from another thread it
goes through the mailbox.
"""
from libc.stdint cimport int32_t
from libc.stdlib cimport free, realloc

from kafka_cy.base.atomics cimport atomic_load_i32, counter_add
from kafka_cy.network.control_queue cimport CONTROL_QUEUES, control_queue_wake
from kafka_cy.network.mailbox cimport MAIL_WAKE, mailbox_post
from kafka_cy.network.parked cimport parked_wake
from kafka_cy.network.reactor_state cimport NetworkState, ReactorState
from kafka_cy.storage.partition cimport CONTROL_WAITER, Partition, partition_release, partition_set_wake_hook

cdef extern from *:
    """
    static __thread void *this_thread_reactor;
    static inline int increment_unless_zero(int32_t *p)
    {
        int32_t seen = __atomic_load_n(p, __ATOMIC_SEQ_CST);
        while (seen > 0 && !__atomic_compare_exchange_n(p, &seen, seen + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            ;
        return seen > 0;
    }
    """
    void* this_thread_reactor
    bint increment_unless_zero(int32_t* p) noexcept nogil

cdef NetworkState* active_network = NULL


cdef void wake_reactor(int reactor, Partition* partition) noexcept nogil:
    """The partition hook. Runs on any thread, including the reactor's own (then it needs no lock and no system call)."""
    cdef NetworkState* network = active_network
    cdef ReactorState* target
    cdef int i
    if network == NULL:
        return
    if reactor == CONTROL_WAITER:
        for i in range(CONTROL_QUEUES):
            control_queue_wake(&network.controls[i])
        return
    if reactor >= network.reactors_count:
        return
    target = <ReactorState*>network.reactors[reactor]
    if target == NULL or not atomic_load_i32(&target.running):
        return
    # The flusher may call this during the release of the last reference (which waits for the flush): then no request waits.
    if not increment_unless_zero(&partition.references):
        return
    if this_thread_reactor == <void*>target:
        if not local_wake_add(target, partition):
            partition_release(partition)
    elif mailbox_post(&target.mailbox, MAIL_WAKE, partition) != 0:
        partition_release(partition)


cdef bint local_wake_add(ReactorState* reactor, Partition* partition) noexcept nogil:
    cdef int32_t wanted
    cdef void** grown
    if reactor.local_wakes_count == reactor.local_wakes_capacity:
        wanted = reactor.local_wakes_capacity * 2 if reactor.local_wakes_capacity else 64
        grown = <void**>realloc(reactor.local_wakes, <size_t>wanted * sizeof(void*))
        if grown == NULL:
            return False
        reactor.local_wakes = grown
        reactor.local_wakes_capacity = wanted
    reactor.local_wakes[reactor.local_wakes_count] = partition
    reactor.local_wakes_count += 1
    return True


cdef void handle_wakes(ReactorState* reactor) noexcept nogil:
    cdef void** partitions = reactor.local_wakes
    cdef int32_t count = reactor.local_wakes_count
    cdef int32_t capacity = reactor.local_wakes_capacity
    reactor.local_wakes = NULL          # checks may add new wakes
    reactor.local_wakes_count = 0
    reactor.local_wakes_capacity = 0
    counter_add(&reactor.counters.wakes, count)
    parked_wake(reactor, <Partition**>partitions, count)
    if reactor.local_wakes == NULL:
        reactor.local_wakes = partitions
        reactor.local_wakes_capacity = capacity
    else:
        free(partitions)


cdef void network_activate(NetworkState* network) noexcept nogil:
    global active_network
    active_network = network
    partition_set_wake_hook(wake_reactor)


cdef void network_deactivate(NetworkState* network) noexcept nogil:
    global active_network
    if active_network == network:
        active_network = NULL


cdef void wakes_are_local(ReactorState* reactor) noexcept nogil:
    global this_thread_reactor
    this_thread_reactor = reactor
