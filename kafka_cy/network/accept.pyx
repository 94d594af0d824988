"""Accepts connections: checks limits, chooses a reactor, and pauses a listener while it must wait."""
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, errno
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from kafka_cy.base.atomics cimport atomic_add_i64, atomic_load_i32, atomic_load_relaxed_i64, atomic_sub_i64, counter_add
from kafka_cy.base.posix cimport (
    AF_INET, EPOLLEXCLUSIVE, EPOLLIN, EPOLL_CTL_ADD, EPOLL_CTL_DEL, IPPROTO_TCP, POLLIN, SOCK_CLOEXEC, SOCK_NONBLOCK,
    TCP_NODELAY, accept4, close, epoll_ctl, epoll_event, ntohs, poll, pollfd, setsockopt, sockaddr, sockaddr_in,
    sockaddr_in6, sockaddr_storage, socklen_t,
)
from kafka_cy.network.authentication cimport authentication_can_make_room, authentication_has_room, authentication_make_room
from kafka_cy.network.connection cimport KIND_CONNECTION, Connection
from kafka_cy.network.connection_lifetime cimport connection_register
from kafka_cy.network.connection_quotas cimport connection_admit
from kafka_cy.network.connection_rate cimport creation_count, creation_wait_ns
from kafka_cy.network.log_events cimport LOG_ERROR, log_events_add
from kafka_cy.network.mailbox cimport MAIL_CONNECTION, mailbox_post
from kafka_cy.network.reactor_state cimport Listener, NetworkState, ReactorState
from kafka_cy.network.throttle cimport throttle_accepted

cdef enum:
    ACCEPTS_PER_EVENT_MAX = 64
    ACCEPT_PAUSE_NS = 100000000     # after running out of descriptors
    LOGINS_RETRY_NS = 10000000      # the pause while as many as may wait for the broker do

cdef const char* V4_MAPPED = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"


cdef Connection* connection_new(NetworkState* network, Listener* listener, int fd, sockaddr_storage* peer) noexcept nogil:
    cdef Connection* connection = <Connection*>calloc(1, sizeof(Connection))
    if connection == NULL:
        return NULL
    connection.kind = KIND_CONNECTION
    connection.fd = fd
    connection.id = atomic_add_i64(&network.connection_id_next, 1)
    connection.listener = listener.index
    connection.software = -1
    connection.family = peer.ss_family
    if peer.ss_family == AF_INET:
        memcpy(connection.address, &(<sockaddr_in*>peer).sin_addr, 4)
        connection.port = ntohs((<sockaddr_in*>peer).sin_port)
    elif memcmp(&(<sockaddr_in6*>peer).sin6_addr, V4_MAPPED, 12) == 0:
        # An IPv4 client of a dual-stack listener is shown, logged and counted by its IPv4 address.
        connection.family = AF_INET
        memcpy(connection.address, <uint8_t*>&(<sockaddr_in6*>peer).sin6_addr + 12, 4)
        connection.port = ntohs((<sockaddr_in6*>peer).sin6_port)
    else:
        memcpy(connection.address, &(<sockaddr_in6*>peer).sin6_addr, 16)
        connection.port = ntohs((<sockaddr_in6*>peer).sin6_port)
    return connection


cdef ReactorState* least_busy(NetworkState* network) noexcept nogil:
    """Return the reactor with the fewest connections; ties are broken round robin."""
    cdef int64_t turn = atomic_add_i64(&network.turn, 1)
    cdef ReactorState* best = <ReactorState*>network.reactors[turn % network.reactors_count]
    cdef ReactorState* each
    cdef int64_t best_count = atomic_load_relaxed_i64(&best.connections)
    cdef int64_t count
    cdef int i
    for i in range(1, network.reactors_count):
        each = <ReactorState*>network.reactors[(turn + i) % network.reactors_count]
        count = atomic_load_relaxed_i64(&each.connections)
        if count < best_count:
            best = each
            best_count = count
    return best


