"""A request for the control plane, as Python sees it; see control_request.pyx."""
from kafka_cy.network.control_queue cimport ControlMessage
from kafka_cy.network.server cimport Server


cdef class ControlRequest:
    cdef ControlMessage* message    # NULL once answered
    cdef Server server
    cdef readonly int api_key
    cdef readonly int api_version
    cdef readonly int correlation_id
    cdef readonly object client_id
    cdef readonly str client_host
    cdef readonly int client_port
    cdef readonly int listener_index
    cdef readonly long long connection_id
    cdef readonly long long received_ns
    cdef readonly bint is_question


cdef ControlRequest request_of(Server server, ControlMessage* message)
