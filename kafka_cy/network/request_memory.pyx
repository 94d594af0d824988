"""Budgets for request and response memory; see request_memory.pxd.

All functions run on the connection's reactor, without the GIL, and take no locks. The sums are atomics shared by all
reactors.

As in Kafka's memory pool, a frame is admitted while any of the budget is left. Frames above LARGE_REQUEST_BYTES may use
only three quarters of the budget together, so they cannot block smaller ones. A single frame may exceed that while the
others use no more than a quarter, apart from requests that wait, so that it is never starved. A client that announces a
frame and does not send it is closed while others wait for memory, and so is a client that does not read its responses.
"""
from libc.stdint cimport int64_t

from kafka_cy.base.atomics cimport atomic_add_i64, atomic_load_relaxed_i64, atomic_store_i64, atomic_sub_i64
from kafka_cy.network.connection cimport PAUSE_TURN, Connection
from kafka_cy.network.reactor_state cimport NetworkState, ReactorState, connection_fail, connection_mark_dirty

cdef enum:
    LARGE_REQUEST_BYTES = 1048576
    SHORT_RECEIVE_BYTES = 4096          # per receive while the budget is exhausted
    RETRIES_PER_TURN_MAX = 256
    STALLED_MS = 5000                   # without progress
    STALLED_REQUEST_MS = 30000          # for a whole request
    PROGRESS_BYTES = 16384              # less than this does not count as progress
    REFUSED_RECENTLY_NS = 2000000000    # a frame that waits for memory asks again within this time


