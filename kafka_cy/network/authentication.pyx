"""See authentication.pxd. All functions run on the connection's reactor, without the GIL."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64, atomic_sub_i64, counter_add
from kafka_cy.network.authorization cimport rights_free
from kafka_cy.network.connection cimport ClosedConnection, Connection
from kafka_cy.network.control_queue cimport AUTHENTICATION_QUEUE, ControlMessage, control_queue_closed
from kafka_cy.network.principal cimport principal_is, principal_ref, principal_unref
from kafka_cy.network.reactor_state cimport (
    API_VERSIONS_KEY, SASL_AUTHENTICATE_KEY, SASL_HANDSHAKE_KEY, Listener, NetworkState, ReactorState, connection_fail,
    connection_mark_dead, connection_refuse,
)
from kafka_cy.network.throttle cimport throttle_forget_client
from kafka_cy.network.timer_wheel cimport TIMER_AUTHENTICATION, Timer, timer_cancel, timer_set
from kafka_cy.records.wire cimport load_be16, load_be32

cdef enum:
    HEADER_BYTES_MIN = 8            # of a request: API key, version, correlation id
    SPARED_SHIFT = 5                # for 1/32 of its time a client is not closed for others
    LOOKED_AT_MAX = 1000            # to find one that can be: some microseconds


cdef void authentication_begin(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef NetworkState* network = reactor.network
    cdef Listener* listener = &network.listeners[connection.listener]
    cdef Authentication* made
    if not listener.token_bytes_max:
        return
    made = <Authentication*>calloc(1, sizeof(Authentication))
    if made != NULL:
        made.closed = <ClosedConnection*>calloc(1, sizeof(ClosedConnection))
    if made == NULL or made.closed == NULL:
        free(made)
        atomic_sub_i64(&network.unauthenticated, 1)
        connection_fail(reactor, connection, -1, "out of memory")
        return
    made.closed.id = connection.id
    made.closed.queue = AUTHENTICATION_QUEUE
    made.timer.slot = -1
    made.timer.kind = TIMER_AUTHENTICATION
    made.connection = connection
    made.state = AUTHENTICATION_FIRST
    made.guarded = True
    made.token_bytes_max = listener.token_bytes_max
    connection.authentication = made
    timer_set(&reactor.wheel, &made.timer, reactor.shared.now_ns + network.authentication_timeout_ns)
    list_last(reactor, made)


cdef void list_last(ReactorState* reactor, Authentication* authentication) noexcept nogil:
    authentication.listed_ns = reactor.shared.now_ns
    authentication.later = NULL
    authentication.earlier = <Authentication*>reactor.unauthenticated_last
    if authentication.earlier != NULL:
        authentication.earlier.later = authentication
    else:
        reactor.unauthenticated_first = authentication
    reactor.unauthenticated_last = authentication


cdef void unlist(ReactorState* reactor, Authentication* authentication) noexcept nogil:
    if authentication.earlier != NULL:
        authentication.earlier.later = authentication.later
    else:
        reactor.unauthenticated_first = authentication.later
    if authentication.later != NULL:
        authentication.later.earlier = authentication.earlier
    else:
        reactor.unauthenticated_last = authentication.earlier


cdef void authentication_awaits(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef Authentication* authentication = authentication_of(connection)
    if authentication == NULL or authentication.is_listed_no_more or authentication.waits:
        return
    authentication.waits = True
    authentication.left_ns = authentication.timer.deadline_ns - reactor.shared.now_ns
    timer_cancel(&reactor.wheel, &authentication.timer)


cdef void authentication_goes_on(ReactorState* reactor, Connection* connection, bint has_advanced) noexcept nogil:
    cdef Authentication* authentication = authentication_of(connection)
    if authentication == NULL or authentication.is_listed_no_more or not authentication.waits:
        return
    authentication.waits = False
    if has_advanced:
        unlist(reactor, authentication)
        list_last(reactor, authentication)
    timer_set(&reactor.wheel, &authentication.timer, reactor.shared.now_ns + authentication.left_ns)


cdef bint authentication_has_room(ReactorState* reactor, const Listener* listener) noexcept nogil:
    """Clients of other listeners cannot take the places of brokers, who have as many again."""
    cdef NetworkState* network = reactor.network
    cdef int64_t most = atomic_load_relaxed_i64(&network.unauthenticated_max)
    return atomic_load_relaxed_i64(&network.unauthenticated) < (2 * most if listener.is_protected else most)


cdef Authentication* closable(ReactorState* reactor) noexcept nogil:
    """Who lets the broker wait longest; NULL if nobody has for long enough.

    Who waits for the broker does not, nor who may just be answering: while there are more clients than the broker can serve, each
    would be closed for the next one, and none would be served.
    """
    cdef Authentication* authentication = <Authentication*>reactor.unauthenticated_first
    cdef int64_t before_ns = reactor.shared.now_ns - (reactor.network.authentication_timeout_ns >> SPARED_SHIFT)
    cdef int i
    for i in range(LOOKED_AT_MAX):  # no-cython-lint
        if authentication == NULL or authentication.listed_ns > before_ns:
            return NULL
        if not authentication.waits:
            return authentication
        authentication = authentication.later
    return NULL


cdef bint authentication_can_make_room(ReactorState* reactor) noexcept nogil:
    return closable(reactor) != NULL


cdef void authentication_make_room(ReactorState* reactor) noexcept nogil:
    """Otherwise clients that connect and say nothing, or a byte now and then, could keep all others out."""
    cdef Authentication* oldest = closable(reactor)
    if oldest == NULL:
        return
    counter_add(&reactor.counters.refused, 1)
    leave_unauthenticated(reactor, oldest)
    timer_cancel(&reactor.wheel, &oldest.timer)
    if not oldest.connection.dead:
        count_failure(reactor, oldest.connection)
    connection_fail(reactor, oldest.connection, -1, "closed: kafkacy.unauthenticated.connections.max is reached")


cdef void leave_unauthenticated(ReactorState* reactor, Authentication* authentication) noexcept nogil:
    """The connection has authenticated, or ends. A second call does nothing."""
    if authentication.is_listed_no_more:
        return
    authentication.is_listed_no_more = True
    atomic_sub_i64(&reactor.network.unauthenticated, 1)
    unlist(reactor, authentication)


cdef inline bint is_unauthenticated(const Authentication* authentication) noexcept nogil:
    return authentication.authenticated_ns == 0


cdef void authentication_free(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef Authentication* authentication = authentication_of(connection)
    if authentication != NULL:
        leave_unauthenticated(reactor, authentication)
        timer_cancel(&reactor.wheel, &authentication.timer)
        if authentication.was_asked:        # the authentication loop may have a conversation with it
            control_queue_closed(&reactor.network.controls[AUTHENTICATION_QUEUE], authentication.closed)
        else:
            free(authentication.closed)
        free(authentication)
        connection.authentication = NULL
    principal_unref(connection.principal)
    connection.principal = NULL


cdef void authentication_expired(ReactorState* reactor, Timer* timer) noexcept nogil:
    """The client has not authenticated in time."""
    cdef Connection* connection = (<Authentication*>timer).connection
    if connection.dead:
        return
    if authentication_of(connection).is_failure_counted:
        connection_mark_dead(reactor, connection)       # it does not read the responses before what was refused
        return
    count_failure(reactor, connection)
    connection_fail(reactor, connection, -1, "closed: it did not authenticate within kafkacy.authentication.timeout.ms")


cdef void count_failure(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Once: it ends the connection."""
    if authentication_of(connection).is_failure_counted:
        return
    authentication_of(connection).is_failure_counted = True
    if is_unauthenticated(authentication_of(connection)):
        counter_add(&reactor.counters.authentication_failed_by_listener[connection.listener], 1)
    else:
        counter_add(&reactor.counters.reauthentication_failed_by_listener[connection.listener], 1)


