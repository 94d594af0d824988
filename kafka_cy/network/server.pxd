"""The Python-facing server over the reactors; see server.pyx."""
from kafka_cy.network.control_queue cimport ControlMessage, ControlQueue
from kafka_cy.network.reactor_state cimport NetworkState
from kafka_cy.network.trace_events cimport Tracer


cdef class Server:
    cdef NetworkState* network
    cdef Tracer* tracer             # NULL: tracing is off; see trace_reader.pyx
    cdef list sockets
    cdef dict transports            # by listener index: keeps the listeners' Transports alive
    cdef int send_buffer_bytes      # -1: system default, which grows as needed
    cdef int receive_buffer_bytes
    cdef int backlog                # max connections waiting to be accepted
    cdef bint started
    cdef bint stopped
    cdef object __weakref__

    cdef void post_back(self, ControlMessage* message)
    cdef void free_tracer(self)
    cdef ControlQueue* queue_of(self, int queue) except NULL


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
