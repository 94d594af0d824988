"""ShareGroupHeartbeat (key 76), of a member that says nothing new in a group where nothing changes (see steady_heartbeat).

Always flexible.
"""
from libc.stdint cimport int16_t, int32_t

from kafka_cy.api.steady_heartbeat cimport (
    SteadyHeartbeat, steady_read_begin, steady_read_end, steady_response_begin, steady_response_send, steady_stamp,
)
from kafka_cy.network.dispatch cimport FORWARD, HANDLED, Reactor, Request
from kafka_cy.network.hot_handlers cimport hot_handler_authorizes, hot_handler_register
from kafka_cy.records.wire cimport Reader, Writer, read_array_length, read_string, write_int8

cdef enum:
    API_KEY = 76


cdef bint read_steady(Request* request, SteadyHeartbeat* heartbeat) noexcept nogil:
    """False: it is malformed, or says more than that the member is there."""
    cdef Reader r
    cdef int32_t ignored
    cdef bint silent
    if not steady_read_begin(request, API_KEY, heartbeat, &r):
        return False
    silent = read_string(&r, True, &ignored) == NULL                # rack
    silent = read_array_length(&r, True, 1) < 0 and silent          # topic names
    if not silent:
        return False
    return steady_read_end(&r)


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef SteadyHeartbeat heartbeat
    cdef Writer w
    if not read_steady(request, &heartbeat) or not steady_stamp(reactor, request, &heartbeat):
        return FORWARD
    steady_response_begin(request, &heartbeat, &w)
    write_int8(&w, -1)                  # assignment
    steady_response_send(reactor, request, &w)
    return HANDLED


def register(int16_t version_min, int16_t version_max) -> None:
    """Makes reactors respond to heartbeats that need no decision."""
    hot_handler_register(API_KEY, version_min, version_max, handle)
    hot_handler_authorizes(API_KEY)         # steady_stamp asks; who says nothing new names no topics
