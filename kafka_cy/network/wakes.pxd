"""How partitions wake the reactors that wait for them; see wakes.pyx."""
from kafka_cy.network.reactor_state cimport NetworkState, ReactorState
from kafka_cy.storage.partition cimport Partition

cdef void network_activate(NetworkState* network) noexcept nogil        # partitions wake its reactors from now on
cdef void network_deactivate(NetworkState* network) noexcept nogil
cdef void wakes_are_local(ReactorState* reactor) noexcept nogil         # the calling thread is this reactor's
cdef void handle_wakes(ReactorState* reactor) noexcept nogil            # checks what waits for the partitions that moved
# Notes a partition that moved; takes over a reference. False without memory.
cdef bint local_wake_add(ReactorState* reactor, Partition* partition) noexcept nogil
