"""A reactor: the event loop of one thread that accepts, reads, handles, wakes and responds without the GIL.

One turn handles every ready socket, then the partitions that advanced, then sends. A busy connection costs one receive
and one send per turn, however many requests it pipelines. Connections are destroyed only at the end of a turn, so no
pointer becomes stale while in use, and DESTROYED_MAX in one turn, because the session of each costs OpenSSL some 20 us.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc

from kafka_cy.base.atomics cimport (
    atomic_exchange_u64, atomic_load_i32, atomic_load_seq_i64, atomic_store_pointer, counter_add, counter_set,
)
from kafka_cy.base.clock cimport monotonic_ns, ticks_now, wall_clock_ms
from kafka_cy.base.posix cimport (
    EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD,
    block_all_signals, close, epoll_create1, epoll_ctl, epoll_event, epoll_wait, read,
)
from kafka_cy.base.thread_name cimport name_this_thread
from kafka_cy.network.accept cimport accept_again, accept_some, listeners_watch
from kafka_cy.network.connection cimport (
    KIND_CONNECTION, KIND_MAILBOX, PAUSE_HELD, PAUSE_JOBS, PAUSE_MEMORY, PAUSE_PARKED, PAUSE_THROTTLED, PAUSE_TURN, Connection,
    connection_advance, connection_flush, send_context_free,
)
from kafka_cy.network.authentication cimport authentication_expired
from kafka_cy.network.completion cimport complete_all
from kafka_cy.network.connection_lifetime cimport connection_active, connection_destroy, connection_register, idle_again
from kafka_cy.network.connection_quotas cimport close_excess, excess_announced
from kafka_cy.network.counters cimport ACTIVITY_RECEIVING, ACTIVITY_SENDING, ACTIVITY_STOPPED, ACTIVITY_WAITING
from kafka_cy.network.handshakes cimport in_handshake
from kafka_cy.network.job_places cimport job_passed, job_set_aside, jobs_have_room
from kafka_cy.network.jobs cimport Job, job_done, jobs_begin_missing, jobs_cancel
from kafka_cy.network.mailbox cimport (
    MAIL_CONNECTION, MAIL_JOB, MAIL_WAKE, Mail, mailbox_init, mailbox_take, mailbox_waits,
)
from kafka_cy.network.parked cimport parked_after_hold, parked_expire, parked_expire_connection
from kafka_cy.network.reactor_state cimport (
    Listener, NetworkState, ReactorState, connection_fail, connection_mark_dead, connection_mark_dirty,
)
from kafka_cy.network.receive cimport (
    RECEIVE_BYTES, connection_pauses, connection_receive, connection_resume, image_refresh, session_ended,
)
from kafka_cy.network.request_memory cimport (
    STALLED_CHECK_NS, close_stalled, memory_held, responses_exceeded, responses_share, retry_later, retry_next_turn, retry_some,
)
from kafka_cy.network.slow_requests cimport slow_request, slow_threshold_refresh
from kafka_cy.network.throttle cimport refused_close, refused_close_all, throttle_ended, throttle_give_up
from kafka_cy.network.timer_wheel cimport (
    TIMER_AUTHENTICATION, TIMER_REFUSED, TIMER_THROTTLE, TIMER_WATCH_SET, Timer, wheel_expire, wheel_init, wheel_timeout_ms,
)
from kafka_cy.network.tracing cimport trace_end, trace_free
from kafka_cy.network.wakes cimport handle_wakes, local_wake_add, wakes_are_local
from kafka_cy.network.watch_set cimport watch_set_expire
from kafka_cy.records.compression cimport codecs_free, codecs_new
from kafka_cy.records.wire cimport writer_free, writer_init
from kafka_cy.storage.partition cimport Partition, partition_release

cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int us) noexcept

cdef enum:
    EVENTS_MAX = 256
    DESTROYED_MAX = 50              # connections that end in one turn: about a millisecond
    DRAIN_RETRY_MS = 10
    JOB_RETRY_US = 1000
    UNPACK_BYTES_MAX = 1 << 20      # decompressed in one turn: about a millisecond
    SCRATCH_BYTES_MAX = 1073741824
    SCRATCH_KEPT_BYTES = 4194304


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
    """Whether reading can continue only when the socket accepts (handshake) bytes."""
    return connection.session != NULL and connection.session.wants_write


cdef void update_events(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef epoll_event event
    cdef uint32_t wanted = 0
    if connection.handshake != NULL:
        return                          # not watched until its job ends
    # A connection that is handled again in the next turn keeps its events, which saves two system calls.
    if not connection.pauses & ~PAUSE_TURN and not connection.closing and not reactor.draining:
        wanted |= EPOLLOUT if wants_write(connection) else EPOLLIN
    elif not connection.client_gone:
        wanted |= EPOLLRDHUP
    if connection.send_blocked:
        wanted |= EPOLLOUT
    if wanted == connection.events:
        return
    event.events = wanted
    event.data.ptr = connection
    connection.events = wanted
    if epoll_ctl(reactor.epoll_fd, EPOLL_CTL_MOD, connection.fd, &event) != 0:
        connection_mark_dead(reactor, connection)


cdef bint left_alone(Connection* connection) noexcept nogil:
    """Whether the client is gone and its connection waits only for jobs whose responses nobody would read."""
    if not connection.client_gone or connection.held_unanswered or in_handshake(connection):
        return False
    if connection.pauses & PAUSE_JOBS:
        return connection.response_awaited
    return connection.held != 0


cdef void client_left(ReactorState* reactor, Connection* connection) noexcept nogil:
    """The client closed a connection that is not read at the moment.

    A request that waits for a job ends, unless it has no response (acks=0). Requests that wait for something else are
    answered now: what the client sent after them is then handled, and reading meets the end of the stream.
    """
    if left_alone(connection):
        connection_mark_dead(reactor, connection)
    else:
        parked_expire_connection(reactor, connection)


cdef void connection_broken(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Nothing more can be sent or received. A request that has no response (acks=0) is completed first, and a handshake that is
    held back has its turn, since the client may have said why it left: until then epoll, which would report the error again and
    again, does not watch the socket."""
    if connection.held_unanswered == 0 and not (connection.held_back and in_handshake(connection)):
        connection_mark_dead(reactor, connection)
        return
    connection.client_gone = True
    # Also with `events` 0: epoll reports a broken connection even then.
    epoll_ctl(reactor.epoll_fd, EPOLL_CTL_DEL, connection.fd, NULL)
    connection.events = 0               # when it would be read again, update_events fails and the connection dies


