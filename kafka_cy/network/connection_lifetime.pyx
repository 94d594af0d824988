"""A connection's life on its reactor, from registration to close, and the order in which connections become idle."""
from libc.stdint cimport int32_t
from libc.stdlib cimport free

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_store_i32, counter_add
from kafka_cy.base.posix cimport (
    EPOLLIN, EPOLL_CTL_ADD, close, epoll_ctl, epoll_event, pthread_mutex_lock, pthread_mutex_unlock,
)
from kafka_cy.network.authentication cimport authentication_begin, authentication_free
from kafka_cy.network.authorization cimport rights_free
from kafka_cy.network.client_software cimport software_leave
from kafka_cy.network.connection cimport Connection, connection_drop_responses, list_append, list_remove
from kafka_cy.network.connection_quotas cimport connection_leaves
from kafka_cy.network.control_queue cimport control_queue_closed
from kafka_cy.network.handshakes cimport handshake_abandon
from kafka_cy.network.job_places cimport job_passed
from kafka_cy.network.log_events cimport LOG_DEBUG
from kafka_cy.network.parked cimport parked_drop_connection
from kafka_cy.network.reactor_state cimport (
    Listener, NetworkState, ReactorState, connection_fail, connection_log, connection_mark_dead,
)
from kafka_cy.network.receive cimport connection_release_input
from kafka_cy.network.request_memory cimport retry_forget, responses_share
from kafka_cy.network.throttle cimport throttle_free
from kafka_cy.network.watch_set cimport watch_set_drop_connection

cdef int32_t connections_logged = 0     # (a) whether connections have lines; the log, and so this, is the process's


def log_connections(bint on):
    """Write a line at debug level for each connection that opens or closes, or no longer. Any thread."""
    atomic_store_i32(&connections_logged, on)


cdef void idle_append(ReactorState* reactor, Connection* connection) noexcept nogil:
    connection.active_ns = reactor.shared.now_ns
    list_append(&reactor.idle_first, &reactor.idle_last, connection)


cdef void idle_again(ReactorState* reactor, Connection* connection) noexcept nogil:
    list_remove(&reactor.idle_first, &reactor.idle_last, connection)
    idle_append(reactor, connection)


cdef void connection_register(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef epoll_event event
    connection.reactor = reactor
    connection.reactor_id = reactor.shared.id
    idle_append(reactor, connection)
    counter_add(&reactor.counters.connections, 1)
    counter_add(&reactor.counters.opened_by_listener[connection.listener], 1)
    if atomic_load_i32(&connections_logged):
        connection_log(reactor, connection, LOG_DEBUG, -1, "connection opened")
    session_open(reactor, connection)
    authentication_begin(reactor, connection)
    event.events = EPOLLIN
    event.data.ptr = connection
    connection.events = EPOLLIN
    if reactor.draining:
        connection_mark_dead(reactor, connection)
    elif epoll_ctl(reactor.epoll_fd, EPOLL_CTL_ADD, connection.fd, &event) != 0:
        connection_fail(reactor, connection, -1, "the socket cannot be watched: out of memory, or fs.epoll.max_user_watches")


cdef void session_open(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Open a session of the listener's current transport; does nothing on a plaintext listener."""
    cdef NetworkState* network = reactor.network
    cdef Listener* listener = &network.listeners[connection.listener]
    pthread_mutex_lock(&network.transports_mutex)
    if listener.transport != NULL:
        connection.session = listener.transport.open(listener.transport, connection.fd)
        if connection.session == NULL:
            connection_fail(reactor, connection, -1, "out of memory")
    pthread_mutex_unlock(&network.transports_mutex)


cdef void connection_destroy(ReactorState* reactor, Connection* connection) noexcept nogil:
    if atomic_load_i32(&connections_logged):
        connection_log(reactor, connection, LOG_DEBUG, -1, "connection closed")
    list_remove(&reactor.idle_first, &reactor.idle_last, connection)
    retry_forget(reactor, connection)
    if connection.held_back:
        job_passed(connection)
    parked_drop_connection(reactor, connection)
    watch_set_drop_connection(reactor, connection)
    connection_drop_responses(&reactor.send, connection)
    connection_release_input(reactor, connection)
    responses_share(reactor, connection)
    if connection.handshake != NULL:
        handshake_abandon(reactor, connection)
    else:
        if connection.session != NULL:
            connection.session.close(connection.session)
            connection.session = NULL
        close(connection.fd)
    connection.fd = -1
    if connection.watched != NULL:
        control_queue_closed(&reactor.network.controls[connection.watched.queue], connection.watched)
        connection.watched = NULL
    counter_add(&reactor.counters.closed, 1)
    counter_add(&reactor.counters.connections, -1)
    counter_add(&reactor.counters.closed_by_listener[connection.listener], 1)
    software_leave(&reactor.counters, connection)
    throttle_free(reactor, connection)
    rights_free(connection)
    authentication_free(reactor, connection)
    connection_leaves(reactor, connection)
    if connection.at_control == 0:
        free(connection)                # otherwise freed with the last completion
