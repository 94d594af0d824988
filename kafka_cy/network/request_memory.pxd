"""Memory that connections may make the broker hold: requests being received, requests that wait, and responses not read.

Limits: queued_request_bytes_max plus one frame for requests, queued_response_bytes_max plus one response for responses.
Parked requests may use half of the request budget. A Produce that has to wait was appended already, so it parks in any case.
While parked requests use a quarter of the budget, its connection handles no further request: one Produce of each connection
may exceed the half.
A request of up to KEPT_FREE_BYTES needs no budget, so a modest client is served no matter how much the others hold. The
same applies to what a connection has parked.
"""
from libc.stdint cimport int64_t

from kafka_cy.network.connection cimport Connection
from kafka_cy.network.reactor_state cimport ReactorState

cdef enum:
    RESPONSES_SMALL_BYTES = 65536   # a connection whose responses hold less is not limited
    KEPT_FREE_BYTES = 4096          # bytes kept per connection that are not counted; as many again of parked requests
    STALLED_CHECK_NS = 1000000000   # how often stalled connections are searched for while memory is held

# Raises the connection's reservation to `size` if the budget allows it; False: it must wait.
cdef bint memory_admit(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil
# Counts memory already held: raises the reservation to `size` regardless of the budget.
cdef void memory_hold(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil
# Lowers the reservation to `size`.
cdef void memory_release(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil
# Returns how many bytes one receive may take: few while the budget is exhausted.
cdef size_t memory_receive_bytes(ReactorState* reactor, size_t wanted) noexcept nogil
# Adds the connection to the reactor's retry list, unless it is there.
cdef void retry_later(ReactorState* reactor, Connection* connection) noexcept nogil
# The same, and the next turn comes at once.
cdef void retry_next_turn(ReactorState* reactor, Connection* connection) noexcept nogil
# Removes the connection from the retry list, if it is there; O(1).
cdef void retry_forget(ReactorState* reactor, Connection* connection) noexcept nogil
# Takes some connections from the retry list and marks them dirty, in the order that is explained there.
cdef void retry_some(ReactorState* reactor) noexcept nogil
# Reserves memory for a parked request. False: the parked requests' share of the budget is used up, and nothing changed.
cdef bint memory_park(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil
# Counts memory that a parked request holds in any case.
cdef void memory_park_anyway(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil
# The reverse of memory_park_anyway, and of a successful memory_park.
cdef void memory_unpark(ReactorState* reactor, Connection* connection, int64_t size) noexcept nogil
# Whether parked requests use more than half of their share.
cdef bint parked_crowded(ReactorState* reactor) noexcept nogil
# The same, and some of it is for this connection.
cdef bint parked_crowded_by(ReactorState* reactor, Connection* connection) noexcept nogil
# Whether connections hold memory by not sending or not reading; then `close_stalled` is due once a second.
cdef bint memory_held(ReactorState* reactor) noexcept nogil
# While a budget is exhausted or a request waits for memory: closes connections that hold memory and neither send nor read.
cdef void close_stalled(ReactorState* reactor) noexcept nogil
# Updates the broker-wide budget by what the connection's queue holds (after a flush usually nothing: no atomics then).
cdef void responses_share(ReactorState* reactor, Connection* connection) noexcept nogil
# Whether a response that its socket did not accept exceeds the limit for all responses.
cdef bint responses_exceeded(ReactorState* reactor, Connection* connection) noexcept nogil
