"""The Python-facing server over the reactors; see server.pyx."""
from kafka_cy.network.control_queue cimport ControlMessage
from kafka_cy.network.reactor_state cimport NetworkState


cdef class Server:
    cdef NetworkState* network
    cdef list sockets
    cdef bint started
    cdef bint stopped
    cdef object __weakref__

    cdef void post_back(self, ControlMessage* message)


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
    cdef readonly bytes body
    cdef readonly long long received_ns
