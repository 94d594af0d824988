"""Whether the metadata that a reactor uses is still the newest."""
from kafka_cy.base.atomics cimport atomic_load_pointer
from kafka_cy.network.reactor_state cimport ReactorState
from kafka_cy.network.request cimport Reactor


cdef inline bint image_is_current(Reactor* reactor) noexcept nogil:
    """False: another image was published since the request began."""
    return atomic_load_pointer(&(<ReactorState*>reactor.private_state).network.image) == <void*>reactor.image
