"""The loop of the native load generator: schedules requests, waits for responses, and ends the load."""
from libc.stdint cimport int32_t, int64_t, uint32_t

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_store_i32
from kafka_cy.base.clock cimport monotonic_ns, thread_cpu_ns
from kafka_cy.base.posix cimport (
    EPOLLET, EPOLLIN, EPOLLOUT, EPOLL_CTL_ADD, epoll_ctl, epoll_event, epoll_wait_ns, exact_timers,
)
from kafka_cy.bench.histogram cimport histogram_record
from kafka_cy.bench.native_requests cimport fill
from kafka_cy.bench.native_responses cimport receive
from kafka_cy.bench.native_state cimport (
    KIND_TAIL, LOAD_CLOSED, LOAD_DONE, LOAD_RUNNING, LOAD_SILENT, LOAD_STOPPED, TRACK_RING, Connection, Load, all_started,
    due_ns,
)

cdef enum:
    EVENTS_MAX = 256
    WAIT_NS_MAX = 20000000          # limits the delay until a stop is noticed
    SPIN_NS_MAX = 100000            # how late a timer may fire
    SPIN_SHARE = 10                 # at most one part in ten of the time between requests is spent spinning


cdef bint drained(const Load* load) noexcept nogil:
    """Whether every due request has been answered (and, end to end, every batch has been read)."""
    cdef int32_t i
    cdef const Connection* c
    for i in range(load.connections_count):
        c = load.connections[i]
        if c.track != NULL and c.track.seen < c.track.sent:
            return False
        if c.kind == KIND_TAIL:
            continue
        if c.next_id != c.response_id:
            return False
        if load.step_ns and due_ns(load, c.tick) < load.end_ns and not all_started(load):
            return False
    return True


cdef void count_unanswered(Load* load, int64_t now) noexcept nogil:
    """Count the requests that got no response, with the time that they have waited."""
    cdef int32_t i
    cdef int64_t started
    cdef Connection* c
    for i in range(load.connections_count):
        c = load.connections[i]
        if c.kind == KIND_TAIL:
            if c.track != NULL:
                while c.track.seen < c.track.sent:
                    started = c.track.intended_ns[c.track.seen % TRACK_RING]
                    c.track.seen += 1
                    if started >= load.measure_ns:
                        histogram_record(load.histogram, now - started)
                        load.unanswered += 1
            continue
        while c.response_id != c.next_id:
            started = c.started_ns[c.response_id & c.ring_mask]
            c.response_id += 1
            if started >= load.measure_ns and not load.end_to_end:
                histogram_record(load.histogram, now - started)
                load.unanswered += 1
        while load.step_ns and due_ns(load, c.tick) < load.end_ns and not all_started(load):
            started = due_ns(load, c.tick)
            c.tick += load.paced_count
            if started >= load.measure_ns:
                histogram_record(load.histogram, now - started)
                load.unanswered += 1
    load.errors += load.unanswered


cdef int run_loop(Load* load) noexcept nogil:
    """Run until the load ends. Returns the final status."""
    cdef epoll_event events[EVENTS_MAX]
    cdef epoll_event event
    cdef int32_t i
    cdef int n, status
    cdef int64_t now, wait, next_due
    cdef int64_t spin = min(<int64_t>SPIN_NS_MAX, <int64_t>load.step_ns // SPIN_SHARE)
    cdef Connection* c
    for i in range(load.connections_count):
        event.events = <uint32_t>(EPOLLIN | EPOLLOUT | EPOLLET)
        event.data.ptr = load.connections[i]
        if epoll_ctl(load.epoll_fd, EPOLL_CTL_ADD, load.connections[i].fd, &event):
            return LOAD_CLOSED
    while True:
        now = monotonic_ns()
        if atomic_load_i32(&load.stop):
            return LOAD_STOPPED
        if not load.cpu_begin_ns and now >= load.measure_ns:
            load.cpu_begin_ns = thread_cpu_ns()
        if all_started(load) and load.end_ns > now:
            load.end_ns = now
        if now >= load.end_ns:
            if drained(load):
                return LOAD_DONE
            if now >= load.end_ns + load.drain_ns:
                count_unanswered(load, now)
                return LOAD_DONE
        if now - load.last_response_ns > load.response_timeout_ns and not drained(load):
            return LOAD_SILENT
        wait = WAIT_NS_MAX
        if load.step_ns and load.paced_count:
            while True:
                next_due = due_ns(load, load.tick)
                if next_due > now or next_due >= load.end_ns:
                    break
                if fill(load, load.paced[load.tick % load.paced_count], now) < 0:
                    return LOAD_CLOSED
                load.tick += 1
            if next_due > now and next_due - now < wait:
                wait = max(next_due - now - spin, 0)    # spin for the rest, because a timer would fire late
        n = epoll_wait_ns(load.epoll_fd, events, EVENTS_MAX, wait)
        for i in range(n):
            c = <Connection*>events[i].data.ptr
            if events[i].events & ~<uint32_t>EPOLLOUT:
                status = receive(load, c)
                if status != LOAD_RUNNING:
                    return status
            if fill(load, c, monotonic_ns()) < 0:
                return LOAD_CLOSED


cdef void load_run(Load* load) noexcept nogil:
    """Run the load in this thread, and set its final status and times."""
    cdef int status
    exact_timers()
    status = run_loop(load)
    load.finished_ns = load.last_response_ns if status == LOAD_DONE and not load.unanswered else monotonic_ns()
    if load.cpu_begin_ns:
        load.cpu_ns = thread_cpu_ns() - load.cpu_begin_ns
    atomic_store_i32(&load.status, status)
