"""Heartbeat (key 12), of a member whose heartbeat needs no decision.

The coordinator keeps a C table of members of stable groups (coordinator/heartbeat_table). A heartbeat of the right
generation is stamped there and gets a response without an error. Every other one (unknown member, old generation,
rebalance in progress, fenced instance) is forwarded to the coordinator, which knows the right error. So is one that the ACLs deny.

- v1: throttle time. v3: group instance id (KIP-345). v4: flexible.
"""
from libc.stdint cimport int16_t, int32_t

from kafka_cy.api.error_codes cimport ERROR_NONE
from kafka_cy.coordinator.heartbeat_table cimport heartbeat_stamp
from kafka_cy.network.authorization cimport request_allows_group
from kafka_cy.network.dispatch cimport (
    CLOSE, FORWARD, HANDLED, Reactor, Request, request_error, response_begin, response_send,
    response_throttle_time,
)
from kafka_cy.network.hot_handlers cimport hot_handler_authorizes, hot_handler_register
from kafka_cy.network.request cimport RESPONSE_BYTES_MAX
from kafka_cy.records.wire cimport (
    Reader, Writer, read_int32, read_string, reader_init, skip_tagged_fields, write_int16,
    write_no_tags, writer_init,
)

cdef enum:
    API_KEY = 12


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef Reader r
    cdef Writer w
    cdef int16_t version = request.api_version
    cdef bint flexible = version >= 4
    cdef int32_t group_size = 0
    cdef int32_t member_size = 0
    cdef int32_t instance_size = -1
    cdef int32_t generation
    cdef const char* group
    cdef const char* member
    cdef const char* instance = NULL
    reader_init(&r, request.body, request.body_size)
    group = read_string(&r, flexible, &group_size)
    generation = read_int32(&r)
    member = read_string(&r, flexible, &member_size)
    if version >= 3:
        instance = read_string(&r, flexible, &instance_size)
    if flexible:
        skip_tagged_fields(&r)
    if r.error or group == NULL or member == NULL:
        request.close_reason = b"Heartbeat request that does not parse"
        return CLOSE
    if not request_allows_group(reactor, request, group, group_size) or not heartbeat_stamp(
        group, group_size, member, member_size, generation, instance, instance_size, reactor.now_ns
    ):
        return FORWARD
    writer_init(&w, RESPONSE_BYTES_MAX)
    response_begin(request, &w)
    if version >= 1:
        response_throttle_time(request, &w)
    write_int16(&w, ERROR_NONE)
    write_no_tags(&w, flexible)
    request_error(request, ERROR_NONE, 1)
    response_send(reactor, request, &w)
    return HANDLED


def register(int16_t version_min, int16_t version_max) -> None:
    """Makes reactors respond to heartbeats that need no decision."""
    hot_handler_register(API_KEY, version_min, version_max, handle)
    hot_handler_authorizes(API_KEY)
