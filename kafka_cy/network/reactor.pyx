"""The event loop of a reactor: accept, read, handle, wake, answer; all without the GIL.

One turn handles every ready socket, then the partitions that moved, then sends: a busy connection costs one receive
and one send per turn however many requests it pipelined. Connections are destroyed only at the end of a turn, so no
pointer goes stale while it is in use.
"""
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy

from kafka_cy.base.atomics cimport (
    atomic_add_i64, atomic_exchange_u64, atomic_load_i32, atomic_load_relaxed_i64, atomic_store_pointer,
    atomic_sub_i64, counter_add, counter_set,
)
from kafka_cy.base.clock cimport monotonic_ns, ticks_now, wall_clock_ms
from kafka_cy.base.histogram cimport histogram_add
from kafka_cy.base.posix cimport (
    AF_INET, EPOLLERR, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL,
    EPOLL_CTL_MOD, IPPROTO_TCP, SOCK_CLOEXEC, SOCK_NONBLOCK, TCP_NODELAY, accept4, block_all_signals, close, epoll_create1,
    epoll_ctl, epoll_event, epoll_wait, ntohs, pthread_mutex_lock, pthread_mutex_unlock, read, setsockopt, sockaddr,
    sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t,
)
from kafka_cy.base.thread_name cimport name_this_thread
from kafka_cy.network.address_counts cimport address_enter, address_leave
from kafka_cy.network.connection cimport (
    KIND_CONNECTION, KIND_MAILBOX, PAUSE_MEMORY, Connection, ResponseSlot, connection_advance,
    connection_drop_answers, connection_flush, list_append, list_remove, send_context_free, slot_remove, slot_send_whole,
)
from kafka_cy.network.connection_rate cimport creation_count, creation_wait_ns
from kafka_cy.network.control_queue cimport CONTROL_QUEUES, ControlMessage, control_queue_wake
from kafka_cy.network.counters cimport (
    ACTIVITY_RECEIVING, ACTIVITY_SENDING, ACTIVITY_STOPPED, ACTIVITY_WAITING, TIME_LOCAL, TIME_REMOTE, TIME_REQUEST_QUEUE,
    ApiCounters, count_error,
)
from kafka_cy.network.jobs cimport Job, job_done
from kafka_cy.network.log_events cimport LOG_ERROR, LOG_WARNING, log_events_add
from kafka_cy.network.mailbox cimport (
    MAIL_CONNECTION, MAIL_JOB, MAIL_WAKE, Mail, mailbox_init, mailbox_post, mailbox_take,
    mailbox_take_answered, mailbox_waits,
)
from kafka_cy.network.parked cimport (
    parked_drop_connection, parked_expire, parked_expire_connection, parked_wake,
)
from kafka_cy.network.reactor_state cimport (
    Listener, NetworkState, ReactorState, connection_fail, connection_log, connection_mark_dead,
    connection_mark_dirty,
)
from kafka_cy.network.receive cimport (
    RECEIVE_BYTES, connection_pauses, connection_receive, connection_release_input, connection_resume, image_refresh,
)
from kafka_cy.network.request_memory cimport (
    STALLED_CHECK_NS, close_stalled, memory_held, memory_retry, memory_unlink, memory_wait, responses_exceeded,
    responses_share,
)
from kafka_cy.network.slow_requests cimport slow_request, slow_threshold_refresh
from kafka_cy.network.client_software cimport software_leave
from kafka_cy.network.timer_wheel cimport wheel_init, wheel_timeout_ms
from kafka_cy.network.tracing cimport trace_end, trace_free
from kafka_cy.records.compression cimport codecs_free, codecs_new
from kafka_cy.records.wire cimport writer_free, writer_init
from kafka_cy.storage.partition cimport CONTROL_WAITER, Partition, partition_release, partition_set_wake_hook

cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int us) noexcept

cdef extern from *:
    """
    static __thread void *this_thread_reactor;
    static inline int increment_unless_zero(int32_t *p)
    {
        int32_t seen = __atomic_load_n(p, __ATOMIC_SEQ_CST);
        while (seen > 0 && !__atomic_compare_exchange_n(p, &seen, seen + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            ;
        return seen > 0;
    }
    """
    void* this_thread_reactor
    bint increment_unless_zero(int32_t* p) noexcept nogil

