"""How partitions wake the reactors that wait for them; see wakes.pyx."""
from kafka_cy.network.reactor_state cimport NetworkState, ReactorState
from kafka_cy.storage.partition cimport Partition

cdef void network_activate(NetworkState* network) noexcept nogil        # from now on, partitions wake its reactors
cdef void network_deactivate(NetworkState* network) noexcept nogil
cdef void wakes_are_local(ReactorState* reactor) noexcept nogil         # called on this reactor's thread
cdef void handle_wakes(ReactorState* reactor) noexcept nogil            # checks requests waiting for partitions that advanced
# Takes the partitions that advanced from the mailbox, as handle_mail does.
cdef void wakes_take_over(ReactorState* reactor) noexcept nogil
# Notes a partition that advanced; takes over a reference. False if memory is short.
cdef bint local_wake_add(ReactorState* reactor, Partition* partition) noexcept nogil
