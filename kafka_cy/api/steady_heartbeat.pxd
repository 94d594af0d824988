"""A heartbeat of a newer kind of group (KIP-848, KIP-932, KIP-1071) that needs no decision; behaviour in steady_heartbeat.pyx."""
from libc.stdint cimport int32_t

from kafka_cy.coordinator.heartbeat_table cimport Said
from kafka_cy.network.dispatch cimport Reactor, Request
from kafka_cy.records.wire cimport Reader, Writer

# One request. Owner: one handler call, on its stack; borrows the request's body.
cdef struct SteadyHeartbeat:
    int32_t api_key
    const char* group
    int32_t group_size
    const char* member
    int32_t member_size
    int32_t epoch
    int32_t endpoint_epoch          # of a streams group, as the member knows it
    Said said
    int32_t interval_ms             # what the member is told

# Read what all kinds of groups begin with: group, member, epoch. The handler reads the rest. False: the request is too long for a
# reactor.
cdef bint steady_read_begin(Request* request, int32_t api_key, SteadyHeartbeat* heartbeat, Reader* r) noexcept nogil
# The end of the request. False: it is malformed.
cdef bint steady_read_end(Reader* r) noexcept nogil
# Whether the heartbeat needs no decision: the member was heard of then, and `interval_ms` is set.
cdef bint steady_stamp(Reactor* reactor, Request* request, SteadyHeartbeat* heartbeat) noexcept nogil
# The response up to the heartbeat interval, which is the same for all kinds of groups. The handler writes the rest.
cdef void steady_response_begin(Request* request, const SteadyHeartbeat* heartbeat, Writer* w) noexcept nogil
# Ends the response and sends it.
cdef void steady_response_send(Reactor* reactor, Request* request, Writer* w) noexcept nogil
