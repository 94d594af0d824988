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
    cdef list closed                # by control queue: ids of closed connections that were not taken yet
    cdef bint started
    cdef bint stopped
    cdef object __weakref__

    cdef void post_back(self, ControlMessage* message)
    cdef void free_tracer(self)
    cdef ControlQueue* queue_of(self, int queue) except NULL