cdef int refuse(ReactorState* reactor, Connection* connection, int api_key, const char* message) noexcept nogil:
    if not connection.dead:
        count_failure(reactor, connection)
    connection_refuse(reactor, connection, api_key, message)
    return GUARD_FAILED


cdef int authentication_check(
    ReactorState* reactor, Connection* connection, const uint8_t* frame, size_t size
) noexcept nogil:
    cdef Authentication* authentication = authentication_of(connection)
    cdef int64_t length = <int32_t>load_be32(frame)
    cdef int16_t api_key
    authentication.step = STEP_NONE
    if authentication.state != AUTHENTICATION_OPEN:
        if authentication.state == AUTHENTICATION_FIRST and length > reactor.network.request_bytes_max:
            return GUARD_PASSES             # fails with its reason: HTTP, or TLS
        if length < 0 or length > authentication.token_bytes_max:
            return refuse(
                reactor, connection, -1, "a frame larger than sasl.server.max.receive.size before authentication")
        if authentication.state == AUTHENTICATION_RAW:
            return GUARD_RAW_TOKEN if <int64_t>(size - 4) >= length else GUARD_MORE
        if length < HEADER_BYTES_MIN:
            return GUARD_PASSES             # fails with its reason
    elif size < 8 or <int64_t>(size - 4) < length:
        return GUARD_PASSES                 # the length is checked as ever, and the request when it is whole
    if size < 8:
        return GUARD_MORE
    api_key = <int16_t>load_be16(frame + 4)
    if authentication.state == AUTHENTICATION_FIRST and api_key != API_VERSIONS_KEY and api_key != SASL_HANDSHAKE_KEY:
        return refuse(reactor, connection, api_key, "a request before authentication")  # not read any further
    if <int64_t>(size - 4) < length:
        return GUARD_MORE
    return check_request(reactor, connection, api_key, <int16_t>load_be16(frame + 6))


