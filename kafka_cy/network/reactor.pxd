"""The event loop of a reactor; see reactor.pyx."""
from kafka_cy.network.reactor_state cimport NetworkState, ReactorState

cdef ReactorState* reactor_new(NetworkState* network, int id) noexcept nogil        # NULL: no memory or descriptors
cdef void* reactor_run(void* reactor) noexcept nogil                                # body of the reactor's thread
cdef void reactor_discard_mail(ReactorState* reactor) noexcept nogil                # after its thread ended
