"""SASL on a connection: which requests it may send before it has authenticated, and when its session ends.

The reactor keeps the order (SaslServerAuthenticator): ApiVersions once, SaslHandshake, tokens, and then everything. Handshakes
and tokens go to the authentication loop (server/authenticator), one at a time: what the client sends after one waits for its
response. Nothing else is parsed before that.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.network.connection cimport ClosedConnection, Connection
from kafka_cy.network.control_queue cimport ControlMessage
from kafka_cy.network.principal cimport Principal
from kafka_cy.network.reactor_state cimport Listener, ReactorState
from kafka_cy.network.timer_wheel cimport Timer

cdef enum AuthenticationState:
    AUTHENTICATION_FIRST = 1        # ApiVersions or SaslHandshake
    AUTHENTICATION_TOKENS = 2       # SaslAuthenticate
    AUTHENTICATION_RAW = 3          # bare tokens, each after its length (SaslHandshake version 0)
    AUTHENTICATION_OPEN = 4         # every request
    AUTHENTICATION_FAILED = 5       # the response is the last one

cdef enum AuthenticationStep:       # what the authentication loop is asked
    STEP_NONE = 0                   # nothing: the request is not about authentication
    STEP_REQUEST = 1                # SaslHandshake or SaslAuthenticate
    STEP_RAW_TOKEN = 2
    STEP_ILLEGAL = 3                # another request in the place of SaslAuthenticate: its own response, with ILLEGAL_SASL_STATE

cdef enum Guarded:
    GUARD_PASSES = 0                # handle the frame as any other
    GUARD_MORE = 1                  # the frame is not whole
    GUARD_RAW_TOKEN = 2
    GUARD_FAILED = 3                # the connection was refused

# Purpose: the authentication of one connection. Owner: the connection's reactor; no locks.
# Lifetime: from registration on a listener with SASL until the connection is destroyed.
# Limits: token_bytes_max for a frame, timeout_ns for all that the client does, one request at the authentication loop.
cdef struct Authentication:
    Timer timer                     # first field; armed until the connection is open, while the client lets the broker wait
    Connection* connection
    int32_t state                   # AuthenticationState
    int32_t step                    # AuthenticationStep of the frame that is dispatched
    bint guarded                    # frames are checked: not open, or the session expires
    bint asked                      # the authentication loop has a step of it
    bint was_asked                  # it has had one
    ClosedConnection* closed        # tells it that the connection has closed
    Authentication* earlier         # those of this reactor that have not authenticated; whose last advance is longest ago is first
    Authentication* later
    int64_t listed_ns               # when it advanced last: connected, had a step of TLS answered, or a token
    bint waits                      # for the broker: it is not closed for others, and its timer is not armed
    int64_t left_ns                 # of its time, meanwhile
    bint is_listed_no_more
    bint is_failure_counted         # a connection that is refused stays until its earlier responses have left
    bint api_versions_answered
    int64_t token_bytes_max
    int64_t authenticated_ns        # 0: never
    int64_t expires_ns              # of the session (KIP-368); 0: never
    int32_t mechanism               # with which it has authenticated; the loop's number

cdef void authentication_begin(ReactorState* reactor, Connection* connection) noexcept nogil
# The broker has something to do for the client now, or would if it had the time (`authentication_awaits`), or no longer. Meanwhile
# its time does not pass, and it is not closed for others. Without effect for who has authenticated. `has_advanced`: a part of a
# message is no advance.
cdef void authentication_awaits(ReactorState* reactor, Connection* connection) noexcept nogil
cdef void authentication_goes_on(ReactorState* reactor, Connection* connection, bint has_advanced) noexcept nogil
# Whether there may be another connection of the listener that has not authenticated.
cdef bint authentication_has_room(ReactorState* reactor, const Listener* listener) noexcept nogil
# Whether one of this reactor can be closed for another: it has had enough time.
cdef bint authentication_can_make_room(ReactorState* reactor) noexcept nogil
cdef void authentication_make_room(ReactorState* reactor) noexcept nogil        # close it
cdef void authentication_free(ReactorState* reactor, Connection* connection) noexcept nogil
cdef void authentication_expired(ReactorState* reactor, Timer* timer) noexcept nogil
# The frame was not taken: there is no room for it.
cdef void authentication_not_asked(ReactorState* reactor, Connection* connection) noexcept nogil
# What to do with the frame that begins at `frame`; at least its length is there.
cdef int authentication_check(ReactorState* reactor, Connection* connection, const uint8_t* frame, size_t size) noexcept nogil
# Notes in a message for the authentication loop what it asks.
cdef void authentication_ask(Connection* connection, ControlMessage* message) noexcept nogil
# The authentication loop has answered: takes over the new state and the principal.
cdef void authentication_answered(ReactorState* reactor, Connection* connection, ControlMessage* message) noexcept nogil


cdef inline Authentication* authentication_of(Connection* connection) noexcept nogil:
    return <Authentication*>connection.authentication


cdef inline bint authentication_guards(Connection* connection) noexcept nogil:
    """Whether frames of the connection are checked before they are handled."""
    return connection.authentication != NULL and (<Authentication*>connection.authentication).guarded


cdef inline bint authentication_waits(Connection* connection) noexcept nogil:
    """Whether the connection's next frame waits for the authentication loop."""
    return connection.authentication != NULL and (<Authentication*>connection.authentication).asked


cdef inline void authentication_repeat_api_versions(Connection* connection) noexcept nogil:
    """The ApiVersions request was refused: the client may send another one."""
    if connection.authentication != NULL:
        (<Authentication*>connection.authentication).api_versions_answered = False
