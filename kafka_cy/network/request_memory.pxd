"""What connections may make the broker hold: requests that are being received, responses that are not read.

Limits: queued_request_bytes_max and one frame for requests, queued_response_bytes_max and one response for responses.
A request of up to KEPT_FREE_BYTES needs no budget, so a quiet client is served however much the others hold.
"""
from libc.stdint cimport int64_t

from kafka_cy.network.connection cimport Connection
from kafka_cy.network.reactor_state cimport ReactorState

cdef enum:
    RESPONSES_SMALL_BYTES = 65536   # a connection whose responses hold less is left alone
    KEPT_FREE_BYTES = 4096          # kept of a connection without being counted
    STALLED_CHECK_NS = 1000000000   # how often stalled connections are looked for while something is held

# Raise what the connection has reserved to `size` if the budget allows it; False: it must wait.
cdef bint memory_admit(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil
# Count what is held already: raise the reservation to `size` whatever the budget says.
cdef void memory_hold(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil
# Lower the reservation to `size`.
cdef void memory_release(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil
# How many bytes one receive may take: little while the budget is used up.
cdef size_t memory_receive_bytes(ReactorState* reactor, size_t wanted) noexcept nogil
# The connection waits for the budget or for room in a control queue; it is tried again every few milliseconds.
cdef void memory_wait(ReactorState* reactor, Connection* connection) noexcept nogil
cdef void memory_unlink(ReactorState* reactor, Connection* connection) noexcept nogil
# Mark some of the connections that wait as dirty, the longest waiting first.
cdef void memory_retry(ReactorState* reactor) noexcept nogil
# Whether anything is held, so that `close_stalled` is due once a second.
cdef bint memory_held(ReactorState* reactor) noexcept nogil
# While a budget is used up: close connections that hold memory and neither send nor read.
cdef void close_stalled(ReactorState* reactor) noexcept nogil
# Tell the broker-wide budget what the connection's queue holds (after a flush mostly nothing: no atomics then).
cdef void responses_share(ReactorState* reactor, Connection* connection) noexcept nogil
# Whether a response that its socket did not take exceeds the limit of all responses.
cdef bint responses_exceeded(ReactorState* reactor, Connection* connection) noexcept nogil
