"""Parked requests without a purgatory: each belongs to one reactor, which responds exactly once, without locks.

A watch is in `Partition.parked[reactor]`, a list that only this reactor touches. A thread that advances a partition takes
its waiters mask and posts the partition to those reactors. Each reactor sets its bit again *before* it checks, so an
advance during the check wakes it again.
"""
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free

from kafka_cy.base.atomics cimport atomic_cas_i64, atomic_load_pointer, atomic_or_u64, counter_add
from kafka_cy.network.connection cimport PAUSE_PARKED, Connection
from kafka_cy.network.request cimport Parked
from kafka_cy.network.reactor_state cimport ReactorState, connection_mark_dirty
from kafka_cy.network.request_memory cimport memory_park, memory_park_anyway, memory_unpark, parked_crowded_by
from kafka_cy.network.timer_wheel cimport Timer, timer_cancel, timer_set
from kafka_cy.network.watch_set cimport set_watch_wake
from kafka_cy.storage.partition cimport REACTORS_MAX, Partition, partition_acquire, partition_release

cdef enum:
    RECHECK_NS = 10000000           # when a request that was due but not answered is checked again
    CROWDED_WAIT_NS = 1000000000    # the longest wait of a request that needs the budget while much of it is used


cdef ParkedState* parked_state(Parked* parked) noexcept nogil:
    cdef ParkedState* state = <ParkedState*>parked.private_state
    cdef Connection* connection
    if state != NULL:
        return state
    state = <ParkedState*>calloc(1, sizeof(ParkedState))
    if state == NULL:
        return NULL
    connection = parked.request.connection
    state.parked = parked
    state.timer.slot = -1
    state.next = <ParkedState*>connection.parked
    if state.next != NULL:
        state.next.prev = state
    connection.parked = state
    parked.private_state = state
    return state


cdef Watch** parked_watches(ReactorState* reactor, Partition* partition) noexcept nogil:
    cdef void** heads = <void**>atomic_load_pointer(<void**>&partition.parked)
    if heads == NULL:
        heads = <void**>calloc(REACTORS_MAX, sizeof(void*))
        if heads == NULL:
            return NULL
        if not atomic_cas_i64(<int64_t*>&partition.parked, 0, <int64_t>heads):
            free(heads)
            heads = <void**>atomic_load_pointer(<void**>&partition.parked)
    return <Watch**>&heads[reactor.shared.id]


cdef int parked_add_watch(ReactorState* reactor, Parked* parked, Partition* partition) noexcept nogil:
    cdef ParkedState* state = parked_state(parked)
    cdef Watch** head = parked_watches(reactor, partition)
    cdef Watch* watch
    if state == NULL or head == NULL:
        return -1
    if state.own_watch.partition == NULL:
        watch = &state.own_watch
    else:
        watch = <Watch*>calloc(1, sizeof(Watch))
        if watch == NULL:
            return -1
    watch.partition = partition_acquire(partition)
    watch.owner = state
    watch.sibling = state.watches
    state.watches = watch
    watch.prev = NULL
    watch.next = head[0]
    if watch.next != NULL:
        watch.next.prev = watch
    head[0] = watch
    atomic_or_u64(&partition.waiters, <uint64_t>1 << reactor.shared.id)
    return 0


cdef bint parked_reserve(ReactorState* reactor, Parked* parked, int64_t bytes) noexcept nogil:
    cdef ParkedState* state = parked_state(parked)
    cdef Connection* connection = parked.request.connection
    cdef int64_t deadline_ns
    if state == NULL or not memory_park(reactor, connection, bytes):
        return False
    state.bytes = bytes
    # Requests with long waits must not keep the budget from all others.
    if parked_crowded_by(reactor, connection):
        deadline_ns = reactor.shared.now_ns + CROWDED_WAIT_NS
        parked.deadline_ns = min(parked.deadline_ns, deadline_ns)
    return True


cdef void parked_reserve_anyway(ReactorState* reactor, Parked* parked, int64_t bytes) noexcept nogil:
    cdef ParkedState* state = parked_state(parked)
    cdef Connection* connection = parked.request.connection
    if state == NULL:
        return                          # parked_start fails
    memory_park_anyway(reactor, connection, bytes)
    state.bytes = bytes
    if parked_crowded_by(reactor, connection):
        connection.pauses |= PAUSE_PARKED
        counter_add(&reactor.counters.paused, 1)
        connection_mark_dirty(reactor, connection)


cdef int parked_start(ReactorState* reactor, Parked* parked) noexcept nogil:
    cdef ParkedState* state = parked_state(parked)
    if state == NULL:
        return -1
    parked.request.body = NULL
    parked.request.body_size = 0
    parked.request.client_id = NULL
    state.started = True
    timer_set(&reactor.wheel, &state.timer, parked.deadline_ns)
    counter_add(&reactor.counters.parked, 1)
    counter_add(&parked.request.api.parked, 1)
    return 0