cdef int check_request(ReactorState* reactor, Connection* connection, int16_t api_key, int16_t version) noexcept nogil:
    cdef Authentication* authentication = authentication_of(connection)
    if authentication.state == AUTHENTICATION_FIRST:
        if api_key == API_VERSIONS_KEY:
            if authentication.api_versions_answered:
                return refuse(reactor, connection, api_key, "a second ApiVersions request before authentication")
            authentication.api_versions_answered = (
                version >= 0 and version <= reactor.network.apis[API_VERSIONS_KEY].version_max)
            return GUARD_PASSES
        authentication.step = STEP_REQUEST
        return GUARD_PASSES
    if authentication.state == AUTHENTICATION_TOKENS:
        authentication.step = STEP_REQUEST if api_key == SASL_AUTHENTICATE_KEY else STEP_ILLEGAL
        return GUARD_PASSES
    if api_key == SASL_HANDSHAKE_KEY:
        authentication.step = STEP_REQUEST
    elif reactor.shared.now_ns >= authentication.expires_ns:
        counter_add(&reactor.counters.expired_killed_by_listener[connection.listener], 1)
        connection_refuse(reactor, connection, api_key, "closed: its session has expired, and it did not authenticate again")
        return GUARD_FAILED
    return GUARD_PASSES


cdef void authentication_ask(Connection* connection, ControlMessage* message) noexcept nogil:
    cdef Authentication* authentication = authentication_of(connection)
    message.principal = principal_ref(connection.principal)
    if authentication == NULL or authentication.step == STEP_NONE:
        return
    message.authentication_step = authentication.step
    message.authentication_state = authentication.state
    message.authenticated_ns = authentication.authenticated_ns
    message.mechanism = authentication.mechanism
    authentication.step = STEP_NONE
    authentication.asked = True
    authentication.was_asked = True
    authentication_awaits(<ReactorState*>connection.reactor, connection)


cdef void authentication_not_asked(ReactorState* reactor, Connection* connection) noexcept nogil:
    if connection.authentication != NULL and authentication_of(connection).step != STEP_NONE and not connection.dead:
        authentication_awaits(reactor, connection)


cdef void authentication_answered(
    ReactorState* reactor, Connection* connection, ControlMessage* message
) noexcept nogil:
    cdef Authentication* authentication = authentication_of(connection)
    cdef int64_t now_ns = reactor.shared.now_ns
    if authentication == NULL or message.authentication_step == STEP_NONE:
        return
    authentication.asked = False
    authentication_goes_on(reactor, connection, True)
    authentication.state = message.authentication_state
    if authentication.state == AUTHENTICATION_FAILED or message.response == NULL:
        count_failure(reactor, connection)
    elif authentication.state == AUTHENTICATION_OPEN and message.authenticates:
        if is_unauthenticated(authentication):
            leave_unauthenticated(reactor, authentication)
            timer_cancel(&reactor.wheel, &authentication.timer)
            counter_add(&reactor.counters.authenticated_by_listener[connection.listener], 1)
        else:
            counter_add(&reactor.counters.reauthenticated_by_listener[connection.listener], 1)
        authentication.authenticated_ns = now_ns if now_ns > 0 else 1
        authentication.expires_ns = message.expires_ns
        authentication.mechanism = message.mechanism
        authentication.guarded = message.expires_ns != 0
        if not principal_is(connection.principal, message.new_principal):
            throttle_forget_client(connection)
        rights_free(connection)             # they borrow the name
        principal_unref(connection.principal)
        connection.principal = message.new_principal
        message.new_principal = NULL
