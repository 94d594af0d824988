"""Reading frames from a socket; see receive.pyx."""
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.reactor_state cimport ReactorState

cdef enum:
    RECEIVE_BYTES = 131072      # the reactor's shared receive buffer

cdef void connection_receive(ReactorState* reactor, Connection* connection) noexcept nogil  # the socket is readable
cdef void connection_resume(ReactorState* reactor, Connection* connection) noexcept nogil   # handle input kept while paused
cdef void session_ended(ReactorState* reactor, Connection* connection) noexcept nogil        # its end or failure: close it
cdef int connection_pauses(ReactorState* reactor, Connection* connection) noexcept nogil    # why it must not be read now
cdef void connection_release_input(ReactorState* reactor, Connection* connection) noexcept nogil
cdef void image_refresh(ReactorState* reactor) noexcept nogil     # take the newest metadata image