cdef void accept_some(ReactorState* reactor, Listener* listener) noexcept nogil:
    cdef NetworkState* network = reactor.network
    cdef sockaddr_storage peer
    cdef socklen_t peer_size
    cdef Connection* connection
    cdef ReactorState* target
    cdef int64_t wait_ns
    cdef int one = 1
    cdef int fd
    cdef int i
    if reactor.dead_left:
        return                          # they still count: who takes the place of one comes in a later turn, not refused
    for i in range(ACCEPTS_PER_EVENT_MAX):  # no-cython-lint
        wait_ns = creation_wait_ns(&listener.connection_rate, reactor.shared.now_ns)
        if not listener.is_protected:
            wait_ns = max(wait_ns, creation_wait_ns(&network.connection_rate, reactor.shared.now_ns))
        if wait_ns > 0:
            accept_throttled(reactor, listener, wait_ns)
            return
        if listener.token_bytes_max and not authentication_has_room(reactor, listener):
            if not is_waited_for(listener):
                return
            if not authentication_can_make_room(reactor):
                logins_later(reactor, listener)
                return
        peer_size = sizeof(peer)
        fd = accept4(listener.fd, <sockaddr*>&peer, &peer_size, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno == ECONNABORTED or errno == EINTR:
                continue
            if errno != EAGAIN:
                accept_failed(reactor)
            return
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        connection = connection_new(network, listener, fd, &peer)
        if connection != NULL and throttle_accepted(reactor, listener, connection):
            free(connection)
            continue
        if connection == NULL or not connection_admit(reactor, connection):
            close(fd)
            free(connection)
            continue
        counter_add(&reactor.counters.accepted, 1)
        creation_count(&listener.connection_rate, reactor.shared.now_ns)
        if not listener.is_protected:
            creation_count(&network.connection_rate, reactor.shared.now_ns)
        if listener.token_bytes_max:
            if not authentication_has_room(reactor, listener):
                authentication_make_room(reactor)
            atomic_add_i64(&network.unauthenticated, 1)     # until authentication_free
        target = least_busy(network)
        atomic_add_i64(&target.connections, 1)
        if target == reactor or mailbox_post(&target.mailbox, MAIL_CONNECTION, connection) != 0:
            if target != reactor:
                atomic_sub_i64(&target.connections, 1)
                atomic_add_i64(&reactor.connections, 1)
            connection_register(reactor, connection)


cdef void listener_watch(ReactorState* reactor, Listener* listener, bint on) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN | EPOLLEXCLUSIVE
    event.data.ptr = listener
    if epoll_ctl(reactor.epoll_fd, EPOLL_CTL_ADD if on else EPOLL_CTL_DEL, listener.fd, &event) != 0 and on:
        log_events_add(
            &reactor.network.log, reactor.shared.now_ns, LOG_ERROR, b"", -1,
            b"a listener cannot be watched: out of memory, or fs.epoll.max_user_watches; trying again in 100 ms",
        )
        accept_later(reactor, listener, ACCEPT_PAUSE_NS)


cdef void listeners_watch(ReactorState* reactor, bint on) noexcept nogil:
    cdef int i
    for i in range(reactor.network.listeners_count):
        listener_watch(reactor, &reactor.network.listeners[i], on)


cdef void accept_later(ReactorState* reactor, Listener* listener, int64_t wait_ns) noexcept nogil:
    """Accept nothing from the listener for `wait_ns`: its connections stay in the backlog."""
    cdef int64_t* at_ns = &reactor.accepts_at_ns[listener.index]
    if atomic_load_i32(&reactor.network.stopping):
        return
    if at_ns[0] == 0:
        listener_watch(reactor, listener, False)
    at_ns[0] = reactor.shared.now_ns + wait_ns
    if reactor.accepts_again_ns == 0 or at_ns[0] < reactor.accepts_again_ns:
        reactor.accepts_again_ns = at_ns[0]


cdef void accept_again(ReactorState* reactor) noexcept nogil:
    cdef int64_t at_ns
    cdef int i
    if reactor.accepts_again_ns == 0 or reactor.shared.now_ns < reactor.accepts_again_ns:
        return
    reactor.accepts_again_ns = 0
    for i in range(reactor.network.listeners_count):
        at_ns = reactor.accepts_at_ns[i]
        if at_ns > reactor.shared.now_ns:
            if reactor.accepts_again_ns == 0 or at_ns < reactor.accepts_again_ns:
                reactor.accepts_again_ns = at_ns
        elif at_ns:
            reactor.accepts_at_ns[i] = 0
            if not reactor.draining:
                listener_watch(reactor, &reactor.network.listeners[i], True)


cdef bint is_waited_for(const Listener* listener) noexcept nogil:
    cdef pollfd waiting
    waiting.fd = listener.fd
    waiting.events = POLLIN
    waiting.revents = 0
    return poll(&waiting, 1, 0) > 0


cdef void count_throttled(ReactorState* reactor, const Listener* listener, int64_t wait_ns) noexcept nogil:
    counter_add(&reactor.counters.accepts_throttled_by_listener[listener.index], 1)
    counter_add(&reactor.counters.accept_throttle_ns_by_listener[listener.index], wait_ns)


cdef void accept_throttled(ReactorState* reactor, Listener* listener, int64_t wait_ns) noexcept nogil:
    """The rate of new connections is used up: they stay in the backlog. Counted when there is one."""
    if is_waited_for(listener):
        count_throttled(reactor, listener, wait_ns)
    accept_later(reactor, listener, wait_ns)


cdef void logins_later(ReactorState* reactor, Listener* listener) noexcept nogil:
    """As many as may wait for the broker do: further ones stay in the backlog. Another reactor may have room for them."""
    count_throttled(reactor, listener, LOGINS_RETRY_NS)
    accept_later(reactor, listener, LOGINS_RETRY_NS)


cdef void accept_failed(ReactorState* reactor) noexcept nogil:
    """Out of descriptors or memory: stop accepting for a moment; otherwise the loop would spin."""
    cdef int i
    if atomic_load_i32(&reactor.network.stopping):
        return
    log_events_add(
        &reactor.network.log, reactor.shared.now_ns, LOG_ERROR, b"", -1,
        b"accept failed: out of file descriptors or memory; trying again in 100 ms",
    )
    for i in range(reactor.network.listeners_count):
        accept_later(reactor, &reactor.network.listeners[i], ACCEPT_PAUSE_NS)