cdef bint memory_admit(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil:
    cdef NetworkState* network = reactor.network
    cdef int64_t limit = network.queued_request_bytes_max
    cdef int64_t more = size - connection.reserved
    cdef int64_t before
    cdef bint fits
    if more <= 0:
        return True
    before = atomic_add_i64(&network.queued_request_bytes, more) - more
    if size > LARGE_REQUEST_BYTES:
        fits = before + more <= limit - (limit >> 2) or (
            before - atomic_load_relaxed_i64(&network.parked_bytes) <= limit >> 2
        )
    else:
        fits = before < limit
    if not fits:
        atomic_sub_i64(&network.queued_request_bytes, more)
        atomic_store_i64(&network.request_refused_ns, reactor.shared.now_ns)
        return False
    connection.reserved = size
    connection.reserved_ns = reactor.shared.now_ns
    return True


cdef void memory_hold(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil:
    if size > connection.reserved:
        atomic_add_i64(&reactor.network.queued_request_bytes, size - connection.reserved)
        connection.reserved = size
        connection.reserved_ns = reactor.shared.now_ns


cdef void memory_release(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil:
    if size < connection.reserved:
        atomic_sub_i64(&reactor.network.queued_request_bytes, connection.reserved - size)
        connection.reserved = size


cdef size_t memory_receive_bytes(ReactorState* reactor, size_t wanted) noexcept nogil:
    cdef NetworkState* network = reactor.network
    if atomic_load_relaxed_i64(&network.queued_request_bytes) < network.queued_request_bytes_max:
        return wanted
    return wanted if wanted < SHORT_RECEIVE_BYTES else SHORT_RECEIVE_BYTES


# -- parked requests --

cdef inline int64_t counted(int64_t parked_bytes) noexcept nogil:
    """The part of a connection's parked bytes that is taken from the budget."""
    return parked_bytes - KEPT_FREE_BYTES if parked_bytes > KEPT_FREE_BYTES else 0


cdef bint memory_park(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil:
    cdef NetworkState* network = reactor.network
    cdef int64_t more = counted(connection.parked_bytes + size) - counted(connection.parked_bytes)
    if more > 0:
        if atomic_add_i64(&network.parked_bytes, more) > network.queued_request_bytes_max >> 1:
            atomic_sub_i64(&network.parked_bytes, more)
            return False
        atomic_add_i64(&network.queued_request_bytes, more)
    connection.parked_bytes += size
    return True


cdef void memory_park_anyway(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil:
    cdef int64_t more = counted(connection.parked_bytes + size) - counted(connection.parked_bytes)
    connection.parked_bytes += size
    if more > 0:
        atomic_add_i64(&reactor.network.parked_bytes, more)
        atomic_add_i64(&reactor.network.queued_request_bytes, more)


cdef void memory_unpark(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil:
    cdef int64_t less = counted(connection.parked_bytes) - counted(connection.parked_bytes - size)
    connection.parked_bytes -= size
    if less > 0:
        atomic_sub_i64(&reactor.network.queued_request_bytes, less)
        atomic_sub_i64(&reactor.network.parked_bytes, less)


cdef bint parked_crowded(ReactorState* reactor) noexcept nogil:
    return atomic_load_relaxed_i64(&reactor.network.parked_bytes) > reactor.network.queued_request_bytes_max >> 2


cdef bint parked_crowded_by(ReactorState* reactor, Connection* connection) noexcept nogil:
    return connection.parked_bytes > KEPT_FREE_BYTES and parked_crowded(reactor)


# -- the retry list --

cdef void retry_later(ReactorState* reactor, Connection* connection) noexcept nogil:
    if connection.waits_for_retry:
        return
    connection.waits_for_retry = True
    connection.retry_next = NULL
    connection.retry_prev = reactor.retry_last
    if reactor.retry_last != NULL:
        reactor.retry_last.retry_next = connection
    else:
        reactor.retry_first = connection
    reactor.retry_last = connection


cdef void retry_next_turn(ReactorState* reactor, Connection* connection) noexcept nogil:
    retry_later(reactor, connection)
    if not connection.waits_for_turn:
        connection.waits_for_turn = True
        reactor.retry_now += 1


cdef void retry_forget(ReactorState* reactor, Connection* connection) noexcept nogil:
    if not connection.waits_for_retry:
        return
    if connection.retry_prev != NULL:
        connection.retry_prev.retry_next = connection.retry_next
    else:
        reactor.retry_first = connection.retry_next
    if connection.retry_next != NULL:
        connection.retry_next.retry_prev = connection.retry_prev
    else:
        reactor.retry_last = connection.retry_prev
    connection.waits_for_retry = False
    if connection.waits_for_turn:
        connection.waits_for_turn = False
        reactor.retry_now -= 1


cdef inline bint in_order(Connection* connection) noexcept nogil:
    return connection.held_back or connection.pauses & PAUSE_TURN != 0


cdef void retry_some(ReactorState* reactor) noexcept nogil:
    cdef Connection* retried[RETRIES_PER_TURN_MAX]
    cdef int count = 0
    cdef int i
    while count < RETRIES_PER_TURN_MAX and reactor.retry_first != NULL:
        retried[count] = reactor.retry_first
        retry_forget(reactor, retried[count])
        count += 1
    # The one that is marked last is settled first: those that wait for a job queue or for this turn in their order, then the
    # others, the newest first. A client that started a large request and does not send it holds memory until it is closed as
    # stalled, so behind many of them the next in order would wait for minutes.
    for i in range(count):
        if not in_order(retried[i]):
            connection_mark_dirty(reactor, retried[i])
    for i in range(count - 1, -1, -1):
        if in_order(retried[i]):
            connection_mark_dirty(reactor, retried[i])


# -- stalled connections --

cdef bint memory_held(ReactorState* reactor) noexcept nogil:
    cdef NetworkState* network = reactor.network
    cdef int64_t requests = atomic_load_relaxed_i64(&network.queued_request_bytes)
    return (
        requests > atomic_load_relaxed_i64(&network.parked_bytes)
        or atomic_load_relaxed_i64(&network.queued_response_bytes) > 0
    )


cdef bint request_stalls(Connection* connection, int64_t now_ns) noexcept nogil:
    """Whether the client has started a request and does not send the rest."""
    cdef int64_t have = <int64_t>(connection.end - connection.start)
    if connection.data == NULL or not connection.reserved or connection.pauses:
        connection.request_checked_ns = now_ns
        connection.request_checked_bytes = 0
        return False
    if have < connection.request_checked_bytes or have >= connection.request_checked_bytes + PROGRESS_BYTES:
        connection.request_checked_ns = now_ns
        connection.request_checked_bytes = have
    return (
        now_ns - max(connection.request_checked_ns, connection.reserved_ns) >= <int64_t>STALLED_MS * 1000000
        or now_ns - connection.reserved_ns >= <int64_t>STALLED_REQUEST_MS * 1000000
    )


cdef bint responses_stall(Connection* connection, int64_t now_ns) noexcept nogil:
    """Whether the client does not read its responses, in memory or in files."""
    cdef bint reads = connection.sent_bytes >= connection.responses_checked_bytes + PROGRESS_BYTES
    cdef bint is_small = connection.queued_bytes <= RESPONSES_SMALL_BYTES and not connection.reserved
    if reads or is_small or not connection.send_blocked:
        connection.responses_checked_ns = now_ns
        connection.responses_checked_bytes = connection.sent_bytes
        return False
    return now_ns - connection.responses_checked_ns >= <int64_t>STALLED_MS * 1000000


cdef void close_stalled(ReactorState* reactor) noexcept nogil:
    cdef NetworkState* network = reactor.network
    cdef int64_t now_ns = reactor.shared.now_ns
    cdef int64_t limit = network.queued_request_bytes_max - (network.queued_request_bytes_max >> 2)
    cdef bint requests_short = (
        atomic_load_relaxed_i64(&network.queued_request_bytes) >= limit
        or now_ns - atomic_load_relaxed_i64(&network.request_refused_ns) < <int64_t>REFUSED_RECENTLY_NS
    )
    cdef bint responses_short = (
        atomic_load_relaxed_i64(&network.queued_response_bytes) >= network.queued_response_bytes_max >> 1
    )
    cdef Connection* connection = reactor.idle_first
    while connection != NULL:
        if request_stalls(connection, now_ns) and requests_short:
            connection_fail(
                reactor, connection, -1, "closed: its request arrives too slowly while the memory for requests is exhausted"
            )
        elif responses_stall(connection, now_ns):
            if responses_short:
                connection_fail(
                    reactor, connection, -1, "closed: its responses are not read while the memory for responses is exhausted"
                )
            elif requests_short and connection.reserved:    # what it sends meanwhile is kept
                connection_fail(
                    reactor, connection, -1, "closed: its responses are not read while the memory for requests is exhausted"
                )
        connection = connection.next


cdef void responses_share(ReactorState* reactor, Connection* connection) noexcept nogil:
    if connection.queued_bytes != connection.queued_shared:
        atomic_add_i64(&reactor.network.queued_response_bytes, connection.queued_bytes - connection.queued_shared)
        connection.queued_shared = connection.queued_bytes


cdef bint responses_exceeded(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef NetworkState* network = reactor.network
    cdef int64_t total
    if connection.queued_bytes <= RESPONSES_SMALL_BYTES:
        return False
    total = atomic_load_relaxed_i64(&network.queued_response_bytes)
    # A response larger than the limit may be sent if the others hold little.
    return (
        total > network.queued_response_bytes_max
        and total - connection.queued_bytes >= network.queued_response_bytes_max >> 1
    )
