"""Heartbeats of the newer kinds of groups (KIP-848, KIP-932, KIP-1071) that need no decision.

The coordinator opens the door of a group where nothing changes (coordinator/open_groups) with the epoch of its settled members,
and puts these into the heartbeat table. Every other heartbeat is forwarded: one that says something new, an epoch that is not the
group's, a member that is not settled, a group that the ACLs do not
allow. One module for each API reads its requests and ends its responses.
"""
from libc.stdint cimport int32_t
from libc.string cimport memset, strlen

from kafka_cy.api.error_codes cimport ERROR_NONE
from kafka_cy.base.posix cimport pthread_mutex_unlock
from kafka_cy.coordinator.heartbeat_table cimport modern_heartbeat_stamp
from kafka_cy.coordinator.open_groups cimport Door, Gate, door_is_steady, gate_lock
from kafka_cy.network.authorization cimport request_allows_group
from kafka_cy.network.connection cimport connection_host
from kafka_cy.network.dispatch cimport (
    Reactor, Request, request_error, response_begin, response_send, response_throttle_time,
)
from kafka_cy.records.wire cimport (
    Reader, Writer, read_int32, read_string, reader_init, skip_tagged_fields, write_int16, write_int32, write_no_tags, write_string,
)

cdef enum:
    HOST_BYTES_MAX = 64
    REQUEST_BYTES_MAX = 65536       # a longer request is the coordinator's


cdef bint steady_read_begin(Request* request, int32_t api_key, SteadyHeartbeat* heartbeat, Reader* r) noexcept nogil:
    if request.body_size > REQUEST_BYTES_MAX:
        return False
    memset(heartbeat, 0, sizeof(SteadyHeartbeat))
    heartbeat.api_key = api_key
    heartbeat.said.instance_size = -1
    heartbeat.said.regex_size = -1
    reader_init(r, request.body, request.body_size)
    heartbeat.group = read_string(r, True, &heartbeat.group_size)
    heartbeat.member = read_string(r, True, &heartbeat.member_size)
    heartbeat.epoch = read_int32(r)
    return True


cdef bint steady_read_end(Reader* r) noexcept nogil:
    skip_tagged_fields(r)
    return not r.error and r.position == r.end


cdef bint steady_stamp(Reactor* reactor, Request* request, SteadyHeartbeat* heartbeat) noexcept nogil:
    cdef char[HOST_BYTES_MAX] host
    cdef Door* door = NULL
    cdef Gate* gate
    cdef bint stamped = False
    if request.connection.at_control > 0 or heartbeat.group_size <= 0 or heartbeat.member_size <= 0:
        return False                    # a connection's heartbeats stay in their order
    if not request_allows_group(reactor, request, heartbeat.group, heartbeat.group_size):
        return False
    connection_host(request.connection, host, HOST_BYTES_MAX)
    heartbeat.said.host = host
    heartbeat.said.host_size = <int32_t>strlen(host)
    heartbeat.said.client = request.client_id
    heartbeat.said.client_size = max(request.client_id_size, 0)
    gate = gate_lock(heartbeat.group, heartbeat.group_size, &door)
    if gate == NULL:
        return False
    if door != NULL and door_is_steady(door, heartbeat.api_key, heartbeat.epoch, heartbeat.endpoint_epoch, reactor.now_ns):
        heartbeat.interval_ms = door.heartbeat_interval_ms
        stamped = modern_heartbeat_stamp(
            heartbeat.group, heartbeat.group_size, heartbeat.member, heartbeat.member_size, heartbeat.epoch, &heartbeat.said,
            reactor.now_ns
        )
    pthread_mutex_unlock(&gate.gate_mutex)
    return stamped


cdef void steady_response_begin(Request* request, const SteadyHeartbeat* heartbeat, Writer* w) noexcept nogil:
    response_begin(request, w)
    response_throttle_time(request, w)
    write_int16(w, ERROR_NONE)
    write_string(w, True, NULL, -1)     # error message
    write_string(w, True, heartbeat.member, heartbeat.member_size)
    write_int32(w, heartbeat.epoch)
    write_int32(w, heartbeat.interval_ms)


cdef void steady_response_send(Reactor* reactor, Request* request, Writer* w) noexcept nogil:
    write_no_tags(w, True)
    request_error(request, ERROR_NONE, 1)
    response_send(reactor, request, w)
