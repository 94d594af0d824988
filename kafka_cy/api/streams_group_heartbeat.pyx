"""StreamsGroupHeartbeat (key 88), of a member that says nothing new in a group where nothing changes (see steady_heartbeat).

A member that does not know the group's endpoints of now is told them by the coordinator. Always flexible.
"""
from libc.stdint cimport int16_t, int32_t

from kafka_cy.api.steady_heartbeat cimport (
    SteadyHeartbeat, steady_read_begin, steady_read_end, steady_response_begin, steady_response_send, steady_stamp,
)
from kafka_cy.network.dispatch cimport FORWARD, HANDLED, Reactor, Request
from kafka_cy.network.hot_handlers cimport hot_handler_authorizes, hot_handler_register
from kafka_cy.records.wire cimport (
    Reader, Writer, read_array_length, read_int8, read_int32, read_string, write_array_length, write_int32,
)

cdef enum:
    API_KEY = 88
    NOT_SAID = -1
    TASK_LISTS = 3                  # active, standby and warm-up tasks


cdef bint read_steady(Request* request, SteadyHeartbeat* heartbeat) noexcept nogil:
    """False: it is malformed, or says more than that the member is there."""
    cdef Reader r
    cdef int32_t ignored
    cdef int _list
    cdef bint silent
    if not steady_read_begin(request, API_KEY, heartbeat, &r):
        return False
    heartbeat.endpoint_epoch = read_int32(&r)
    silent = read_string(&r, True, &ignored) == NULL                # instance id
    silent = read_string(&r, True, &ignored) == NULL and silent     # rack
    silent = read_int32(&r) == NOT_SAID and silent                  # rebalance timeout
    silent = read_int8(&r) < 0 and silent                           # topology
    for _list in range(TASK_LISTS):
        silent = silent and read_array_length(&r, True, 1) < 0
    silent = silent and read_string(&r, True, &ignored) == NULL     # process
    silent = silent and read_int8(&r) < 0                           # endpoint
    silent = silent and read_array_length(&r, True, 1) < 0          # client tags
    silent = silent and read_array_length(&r, True, 1) < 0          # offsets of tasks
    silent = silent and read_array_length(&r, True, 1) < 0          # end offsets of tasks
    silent = silent and read_int8(&r) == 0                          # shutdown of the application
    if not silent:
        return False
    return steady_read_end(&r)


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef SteadyHeartbeat heartbeat
    cdef Writer w
    cdef int _list
    if not read_steady(request, &heartbeat) or not steady_stamp(reactor, request, &heartbeat):
        return FORWARD
    steady_response_begin(request, &heartbeat, &w)
    write_int32(&w, 0)                  # acceptable recovery lag
    write_int32(&w, 0)                  # task offset interval
    write_array_length(&w, True, 0)     # statuses
    for _list in range(TASK_LISTS):
        write_array_length(&w, True, -1)
    write_int32(&w, heartbeat.endpoint_epoch)
    write_array_length(&w, True, -1)    # partitions by endpoint
    steady_response_send(reactor, request, &w)
    return HANDLED


def register(int16_t version_min, int16_t version_max) -> None:
    """Makes reactors respond to heartbeats that need no decision."""
    hot_handler_register(API_KEY, version_min, version_max, handle)
    hot_handler_authorizes(API_KEY)         # steady_stamp asks; who says nothing new has no topology
