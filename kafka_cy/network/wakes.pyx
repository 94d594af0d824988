"""Wakes: a partition that advanced notifies the reactors whose parked requests wait for it.

The partition hook may run on any thread. On the reactor's own thread a wake is a list entry; from another thread it
goes through the mailbox.
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, realloc

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_load_i64, atomic_store_i64, counter_add
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.network.control_queue cimport CONTROL_QUEUES, control_queue_wake
from kafka_cy.network.mailbox cimport MAIL_WAKE, Mailbox, mailbox_post
from kafka_cy.network.parked cimport parked_wake
from kafka_cy.network.reactor_state cimport NetworkState, ReactorState
from kafka_cy.network.watch_set cimport watch_sets_wake
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


cdef bint local_wakes_fit(ReactorState* reactor, int64_t count) noexcept nogil:
    """Whether there is room for so many more."""
    cdef int64_t wanted = reactor.local_wakes_capacity if reactor.local_wakes_capacity else 64
    cdef void** grown
    if reactor.local_wakes_count + count <= reactor.local_wakes_capacity:
        return True
    while wanted < reactor.local_wakes_count + count:
        wanted *= 2
    grown = <void**>realloc(reactor.local_wakes, <size_t>wanted * sizeof(void*))
    if grown == NULL:
        return False
    reactor.local_wakes = grown
    reactor.local_wakes_capacity = <int32_t>wanted
    return True


cdef bint local_wake_add(ReactorState* reactor, Partition* partition) noexcept nogil:
    if not local_wakes_fit(reactor, 1):
        return False
    reactor.local_wakes[reactor.local_wakes_count] = partition
    reactor.local_wakes_count += 1
    watch_sets_wake(reactor, partition)
    return True


cdef void wakes_take_over(ReactorState* reactor) noexcept nogil:
    """The other mails stay. The mutex is held while the mails are copied, not while watches are looked up."""
    cdef Mailbox* box = &reactor.mailbox
    cdef int32_t first = reactor.local_wakes_count
    cdef int64_t kept = 0
    cdef int64_t i = atomic_load_i64(&box.count)
    if i == 0 or not local_wakes_fit(reactor, i):
        return
    pthread_mutex_lock(&box.mutex)
    for i in range(box.count):
        if box.items[i].kind == MAIL_WAKE and reactor.local_wakes_count < reactor.local_wakes_capacity:
            reactor.local_wakes[reactor.local_wakes_count] = box.items[i].pointer
            reactor.local_wakes_count += 1
        else:
            box.items[kept] = box.items[i]
            kept += 1
    atomic_store_i64(&box.count, kept)
    pthread_mutex_unlock(&box.mutex)
    while first < reactor.local_wakes_count:
        watch_sets_wake(reactor, <Partition*>reactor.local_wakes[first])
        first += 1


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