cdef enum:
    EVENTS_MAX = 256
    ACCEPTS_PER_EVENT_MAX = 64
    ACCEPT_PAUSE_NS = 100000000     # after running out of descriptors
    MEMORY_RETRY_MS = 5             # another reactor may give request memory back
    DRAIN_RETRY_MS = 10
    JOB_RETRY_US = 1000
    SCRATCH_BYTES_MAX = 1073741824
    SCRATCH_KEPT_BYTES = 4194304

cdef NetworkState* active_network = NULL
cdef const char* V4_MAPPED = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"


# -- wakes --

cdef void wake_reactor(int reactor, Partition* partition) noexcept nogil:
    """The hook of partitions: on any thread, also on the reactor itself (then no lock and no system call)."""
    cdef NetworkState* network = active_network
    cdef ReactorState* target
    cdef int i
    if network == NULL:
        return
    if reactor == CONTROL_WAITER:
        for i in range(CONTROL_QUEUES):
            control_queue_wake(&network.controls[i])
        return
    if reactor >= network.reactors_count:
        return
    target = <ReactorState*>network.reactors[reactor]
    if target == NULL or not atomic_load_i32(&target.running):
        return
    # The flusher may call while the last reference is being given back (that waits for the flush): then nobody waits.
    if not increment_unless_zero(&partition.references):
        return
    if this_thread_reactor == <void*>target:
        if not local_wake_add(target, partition):
            partition_release(partition)
    elif mailbox_post(&target.mailbox, MAIL_WAKE, partition) != 0:
        partition_release(partition)


cdef bint local_wake_add(ReactorState* reactor, Partition* partition) noexcept nogil:
    cdef int32_t wanted
    cdef void** grown
    if reactor.local_wakes_count == reactor.local_wakes_capacity:
        wanted = reactor.local_wakes_capacity * 2 if reactor.local_wakes_capacity else 64
        grown = <void**>realloc(reactor.local_wakes, <size_t>wanted * sizeof(void*))
        if grown == NULL:
            return False
        reactor.local_wakes = grown
        reactor.local_wakes_capacity = wanted
    reactor.local_wakes[reactor.local_wakes_count] = partition
    reactor.local_wakes_count += 1
    return True


cdef void handle_wakes(ReactorState* reactor) noexcept nogil:
    cdef void** partitions = reactor.local_wakes
    cdef int32_t count = reactor.local_wakes_count
    cdef int32_t capacity = reactor.local_wakes_capacity
    reactor.local_wakes = NULL          # checks may add new wakes
    reactor.local_wakes_count = 0
    reactor.local_wakes_capacity = 0
    counter_add(&reactor.counters.wakes, count)
    parked_wake(reactor, <Partition**>partitions, count)
    if reactor.local_wakes == NULL:
        reactor.local_wakes = partitions
        reactor.local_wakes_capacity = capacity
    else:
        free(partitions)


cdef void network_activate(NetworkState* network) noexcept nogil:
    global active_network
    active_network = network
    partition_set_wake_hook(wake_reactor)


cdef void network_deactivate(NetworkState* network) noexcept nogil:
    global active_network
    if active_network == network:
        active_network = NULL


# -- connections: idle order, registration, end --

cdef void idle_append(ReactorState* reactor, Connection* connection) noexcept nogil:
    connection.active_ns = reactor.shared.now_ns
    list_append(&reactor.idle_first, &reactor.idle_last, connection)


cdef void idle_again(ReactorState* reactor, Connection* connection) noexcept nogil:
    list_remove(&reactor.idle_first, &reactor.idle_last, connection)
    idle_append(reactor, connection)


cdef void connection_active(ReactorState* reactor, Connection* connection) noexcept nogil:
    if reactor.shared.now_ns - connection.active_ns > reactor.network.idle_timeout_ns >> 5:
        idle_again(reactor, connection)


