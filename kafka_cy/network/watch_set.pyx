"""Watches that stay from one request of a connection to the next.

A client that asks for what is new in many partitions, again and again, would otherwise have all watches removed and set with each
of its requests. And it learns which of its partitions advanced, so that it need not look at the others: a watch whose partition
advanced is in the list `woken`, also if that happened while no request waited.

A watch is armed while its partition has the reactor's bit among its waiters. An advance takes the bit, posts the partition to the
reactor, which puts the watch on the list; then it is armed again before anybody reads the partition. So each advance after a
reading is heard of.

A request that the client sends after an advance must see it. When a partition is posted, the watches are put on the list at
once; and `watch_set_hear` takes over the partitions that are still in the mailbox.
"""
from libc.stdint cimport int64_t, uint64_t

from kafka_cy.base.atomics cimport atomic_load_seq_i64, atomic_or_u64
from kafka_cy.network.parked cimport ParkedState, Watch, parked_state, parked_watches
from kafka_cy.network.timer_wheel cimport TIMER_WATCH_SET, timer_cancel, timer_set
from kafka_cy.network.wakes cimport wakes_take_over


cdef void watch_set_hear(Reactor* reactor) noexcept nogil:
    wakes_take_over(<ReactorState*>reactor.private_state)


cdef void watch_set_init(WatchSet* watches, WatchSetDrop drop) noexcept nogil:
    watches.timer.slot = -1
    watches.timer.kind = TIMER_WATCH_SET
    watches.waiting = NULL
    watches.woken = NULL
    watches.drop = drop


cdef int watch_set_add(Reactor* reactor, WatchSet* watches, SetWatch* watch, Partition* partition) noexcept nogil:
    cdef Watch** first = parked_watches(<ReactorState*>reactor.private_state, partition)
    if first == NULL:
        return -1
    watch.set = watches
    watch.watch.partition = partition
    watch.watch.next = first[0]
    if first[0] != NULL:
        first[0].prev = &watch.watch
    first[0] = &watch.watch
    watch_set_arm(reactor, watch)
    return 0


cdef void watch_set_remove(Reactor* reactor, SetWatch* watch) noexcept nogil:
    if watch.watch.partition == NULL:
        return
    if watch.watch.prev != NULL:
        watch.watch.prev.next = watch.watch.next
    else:
        watch.watch.partition.parked[reactor.id] = watch.watch.next
    if watch.watch.next != NULL:
        watch.watch.next.prev = watch.watch.prev


cdef void watch_set_arm(Reactor* reactor, SetWatch* watch) noexcept nogil:
    cdef uint64_t bit = <uint64_t>1 << reactor.id
    watch.woken = False
    if not <uint64_t>atomic_load_seq_i64(<int64_t*>&watch.watch.partition.waiters) & bit:
        atomic_or_u64(&watch.watch.partition.waiters, bit)


cdef int watch_set_wait(Reactor* reactor, WatchSet* watches, Parked* parked) noexcept nogil:
    cdef ParkedState* state = parked_state(parked)
    if state == NULL:
        return -1
    state.watch_set = watches
    watches.waiting = state
    return 0


cdef void watch_set_rest(Reactor* reactor, WatchSet* watches, int64_t deadline_ns) noexcept nogil:
    cdef ReactorState* state = <ReactorState*>reactor.private_state
    timer_cancel(&state.wheel, &watches.timer)
    timer_set(&state.wheel, &watches.timer, deadline_ns)


cdef void watch_set_use(Reactor* reactor, WatchSet* watches) noexcept nogil:
    timer_cancel(&(<ReactorState*>reactor.private_state).wheel, &watches.timer)


cdef void watch_set_expire(ReactorState* reactor, Timer* timer) noexcept nogil:
    cdef WatchSet* watches = <WatchSet*>timer
    watches.drop(&reactor.shared, watches)


cdef void watch_set_drop_connection(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef WatchSet* watches = <WatchSet*>connection.standing
    if watches != NULL:
        watches.drop(&reactor.shared, watches)