cdef void resume_in_time(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Handle what was kept of a connection that is no longer paused.

    Many connections may become ready together. After about a millisecond the others wait for the next turn, in their order.
    """
    cdef int64_t begun
    if reactor.resumed_ticks > reactor.consume_ticks_max:
        # A request that was held back keeps its right to the next room in the job queue.
        connection.pauses = PAUSE_JOBS if connection.held_back else PAUSE_TURN
        connection.paused_ticks = reactor.turn_ticks
        counter_add(&reactor.counters.paused, 1)
        retry_next_turn(reactor, connection)
        return
    begun = ticks_now()
    connection_resume(reactor, connection)
    reactor.resumed_ticks += ticks_now() - begun


cdef void settle(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Send completed responses, resume a paused connection, close a finished one."""
    cdef int result
    if connection.pauses & PAUSE_HELD and not connection.held:
        parked_after_hold(reactor, connection)
        if connection.dead:
            return
    connection_advance(&reactor.send, connection)
    result = connection_flush(&reactor.send, connection)
    responses_share(reactor, connection)
    if result < 0:
        if connection.session != NULL and connection.session.failure[0]:
            session_ended(reactor, connection)
        else:
            connection_broken(reactor, connection)
        return
    if result == 1 and not connection.send_blocked:
        connection.responses_checked_ns = reactor.shared.now_ns     # from now on it may stall (responses_stall)
        connection.responses_checked_bytes = connection.sent_bytes
    connection.send_blocked = result == 1
    if connection.send_blocked and responses_exceeded(reactor, connection):
        connection_fail(
            reactor, connection, -1, "closed: its responses are not read, and kafkacy.queued.max.response.bytes has been reached"
        )
        return
    if connection.send_first == NULL and (
        connection.ended or (connection.slots_first == NULL and (connection.closing or reactor.draining))
    ):
        connection_mark_dead(reactor, connection)
        return
    if connection.client_gone and connection.pauses & PAUSE_THROTTLED:
        throttle_give_up(reactor, connection)
    if connection.pauses and not connection.closing and not reactor.draining:
        connection.pauses = connection_pauses(reactor, connection)
        if connection.pauses == 0:
            resume_in_time(reactor, connection)         # may make it dirty again
            if connection.dead:
                return
        if connection.pauses & PAUSE_TURN:
            retry_next_turn(reactor, connection)
        elif connection.pauses & (PAUSE_MEMORY | PAUSE_PARKED) or connection.pauses == PAUSE_JOBS:
            retry_later(reactor, connection)
    if connection.closing:
        if connection.held_back:
            job_passed(connection)
    elif connection.held_back or connection.pauses & PAUSE_JOBS:
        job_set_aside(connection, connection.pauses & ~PAUSE_JOBS != 0)
    if connection.client_gone:
        client_left(reactor, connection)
        if connection.dead:
            return
    update_events(reactor, connection)


cdef void settle_all(ReactorState* reactor) noexcept nogil:
    """Repeat until stable: wakes complete responses, sending them resumes reading, reading appends, appends wake."""
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
    cdef int i
    for i in range(DESTROYED_MAX):  # no-cython-lint
        connection = reactor.dead_first
        if connection == NULL:
            break
        reactor.dead_first = connection.dead_next
        if reactor.dead_first == NULL:
            reactor.dead_last = NULL
        connection_destroy(reactor, connection)
    reactor.dead_left = reactor.dead_first != NULL


cdef void destroy_all_dead(ReactorState* reactor) noexcept nogil:
    while reactor.dead_first != NULL:
        destroy_dead(reactor)


cdef void handle_event(ReactorState* reactor, epoll_event* event) noexcept nogil:
    cdef Connection* connection
    cdef uint64_t drained
    cdef int32_t kind = (<int32_t*>event.data.ptr)[0]
    if kind == KIND_CONNECTION:
        connection = <Connection*>event.data.ptr
        if connection.dead:             # since an earlier turn: it would be reported in each, in the place of another one
            epoll_ctl(reactor.epoll_fd, EPOLL_CTL_DEL, connection.fd, NULL)
            return
        connection_active(reactor, connection)
        if event.events & EPOLLOUT:
            connection_mark_dirty(reactor, connection)
        if not connection.pauses and not connection.closing and (event.events & EPOLLIN or wants_write(connection)):
            connection_receive(reactor, connection)
        elif event.events & (EPOLLERR | EPOLLHUP):
            connection_broken(reactor, connection)
        elif event.events & EPOLLRDHUP:
            connection.client_gone = True
            connection_mark_dirty(reactor, connection)
    elif kind == KIND_MAILBOX:
        read(reactor.mailbox.event_fd, &drained, 8)
    elif not reactor.draining:
        accept_some(reactor, <Listener*>event.data.ptr)


cdef void close_idle(ReactorState* reactor) noexcept nogil:
    cdef Connection* connection
    if reactor.network.idle_timeout_ns <= 0 or reactor.dead_left:
        return                          # those that are left are among the first ones of the list
    connection = reactor.idle_first
    while connection != NULL and reactor.shared.now_ns - connection.active_ns >= reactor.network.idle_timeout_ns:
        if (connection.slots_count or connection.pauses & ~PAUSE_THROTTLED) and not connection.send_blocked:
            idle_again(reactor, connection)         # the client waits for us: for a response, or to be read again
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
    """Return how long epoll may sleep: until the next deadline; -1: forever."""
    cdef int timeout = wheel_timeout_ms(&reactor.wheel, reactor.shared.now_ns)
    cdef int64_t idle_ms
    cdef int64_t accepts_ms
    if reactor.retry_now or reactor.dead_left:
        return 0
    if reactor.retry_first != NULL and (timeout < 0 or timeout > reactor.network.retry_ms):
        timeout = reactor.network.retry_ms
    if memory_held(reactor) and (timeout < 0 or timeout > STALLED_CHECK_NS // 1000000):
        timeout = STALLED_CHECK_NS // 1000000
    if reactor.draining and (timeout < 0 or timeout > DRAIN_RETRY_MS):
        timeout = DRAIN_RETRY_MS
    if reactor.accepts_again_ns:
        accepts_ms = max((reactor.accepts_again_ns - reactor.shared.now_ns + 999999) // 1000000, 0)
        if timeout < 0 or timeout > accepts_ms:
            timeout = <int>accepts_ms
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
    atomic_exchange_u64(&reactor.mailbox.sleeping, 1)       # before the last check: a later post wakes us
    if mailbox_waits(&reactor.mailbox) or atomic_load_seq_i64(<int64_t*>&reactor.job_room) or excess_announced(reactor):
        timeout = 0
    count = epoll_wait(reactor.epoll_fd, events, EVENTS_MAX, timeout)
    atomic_exchange_u64(&reactor.mailbox.sleeping, 0)
    reactor.shared.now_ns = monotonic_ns()
    reactor.shared.now_ms = wall_clock_ms()
    reactor.shared.unpack_bytes = UNPACK_BYTES_MAX
    reactor.turn_ticks = ticks_now()
    reactor.ticks = reactor.turn_ticks
    reactor.resumed_ticks = 0
    counter_set(&reactor.counters.turn_ns, reactor.shared.now_ns)
    counter_set(&reactor.counters.activity, ACTIVITY_RECEIVING)
    if reactor.shared.now_ns >= reactor.slow_check_ns:
        slow_threshold_refresh(reactor)
    image_refresh(reactor)
    return count


cdef void timers_expire(ReactorState* reactor) noexcept nogil:
    cdef Timer* timer = wheel_expire(&reactor.wheel, reactor.shared.now_ns)
    while timer != NULL:
        if timer.kind == TIMER_THROTTLE:
            throttle_ended(reactor, timer)
        elif timer.kind == TIMER_REFUSED:
            refused_close(reactor, timer)
        elif timer.kind == TIMER_AUTHENTICATION:
            authentication_expired(reactor, timer)
        elif timer.kind == TIMER_WATCH_SET:
            watch_set_expire(reactor, timer)
        else:
            parked_expire(reactor, timer)
        timer = wheel_expire(&reactor.wheel, reactor.shared.now_ns)


cdef void turn(ReactorState* reactor, epoll_event* events) noexcept nogil:
    cdef int count = wait(reactor, events)
    cdef int i
    handle_mail(reactor)
    if atomic_load_seq_i64(<int64_t*>&reactor.job_room):
        jobs_have_room(reactor)
    for i in range(count):
        handle_event(reactor, &events[i])
    if reactor.wheel.count:
        timers_expire(reactor)
    accept_again(reactor)
    settle_all(reactor)
    if reactor.retry_first != NULL:
        reactor.resumed_ticks = 0       # its own share, so that the first half of the turn cannot starve it
        retry_some(reactor)
        settle_all(reactor)
    close_idle(reactor)
    if reactor.shared.now_ns >= reactor.stalled_check_ns:
        reactor.stalled_check_ns = reactor.shared.now_ns + STALLED_CHECK_NS
        if memory_held(reactor):
            close_stalled(reactor)
        jobs_begin_missing()
    if excess_announced(reactor):
        close_excess(reactor)
    destroy_dead(reactor)
    if reactor.shared.scratch.capacity > SCRATCH_KEPT_BYTES:
        writer_free(&reactor.shared.scratch)
    counter_add(&reactor.counters.loops, 1)
    counter_add(&reactor.counters.busy_ticks, ticks_now() - reactor.turn_ticks)


cdef void drain(ReactorState* reactor) noexcept nogil:
    """Stop was requested: stop accepting and reading; answer waiting requests now."""
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
    reactor.shared.slow_append_ticks = 0x7fffffffffffffff
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
    """Free everything but the struct itself: a late wake may still read it."""
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
    cdef ReactorState* reactor = <ReactorState*>argument
    cdef epoll_event[EVENTS_MAX] events
    cdef epoll_event bell
    cdef Connection* connection
    block_all_signals()
    name_this_thread("reactor", reactor.shared.id)
    wakes_are_local(reactor)
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
    destroy_all_dead(reactor)
    refused_close_all(reactor)
    jobs_cancel(&reactor.shared)
    while reactor.jobs:                 # jobs that run use memory of this reactor's requests
        usleep(JOB_RETRY_US)
        handle_mail(reactor)
        destroy_all_dead(reactor)
    counter_set(&reactor.counters.activity, ACTIVITY_STOPPED)
    return NULL


cdef void reactor_discard_mail(ReactorState* reactor) noexcept nogil:
    """Discard mail that came after the reactor's thread ended, then free the reactor's memory."""
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
