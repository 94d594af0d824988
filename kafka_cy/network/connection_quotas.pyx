"""Limits of connections: of an address, of a listener, and of all together (Kafka's ConnectionQuotas, KIP-402).

`max.connections` locks no broker out. Connections to a protected listener count, but the limit does not refuse them: the connection
of another listener that has been idle for longest is closed instead. The same happens when the limit is lowered. The limit of one
listener (`listener.name.<listener>.max.connections`) only refuses new connections, also of brokers.

A reactor closes connections of its own only. All reactors are told that there are too many, and each excess connection is taken
off the count by one of them, so that no two close one for the same reason. Which reactor does is not determined: the order of
idleness is that of a reactor, as it is that of a network thread in Kafka.
"""
from libc.stdint cimport int64_t

from kafka_cy.base.atomics cimport (
    atomic_add_i64, atomic_cas_i64, atomic_exchange_u64, atomic_load_relaxed_i64, atomic_sub_i64, counter_add,
)
from kafka_cy.network.address_counts cimport address_enter, address_leave
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.log_events cimport LOG_WARNING
from kafka_cy.network.mailbox cimport mailbox_ring
from kafka_cy.network.reactor_state cimport Listener, NetworkState, ReactorState, connection_log, connection_mark_dead

cdef enum:
    EXCESS_CLOSED_MAX = 20          # connections that a reactor closes in one turn: less than a millisecond
    LOOKED_AT_MAX = 1000            # to find those that may be closed: some microseconds


cdef inline bint is_protected(const NetworkState* network, const Connection* connection) noexcept nogil:
    return network.listeners[connection.listener].is_protected


cdef bint place_take(int64_t* connections, int64_t* connections_max) noexcept nogil:
    """The count never exceeds the limit here, not even for a moment: reactors would close a connection for it."""
    cdef int64_t count = atomic_load_relaxed_i64(connections)
    while count < atomic_load_relaxed_i64(connections_max):
        if atomic_cas_i64(connections, count, count + 1):
            return True
        count = atomic_load_relaxed_i64(connections)
    return False


cdef bint place_give_back(NetworkState* network) noexcept nogil:
    """Count one connection less, if there are too many."""
    cdef int64_t count = atomic_load_relaxed_i64(&network.connections)
    while count > atomic_load_relaxed_i64(&network.connections_max):
        if atomic_cas_i64(&network.connections, count, count - 1):
            return True
        count = atomic_load_relaxed_i64(&network.connections)
    return False


cdef bint refuse(ReactorState* reactor, Connection* connection, const char* message) noexcept nogil:
    connection_log(reactor, connection, LOG_WARNING, -1, message)
    counter_add(&reactor.counters.refused, 1)
    return False


cdef bint connection_admit(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef NetworkState* network = reactor.network
    cdef Listener* listener = &network.listeners[connection.listener]
    if not address_enter(
        &network.addresses, connection.address, atomic_load_relaxed_i64(&network.connections_per_ip_max)
    ):
        return refuse(reactor, connection, "refused: max.connections.per.ip is reached")
    if not place_take(&listener.connections, &listener.connections_max):
        address_leave(&network.addresses, connection.address)
        return refuse(reactor, connection, "refused: max.connections of the listener is reached")
    if is_protected(network, connection):
        if atomic_add_i64(&network.connections, 1) > atomic_load_relaxed_i64(&network.connections_max):
            excess_announce(network)
    elif not place_take(&network.connections, &network.connections_max):
        atomic_sub_i64(&listener.connections, 1)
        address_leave(&network.addresses, connection.address)
        return refuse(reactor, connection, "refused: max.connections is reached")
    return True


cdef void connection_leaves(ReactorState* reactor, Connection* connection) noexcept nogil:
    atomic_sub_i64(&reactor.connections, 1)
    atomic_sub_i64(&reactor.network.listeners[connection.listener].connections, 1)
    if not connection.is_excess:
        atomic_sub_i64(&reactor.network.connections, 1)
    address_leave(&reactor.network.addresses, connection.address)


cdef void excess_announce(NetworkState* network) noexcept nogil:
    cdef ReactorState* each
    cdef int i
    for i in range(network.reactors_count):
        each = <ReactorState*>network.reactors[i]
        atomic_exchange_u64(&each.excess, 1)
        mailbox_ring(&each.mailbox)


cdef void close_excess(ReactorState* reactor) noexcept nogil:
    cdef NetworkState* network = reactor.network
    cdef Connection* connection = reactor.idle_first
    cdef int closed = 0
    cdef int i
    if reactor.dead_first != NULL:
        return                          # they make room in the next turn, and are among the first ones of the list
    atomic_exchange_u64(&reactor.excess, 0)
    for i in range(LOOKED_AT_MAX):  # no-cython-lint
        if connection == NULL:
            return
        if not is_protected(network, connection):
            if closed == EXCESS_CLOSED_MAX:
                atomic_exchange_u64(&reactor.excess, 1)
                return
            if not place_give_back(network):
                return
            closed += 1
            connection.is_excess = True
            counter_add(&reactor.counters.closed_excess, 1)
            connection_log(reactor, connection, LOG_WARNING, -1, "closed: there are more connections than max.connections")
            connection_mark_dead(reactor, connection)
        connection = connection.next
