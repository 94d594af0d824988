"""The places of job queues, and the requests that are held back until there is one: first come, first served, in each lane.

Each lane has a list of the connections whose requests wait. A connection that meanwhile waits for something else, too, for example
for its client to read responses, is aside: it keeps its place in the list, but others need not wait for it. So that a walk over the
list stays short, few connections of a lane may be aside.
"""
from libc.stdint cimport int64_t, uint64_t

from kafka_cy.base.atomics cimport atomic_exchange_u64, atomic_load_relaxed_i64, atomic_or_u64, atomic_store_i64
from kafka_cy.base.bits cimport first_bit
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.network.connection cimport PAUSE_JOBS
from kafka_cy.network.job_queue cimport JOB_KINDS, JOB_LANES, Lane, lane_of, queues
from kafka_cy.network.mailbox cimport mailbox_ring
from kafka_cy.network.reactor_state cimport connection_mark_dirty
from kafka_cy.network.request cimport HELD_BACK
from kafka_cy.network.request_memory cimport retry_forget

cdef enum:
    AHEAD_MAX = 64          # of the connections that are held back, this many may take room at the same time, and be aside


cdef inline int64_t share_of(const ReactorState* reactor) noexcept nogil:
    """How many jobs of a lane may wait."""
    return max(reactor.network.queued_requests_max // JOB_LANES, 1)


cdef bint job_has_room(Reactor* reactor, Connection* connection, int kind) noexcept nogil:
    cdef int64_t share = share_of(<ReactorState*>reactor.private_state)
    cdef JobQueue* job_queue = &queues[kind]
    cdef Lane* lane = &job_queue.lanes[lane_of(connection)]
    cdef bint is_next
    if atomic_load_relaxed_i64(&lane.count) >= share:
        return False
    if not connection.held_back or connection.job_kind != kind:
        return atomic_load_relaxed_i64(&lane.held_back) == 0
    pthread_mutex_lock(&job_queue.mutex)
    is_next = is_among_first(lane, connection, share - lane.count)
    pthread_mutex_unlock(&job_queue.mutex)
    return is_next


cdef bint is_among_first(Lane* lane, Connection* connection, int64_t places) noexcept nogil:
    """Whether one of so many places is the connection's. Under the queue's mutex.

    The places belong to the first ones, whichever reactor looks first: one that is half way through its connections must not
    give a place that just became free to the next of them.
    """
    cdef Connection* each = lane.held_first
    cdef int64_t left = min(places, <int64_t>AHEAD_MAX)
    while each != NULL and left > 0:
        if each == connection:
            return True
        if not each.held_aside:
            left -= 1
        each = each.held_next
    return False


cdef void tell_of_room(JobQueue* job_queue, uint32_t number) noexcept nogil:
    """A place may be free: wake the reactors of those that may take it, so that it is not left free until they look by themselves.

    Under the queue's mutex. A connection leaves the lane before its reactor ends, so the reactor exists.
    """
    cdef Lane* lane = &job_queue.lanes[number]
    cdef Connection* each = lane.held_first
    cdef ReactorState* reactor
    cdef int64_t left
    if each == NULL:
        return
    left = min(share_of(<ReactorState*>each.reactor) - lane.count, <int64_t>AHEAD_MAX)
    while each != NULL and left > 0:
        if not each.held_aside:
            reactor = <ReactorState*>each.reactor
            atomic_or_u64(&reactor.job_room, <uint64_t>1 << number)
            mailbox_ring(&reactor.mailbox)
            left -= 1
        each = each.held_next


cdef int first_held_back(
    JobQueue* job_queue, uint32_t number, ReactorState* reactor, Connection** found
) noexcept nogil:
    """The reactor's own connections among those that may take a free place, in their order. Returns how many."""
    cdef Lane* lane = &job_queue.lanes[number]
    cdef Connection* each
    cdef int64_t left
    cdef int count = 0
    pthread_mutex_lock(&job_queue.mutex)
    each = lane.held_first
    left = min(share_of(reactor) - lane.count, <int64_t>AHEAD_MAX)
    while each != NULL and left > 0:
        if not each.held_aside:
            left -= 1
            if each.reactor == reactor:
                found[count] = each
                count += 1
        each = each.held_next
    pthread_mutex_unlock(&job_queue.mutex)
    return count


cdef void jobs_have_room(ReactorState* reactor) noexcept nogil:
    cdef Connection* found[AHEAD_MAX]
    cdef uint64_t lanes = atomic_exchange_u64(&reactor.job_room, 0)
    cdef uint32_t number
    cdef int kind, count
    while lanes:
        number = <uint32_t>first_bit(lanes)
        lanes &= lanes - 1
        for kind in range(<int>JOB_KINDS):
            if atomic_load_relaxed_i64(&queues[kind].lanes[number].held_back) == 0:
                continue
            count = first_held_back(&queues[kind], number, reactor, found)
            while count > 0:            # the one that is marked last is settled first
                count -= 1
                retry_forget(reactor, found[count])
                connection_mark_dirty(reactor, found[count])


cdef int job_hold_back(Connection* connection, int kind, bint awaited) noexcept nogil:
    if connection.held_back and connection.job_kind != kind:
        job_passed(connection)
    connection.job_kind = kind
    if not connection.held_back:
        link_held(&queues[kind], connection)
    connection.pauses |= PAUSE_JOBS
    connection.response_awaited = awaited
    return HELD_BACK


cdef void link_held(JobQueue* job_queue, Connection* connection) noexcept nogil:
    cdef uint32_t number = lane_of(connection)
    cdef Lane* lane = &job_queue.lanes[number]
    connection.held_back = True
    pthread_mutex_lock(&job_queue.mutex)
    connection.held_next = NULL
    connection.held_prev = lane.held_last
    if lane.held_last != NULL:
        lane.held_last.held_next = connection
    else:
        lane.held_first = connection
    lane.held_last = connection
    atomic_store_i64(&lane.held_back, lane.held_back + 1)
    tell_of_room(job_queue, number)     # it may have come since the request looked
    pthread_mutex_unlock(&job_queue.mutex)


cdef void unlink_held(JobQueue* job_queue, Connection* connection) noexcept nogil:
    """Under the queue's mutex."""
    cdef uint32_t number = lane_of(connection)
    cdef Lane* lane = &job_queue.lanes[number]
    if connection.held_prev != NULL:
        connection.held_prev.held_next = connection.held_next
    else:
        lane.held_first = connection.held_next
    if connection.held_next != NULL:
        connection.held_next.held_prev = connection.held_prev
    else:
        lane.held_last = connection.held_prev
    if connection.held_aside:
        lane.aside -= 1
    else:
        atomic_store_i64(&lane.held_back, lane.held_back - 1)
    connection.held_aside = False
    connection.held_back = False
    tell_of_room(job_queue, number)     # a place that it does not take


cdef void job_passed(Connection* connection) noexcept nogil:
    cdef JobQueue* job_queue = &queues[connection.job_kind]
    pthread_mutex_lock(&job_queue.mutex)
    unlink_held(job_queue, connection)
    pthread_mutex_unlock(&job_queue.mutex)


cdef void job_set_aside(Connection* connection, bint aside) noexcept nogil:
    cdef JobQueue* job_queue = &queues[connection.job_kind]
    cdef uint32_t number = lane_of(connection)
    cdef Lane* lane = &job_queue.lanes[number]
    if not connection.held_back:
        if not aside:
            link_held(job_queue, connection)
        return
    if connection.held_aside == aside:
        return
    pthread_mutex_lock(&job_queue.mutex)
    if aside and lane.aside >= AHEAD_MAX:
        unlink_held(job_queue, connection)
    else:
        connection.held_aside = aside
        lane.aside += 1 if aside else -1
        atomic_store_i64(&lane.held_back, lane.held_back + (-1 if aside else 1))
        tell_of_room(job_queue, number)
    pthread_mutex_unlock(&job_queue.mutex)