cdef void connection_register(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef epoll_event event
    connection.reactor = reactor
    connection.reactor_id = reactor.shared.id
    idle_append(reactor, connection)
    counter_add(&reactor.counters.connections, 1)
    counter_add(&reactor.counters.opened_by_listener[connection.listener], 1)
    session_open(reactor, connection)
    event.events = EPOLLIN
    event.data.ptr = connection
    connection.events = EPOLLIN
    if reactor.draining or epoll_ctl(reactor.epoll_fd, EPOLL_CTL_ADD, connection.fd, &event) != 0:
        connection_mark_dead(reactor, connection)


cdef void session_open(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Of the transport that the listener has now; nothing on a plaintext listener."""
    cdef NetworkState* network = reactor.network
    cdef Listener* listener = &network.listeners[connection.listener]
    pthread_mutex_lock(&network.transports_mutex)
    if listener.transport != NULL:
        connection.session = listener.transport.open(listener.transport, connection.fd)
        if connection.session == NULL:
            connection_mark_dead(reactor, connection)
    pthread_mutex_unlock(&network.transports_mutex)


cdef void connection_destroy(ReactorState* reactor, Connection* connection) noexcept nogil:
    list_remove(&reactor.idle_first, &reactor.idle_last, connection)
    if connection.waits_for_memory:
        memory_unlink(reactor, connection)
    parked_drop_connection(reactor, connection)
    connection_drop_answers(&reactor.send, connection)
    connection_release_input(reactor, connection)
    responses_share(reactor, connection)
    if connection.session != NULL:
        connection.session.close(connection.session)
        connection.session = NULL
    close(connection.fd)
    connection.fd = -1
    counter_add(&reactor.counters.closed, 1)
    counter_add(&reactor.counters.connections, -1)
    counter_add(&reactor.counters.closed_by_listener[connection.listener], 1)
    software_leave(&reactor.counters, connection)
    atomic_sub_i64(&reactor.connections, 1)
    atomic_sub_i64(&reactor.network.connections, 1)
    address_leave(&reactor.network.addresses, connection.address)
    if connection.at_control == 0:
        free(connection)                # else with the last completion


# -- accepting --

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
        # An IPv4 client of a listener for both: shown, logged and counted by its IPv4 address.
        connection.family = AF_INET
        memcpy(connection.address, <uint8_t*>&(<sockaddr_in6*>peer).sin6_addr + 12, 4)
        connection.port = ntohs((<sockaddr_in6*>peer).sin6_port)
    else:
        memcpy(connection.address, &(<sockaddr_in6*>peer).sin6_addr, 16)
        connection.port = ntohs((<sockaddr_in6*>peer).sin6_port)
    return connection


cdef ReactorState* least_busy(NetworkState* network) noexcept nogil:
    """The reactor with the fewest connections; equal ones take turns."""
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


cdef bint admit(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Count the connection against the limits; False: refuse it."""
    cdef NetworkState* network = reactor.network
    if atomic_add_i64(&network.connections, 1) > network.connections_max:
        connection_log(reactor, connection, LOG_WARNING, -1, "refused: max.connections is reached")
    elif not address_enter(&network.addresses, connection.address, network.connections_per_ip_max):
        connection_log(reactor, connection, LOG_WARNING, -1, "refused: max.connections.per.ip is reached")
    else:
        return True
    atomic_sub_i64(&network.connections, 1)
    counter_add(&reactor.counters.refused, 1)
    return False


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
    for i in range(ACCEPTS_PER_EVENT_MAX):  # no-cython-lint
        wait_ns = creation_wait_ns(&network.connection_rate, reactor.shared.now_ns)
        if wait_ns > 0:
            accept_later(reactor, wait_ns)
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
        if connection == NULL or not admit(reactor, connection):
            close(fd)
            free(connection)
            continue
        counter_add(&reactor.counters.accepted, 1)
        creation_count(&network.connection_rate, reactor.shared.now_ns)
        target = least_busy(network)
        atomic_add_i64(&target.connections, 1)
        if target == reactor or mailbox_post(&target.mailbox, MAIL_CONNECTION, connection) != 0:
            if target != reactor:
                atomic_sub_i64(&target.connections, 1)
                atomic_add_i64(&reactor.connections, 1)
            connection_register(reactor, connection)


cdef void listeners_watch(ReactorState* reactor, bint on) noexcept nogil:
    cdef epoll_event event
    cdef int i
    for i in range(reactor.network.listeners_count):
        event.events = EPOLLIN | EPOLLEXCLUSIVE
        event.data.ptr = &reactor.network.listeners[i]
        epoll_ctl(
            reactor.epoll_fd, EPOLL_CTL_ADD if on else EPOLL_CTL_DEL, reactor.network.listeners[i].fd, &event
        )


cdef void accept_later(ReactorState* reactor, int64_t wait_ns) noexcept nogil:
    """Leave the backlog alone for a while."""
    if atomic_load_i32(&reactor.network.stopping):
        return
    listeners_watch(reactor, False)
    reactor.accept_paused_until_ns = reactor.shared.now_ns + wait_ns


cdef void accept_failed(ReactorState* reactor) noexcept nogil:
    """Out of descriptors or memory: leave the backlog alone for a moment, or the loop would spin."""
    if atomic_load_i32(&reactor.network.stopping):
        return
    log_events_add(
        &reactor.network.log, reactor.shared.now_ns, LOG_ERROR, b"", -1,
        b"accept failed: out of file descriptors or memory; trying again in 100 ms",
    )
    accept_later(reactor, ACCEPT_PAUSE_NS)


# -- one turn of the loop --

cdef void count_completed(ResponseSlot* slot, ControlMessage* message) noexcept nogil:
    """The times of a request that the control plane answered."""
    cdef ApiCounters* api = slot.api
    cdef int i
    slot.begun = message.begun
    slot.handled = message.handled
    slot.answered = message.answered
    histogram_add(&api.times[TIME_REQUEST_QUEUE], message.begun - message.received, 1)
    histogram_add(&api.times[TIME_LOCAL], message.handled - message.begun, 1)
    if message.answered > message.handled:
        histogram_add(&api.times[TIME_REMOTE], message.answered - message.handled, 1)
    for i in range(message.errors_count):
        count_error(api, message.error_codes[i], message.error_times[i])


cdef void complete(ReactorState* reactor, ControlMessage* message) noexcept nogil:
    """An answer of the control plane is back."""
    cdef Connection* connection = message.connection
    cdef ResponseSlot* slot = message.slot
    slot.at_control = False
    connection.at_control -= 1
    atomic_sub_i64(&reactor.network.queued_request_bytes, message.reserved)
    atomic_sub_i64(&reactor.network.controls[message.queue].bytes, message.reserved)
    count_completed(slot, message)
    if connection.dead:
        slot_remove(&reactor.send, connection, slot)
        free(message.response)
        if connection.fd < 0 and connection.at_control == 0:
            free(connection)
    else:
        if message.response == NULL:
            connection_log(reactor, connection, LOG_WARNING, message.api_key, message.close_reason)
            slot.close_here = True
            connection.closing = True
        elif slot_send_whole(
            &reactor.send, connection, slot, message.response, message.response_size, message.response_size
        ) != 0:
            connection_mark_dead(reactor, connection)
        slot.done = True
        connection_mark_dirty(reactor, connection)
    free(message)


cdef void complete_all(ReactorState* reactor) noexcept nogil:
    cdef ControlMessage* message = <ControlMessage*>mailbox_take_answered(&reactor.mailbox)
    cdef ControlMessage* following
    while message != NULL:
        following = message.next
        complete(reactor, message)
        message = following


cdef void handle_mail(ReactorState* reactor) noexcept nogil:
    cdef int64_t count = mailbox_take(&reactor.mailbox)
    cdef Mail* mail
    cdef int64_t i
    for i in range(count):
        mail = &reactor.mailbox.taken[i]
        if mail.kind == MAIL_WAKE:
            if not local_wake_add(reactor, <Partition*>mail.pointer):
                partition_release(<Partition*>mail.pointer)
        elif mail.kind == MAIL_CONNECTION:
            connection_register(reactor, <Connection*>mail.pointer)
        elif mail.kind == MAIL_JOB:
            job_done(&reactor.shared, <Job*>mail.pointer)
    complete_all(reactor)


cdef inline bint wants_write(Connection* connection) noexcept nogil:
    """Whether reading goes on only when the socket takes bytes (of a handshake)."""
    return connection.session != NULL and connection.session.wants_write


cdef void update_events(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef epoll_event event
    cdef uint32_t wanted = 0
    if not connection.pauses and not connection.closing and not reactor.draining:
        wanted |= EPOLLOUT if wants_write(connection) else EPOLLIN
    if connection.send_blocked:
        wanted |= EPOLLOUT
    if wanted == connection.events:
        return
    event.events = wanted
    event.data.ptr = connection
    connection.events = wanted
    if epoll_ctl(reactor.epoll_fd, EPOLL_CTL_MOD, connection.fd, &event) != 0:
        connection_mark_dead(reactor, connection)


cdef void settle(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Send what is complete, resume what was paused, close what is done with."""
    cdef int result
    connection_advance(&reactor.send, connection)
    result = connection_flush(&reactor.send, connection)
    responses_share(reactor, connection)
    if result < 0:
        connection_mark_dead(reactor, connection)
        return
    connection.send_blocked = result == 1
    if connection.send_blocked and responses_exceeded(reactor, connection):
        connection_fail(
            reactor, connection, -1, "closed: its responses are not read, and kafkacy.queued.max.response.bytes is reached"
        )
        return
    if connection.send_first == NULL and (
        connection.ended or (reactor.draining and connection.slots_first == NULL)
    ):
        connection_mark_dead(reactor, connection)
        return
    if connection.pauses and not connection.closing and not reactor.draining:
        if connection_pauses(reactor, connection) == 0:
            connection_resume(reactor, connection)      # may make it dirty again
            if connection.dead:
                return
        if connection.pauses & PAUSE_MEMORY:
            memory_wait(reactor, connection)
    update_events(reactor, connection)


cdef void settle_all(ReactorState* reactor) noexcept nogil:
    """Until nothing moves any more: wakes answer, answers resume reading, reading appends, appends wake."""
    cdef Connection* connection
    while reactor.local_wakes_count or reactor.dirty != NULL:
        if reactor.local_wakes_count:
            handle_wakes(reactor)
        counter_set(&reactor.counters.activity, ACTIVITY_SENDING)
        while reactor.dirty != NULL:
            connection = reactor.dirty
            reactor.dirty = connection.dirty_next
            connection.dirty = False
            if not connection.dead:
                settle(reactor, connection)


cdef void destroy_dead(ReactorState* reactor) noexcept nogil:
    cdef Connection* connection
    while reactor.dead != NULL:
        connection = reactor.dead
        reactor.dead = connection.dead_next
        connection_destroy(reactor, connection)


cdef void handle_event(ReactorState* reactor, epoll_event* event) noexcept nogil:
    cdef Connection* connection
    cdef uint64_t drained
    cdef int32_t kind = (<int32_t*>event.data.ptr)[0]
    if kind == KIND_CONNECTION:
        connection = <Connection*>event.data.ptr
        if connection.dead:
            return
        connection_active(reactor, connection)
        if event.events & EPOLLOUT:
            connection_mark_dirty(reactor, connection)
        if (event.events & EPOLLIN or wants_write(connection)) and not connection.pauses and not connection.closing:
            connection_receive(reactor, connection)
        elif event.events & (EPOLLERR | EPOLLHUP):
            connection_mark_dead(reactor, connection)
    elif kind == KIND_MAILBOX:
        read(reactor.mailbox.event_fd, &drained, 8)
    elif not reactor.draining:
        accept_some(reactor, <Listener*>event.data.ptr)


cdef void close_idle(ReactorState* reactor) noexcept nogil:
    cdef Connection* connection
    if reactor.network.idle_timeout_ns <= 0:
        return
    connection = reactor.idle_first
    while connection != NULL and reactor.shared.now_ns - connection.active_ns >= reactor.network.idle_timeout_ns:
        if connection.slots_count and not connection.send_blocked:
            idle_again(reactor, connection)         # it waits for us, not we for it
        elif not connection.dead:
            counter_add(&reactor.counters.closed_idle, 1)
            connection_mark_dead(reactor, connection)
            connection = connection.next
            continue
        else:
            connection = connection.next
            continue
        connection = reactor.idle_first


cdef int sleep_ms(ReactorState* reactor) noexcept nogil:
    """How long epoll may sleep: to the next deadline of anything; -1 for ever."""
    cdef int timeout = wheel_timeout_ms(&reactor.wheel, reactor.shared.now_ns)
    cdef int64_t idle_ms
    if reactor.memory_first != NULL and (timeout < 0 or timeout > MEMORY_RETRY_MS):
        timeout = MEMORY_RETRY_MS
    if memory_held(reactor) and (timeout < 0 or timeout > STALLED_CHECK_NS // 1000000):
        timeout = STALLED_CHECK_NS // 1000000
    if reactor.draining and (timeout < 0 or timeout > DRAIN_RETRY_MS):
        timeout = DRAIN_RETRY_MS
    if reactor.accept_paused_until_ns and (timeout < 0 or timeout > 100):
        timeout = 100
    if reactor.network.idle_timeout_ns > 0 and reactor.idle_first != NULL:
        idle_ms = reactor.idle_first.active_ns + reactor.network.idle_timeout_ns - reactor.shared.now_ns
        idle_ms = idle_ms // 1000000 + 1 if idle_ms > 0 else 1
        if idle_ms > 1000000:
            idle_ms = 1000000
        if timeout < 0 or timeout > idle_ms:
            timeout = <int>idle_ms
    return timeout


cdef int wait(ReactorState* reactor, epoll_event* events) noexcept nogil:
    cdef int timeout = sleep_ms(reactor)
    cdef int count
    counter_set(&reactor.counters.activity, ACTIVITY_WAITING)
    atomic_store_pointer(&reactor.hazard, NULL)
    atomic_exchange_u64(&reactor.mailbox.sleeping, 1)       # before the last look: a post after it rings
    if mailbox_waits(&reactor.mailbox):
        timeout = 0
    count = epoll_wait(reactor.epoll_fd, events, EVENTS_MAX, timeout)
    atomic_exchange_u64(&reactor.mailbox.sleeping, 0)
    reactor.shared.now_ns = monotonic_ns()
    reactor.shared.now_ms = wall_clock_ms()
    reactor.turn_ticks = ticks_now()
    reactor.ticks = reactor.turn_ticks
    counter_set(&reactor.counters.turn_ns, reactor.shared.now_ns)
    counter_set(&reactor.counters.activity, ACTIVITY_RECEIVING)
    if reactor.shared.now_ns >= reactor.slow_check_ns:
        slow_threshold_refresh(reactor)
    image_refresh(reactor)
    return count


cdef void turn(ReactorState* reactor, epoll_event* events) noexcept nogil:
    cdef int count = wait(reactor, events)
    cdef int i
    handle_mail(reactor)
    for i in range(count):
        handle_event(reactor, &events[i])
    if reactor.wheel.count:
        parked_expire(reactor, reactor.shared.now_ns)
    if reactor.accept_paused_until_ns and reactor.shared.now_ns >= reactor.accept_paused_until_ns:
        reactor.accept_paused_until_ns = 0
        if not reactor.draining:
            listeners_watch(reactor, True)
    settle_all(reactor)
    if reactor.memory_first != NULL:
        memory_retry(reactor)
        settle_all(reactor)
    close_idle(reactor)
    if reactor.shared.now_ns >= reactor.stalled_check_ns:
        reactor.stalled_check_ns = reactor.shared.now_ns + STALLED_CHECK_NS
        if memory_held(reactor):
            close_stalled(reactor)
    destroy_dead(reactor)
    if reactor.shared.scratch.capacity > SCRATCH_KEPT_BYTES:
        writer_free(&reactor.shared.scratch)
    counter_add(&reactor.counters.loops, 1)
    counter_add(&reactor.counters.busy_ticks, ticks_now() - reactor.turn_ticks)


cdef void drain(ReactorState* reactor) noexcept nogil:
    """Stop was asked: accept and read no more; what waits is answered now."""
    cdef Connection* connection = reactor.idle_first
    reactor.draining = True
    listeners_watch(reactor, False)
    while connection != NULL:
        parked_expire_connection(reactor, connection)
        connection_mark_dirty(reactor, connection)
        connection = connection.next
    settle_all(reactor)
    destroy_dead(reactor)


cdef ReactorState* reactor_new(NetworkState* network, int id) noexcept nogil:
    cdef ReactorState* reactor = <ReactorState*>calloc(1, sizeof(ReactorState))
    if reactor == NULL:
        return NULL
    reactor.shared.id = id
    reactor.shared.private_state = reactor
    reactor.shared.codecs = codecs_new()
    writer_init(&reactor.shared.scratch, SCRATCH_BYTES_MAX)
    reactor.network = network
    reactor.mailbox_kind = KIND_MAILBOX
    reactor.send.counters = &reactor.counters
    reactor.send.on_slow = slow_request
    reactor.send.on_traced = trace_end
    reactor.send.trace_free = trace_free
    reactor.send.slow_ticks = 0x7fffffffffffffff
    reactor.receive_buffer = <uint8_t*>malloc(RECEIVE_BYTES)
    reactor.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
    wheel_init(&reactor.wheel, monotonic_ns())
    if (
        mailbox_init(&reactor.mailbox) != 0 or reactor.receive_buffer == NULL or reactor.epoll_fd < 0
        or reactor.shared.codecs == NULL
    ):
        reactor_close(reactor)
        free(reactor)
        return NULL
    return reactor


cdef void reactor_close(ReactorState* reactor) noexcept nogil:
    """Give everything back but the struct itself: a late wake may still look at it."""
    if reactor.epoll_fd >= 0:
        close(reactor.epoll_fd)
    reactor.epoll_fd = -1
    free(reactor.receive_buffer)
    reactor.receive_buffer = NULL
    free(reactor.session_buffer)
    reactor.session_buffer = NULL
    if reactor.shared.codecs != NULL:
        codecs_free(reactor.shared.codecs)
    reactor.shared.codecs = NULL
    writer_free(&reactor.shared.scratch)
    send_context_free(&reactor.send)


cdef void* reactor_run(void* argument) noexcept nogil:
    global this_thread_reactor
    cdef ReactorState* reactor = <ReactorState*>argument
    cdef epoll_event[EVENTS_MAX] events
    cdef epoll_event bell
    cdef Connection* connection
    block_all_signals()
    name_this_thread("reactor", reactor.shared.id)
    this_thread_reactor = reactor
    bell.events = EPOLLIN
    bell.data.ptr = &reactor.mailbox_kind
    epoll_ctl(reactor.epoll_fd, EPOLL_CTL_ADD, reactor.mailbox.event_fd, &bell)
    listeners_watch(reactor, True)
    while True:
        turn(reactor, events)
        if atomic_load_i32(&reactor.network.stopping):
            if not reactor.draining:
                drain(reactor)
            if reactor.idle_first == NULL or reactor.shared.now_ns >= reactor.network.drain_deadline_ns:
                break
    connection = reactor.idle_first
    while connection != NULL:
        connection_mark_dead(reactor, connection)
        connection = connection.next
    destroy_dead(reactor)
    while reactor.jobs:                 # they use memory of this reactor's requests
        usleep(JOB_RETRY_US)
        handle_mail(reactor)
        destroy_dead(reactor)
    counter_set(&reactor.counters.activity, ACTIVITY_STOPPED)
    return NULL


cdef void reactor_discard_mail(ReactorState* reactor) noexcept nogil:
    """What came after the reactor's thread ended; then its memory is given back."""
    cdef int64_t count = mailbox_take(&reactor.mailbox)
    cdef Mail* mail
    cdef int64_t i
    for i in range(count):
        mail = &reactor.mailbox.taken[i]
        if mail.kind == MAIL_WAKE:
            partition_release(<Partition*>mail.pointer)
        elif mail.kind == MAIL_CONNECTION:
            close((<Connection*>mail.pointer).fd)
            free(mail.pointer)
    complete_all(reactor)
    reactor_close(reactor)