cdef void unwatch(ReactorState* reactor, ParkedState* state) noexcept nogil:
    cdef Watch* watch = state.watches
    cdef Watch* sibling
    while watch != NULL:
        sibling = watch.sibling
        if watch.prev != NULL:
            watch.prev.next = watch.next
        else:
            watch.partition.parked[reactor.shared.id] = watch.next
        if watch.next != NULL:
            watch.next.prev = watch.prev
        partition_release(watch.partition)
        watch.partition = NULL
        if watch != &state.own_watch:
            free(watch)
        watch = sibling
    state.watches = NULL


cdef void parked_end(ReactorState* reactor, Parked* parked) noexcept nogil:
    cdef ParkedState* state = <ParkedState*>parked.private_state
    if state != NULL:
        timer_cancel(&reactor.wheel, &state.timer)
        if state.started:
            counter_add(&reactor.counters.parked, -1)
            counter_add(&parked.request.api.parked, -1)
        unwatch(reactor, state)
        if state.watch_set != NULL:
            state.watch_set.waiting = NULL
        if state.bytes:
            memory_unpark(reactor, parked.request.connection, state.bytes)
        if state.prev != NULL:
            state.prev.next = state.next
        else:
            parked.request.connection.parked = state.next
        if state.next != NULL:
            state.next.prev = state.prev
        free(state)
        parked.private_state = NULL
    parked.free(parked)


cdef void check(ReactorState* reactor, ParkedState* state, bint expired) noexcept nogil:
    cdef Parked* parked = state.parked
    cdef bint waits = state.after_hold and parked.request.connection.held
    cdef int64_t again_ns
    if parked.request.connection.dead:
        return                          # freed with its connection
    if not waits:
        state.after_hold = False
    if not waits and parked.check(&reactor.shared, parked, expired):
        if expired:
            counter_add(&parked.request.api.expired, 1)
        parked_end(reactor, parked)
    elif expired:
        timer_cancel(&reactor.wheel, &state.timer)
        again_ns = reactor.shared.now_ns + RECHECK_NS
        timer_set(&reactor.wheel, &state.timer, again_ns)


cdef void parked_check(ReactorState* reactor, Parked* parked, bint expired) noexcept nogil:
    check(reactor, <ParkedState*>parked.private_state, expired)


cdef inline ParkedState* set_woken(SetWatch* watch) noexcept nogil:
    """Return the request that waits with the watch; NULL: none."""
    set_watch_wake(watch)
    return watch.set.waiting if not watch.muted else NULL


cdef void parked_wake(ReactorState* reactor, Partition** partitions, int count) noexcept nogil:
    """A watch of a set is armed again by its owner, before it looks at the partition."""
    cdef ParkedState* queue = NULL
    cdef bint again
    cdef ParkedState* state
    cdef Partition* partition
    cdef Watch* watch
    cdef int i
    for i in range(count):
        partition = partitions[i]
        watch = <Watch*>partition.parked[reactor.shared.id] if partition.parked != NULL else NULL
        again = False
        while watch != NULL:
            state = watch.owner if watch.owner != NULL else set_woken(<SetWatch*>watch)
            again = again or watch.owner != NULL
            if state != NULL and state.started and not state.check_queued:
                state.check_queued = True
                state.check_next = queue
                queue = state
            watch = watch.next
        if again:
            atomic_or_u64(&partition.waiters, <uint64_t>1 << reactor.shared.id)
    # A check frees nothing but the checked request; failed connections are only marked.
    while queue != NULL:
        state = queue
        queue = state.check_next
        state.check_queued = False
        check(reactor, state, False)
    for i in range(count):
        partition_release(partitions[i])


cdef void parked_expire(ReactorState* reactor, Timer* timer) noexcept nogil:
    check(reactor, <ParkedState*>timer, True)


cdef void parked_expire_connection(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef ParkedState* state = <ParkedState*>connection.parked
    cdef ParkedState* following
    while state != NULL:
        following = state.next
        if state.started:
            check(reactor, state, True)
        state = following


cdef void parked_after_hold(ReactorState* reactor, Connection* connection) noexcept nogil:
    """The oldest request comes first, because responses leave in order. One that begins a job holds the connection again."""
    cdef ParkedState* state = <ParkedState*>connection.parked
    cdef ParkedState* following
    while state != NULL and state.next != NULL:
        state = state.next
    while state != NULL and not connection.held:
        following = state.prev
        if state.after_hold:
            check(reactor, state, reactor.shared.now_ns >= state.parked.deadline_ns)
        state = following


cdef void parked_drop_connection(ReactorState* reactor, Connection* connection) noexcept nogil:
    while connection.parked != NULL:
        parked_end(reactor, (<ParkedState*>connection.parked).parked)
