"""The native load generator: replays pre-encoded requests over many connections from one thread, without the GIL.

A closed loop keeps each connection's requests in flight (`depth`); with a rate, request k of the whole load is due at
begin + k / rate whatever the broker does, and its latency counts from then: a broker that stalls is charged for every
request that was due meanwhile (no coordinated omission). What is due but still unanswered when the load ends is waited
for, and counted as an error with the time waited so far when it never comes.

Answers are parsed as they stream in: error codes are checked, the batches of fetches are walked and their records
counted; nothing is stored. Limits: 1024 requests in flight a connection, no acks=0 (there would be no answers).
"""
import socket

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove, memset

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_load_i64, atomic_store_i32, atomic_store_i64
from kafka_cy.base.clock cimport monotonic_ns, thread_cpu_ns
from kafka_cy.base.posix cimport (
    EPOLLET, EPOLLIN, EPOLLOUT, EPOLL_CLOEXEC, EPOLL_CTL_ADD, MSG_NOSIGNAL, close, epoll_create1, epoll_ctl, epoll_event,
    epoll_wait_ns, exact_timers, iovec, msghdr, recv, send, sendmsg,
)
from kafka_cy.bench.histogram cimport Histogram, LatencyHistogram, histogram_record
from kafka_cy.records.batch cimport BATCH_HEADER_SIZE, LENGTH_AT, LOG_OVERHEAD, RECORDS_COUNT_AT, LAST_OFFSET_DELTA_AT
from kafka_cy.records.wire cimport load_be16, load_be32, load_be64, store_be32, store_be64

from kafka_cy.bench.requests import fetch_request, produce_head

cdef enum:
    DEPTH_MAX = 1024
    SMALL_REQUEST_BYTES = 4096      # smaller requests leave together
    OUT_BYTES_MAX = 65536
    RECEIVE_BYTES = 262144          # stays in the second-level cache
    EVENTS_MAX = 256
    WAIT_NS_MAX = 20000000          # a stop is seen by then
    SPIN_NS_MAX = 100000            # how late a timer may fire
    SPIN_SHARE = 10                 # of the time between requests one part is spun through at most
    CONNECT_TIMEOUT_S = 5
    CORRELATION_ID_AT = 8

STATUS_NAMES = {
    LOAD_READY: "ready", LOAD_RUNNING: "running", LOAD_DONE: "done", LOAD_STOPPED: "stopped", LOAD_CLOSED: "closed",
    LOAD_SILENT: "silent", LOAD_CONFUSED: "confused",
}


cdef struct Load:
    # Owner: the thread in run(); `stop`, `status`, counters and the histogram may be looked at by others.
    Connection** connections
    int32_t connections_count
    Connection** paced              # those that the schedule feeds
    int32_t paced_count
    int epoll_fd
    uint8_t* input                  # CARRY_BYTES, then room for RECEIVE_BYTES
    double step_ns                  # 0: a closed loop
    int64_t tick
    int64_t begin_ns
    int64_t measure_ns              # requests due from here on count
    int64_t end_ns                  # nothing is due from here on
    int64_t drain_ns
    int64_t answer_timeout_ns
    int64_t requests_max            # 0: no limit
    int64_t requests_started        # in the measured time
    int64_t records_max             # fetched; 0: no limit
    bint end_to_end                 # latencies are those of the tracks
    int32_t stop
    int32_t status
    int64_t last_answer_ns
    int64_t finished_ns
    int64_t cpu_begin_ns
    int64_t cpu_ns
    Histogram* histogram
    int64_t requests
    int64_t records
    int64_t bytes
    int64_t errors
    int64_t unanswered
    int64_t error_counts[ERROR_CODES]


# -- sending --

cdef inline bint sent_whole(Connection* c) noexcept nogil:
    return c.out_at == c.out_size and not c.rest_size


cdef int flush(Connection* c) noexcept nogil:
    """1: nothing is left to send; 0: the socket is full; -1: the connection is gone."""
    cdef ssize_t n
    cdef iovec parts[2]
    cdef msghdr message
    cdef int64_t of_out
    while not sent_whole(c):
        if c.rest_size:
            parts[0].iov_base = c.out + c.out_at
            parts[0].iov_len = <size_t>(c.out_size - c.out_at)
            parts[1].iov_base = <void*>c.rest
            parts[1].iov_len = <size_t>c.rest_size
            memset(&message, 0, sizeof(msghdr))
            message.msg_iov = &parts[0]
            message.msg_iovlen = 2
            n = sendmsg(c.fd, &message, MSG_NOSIGNAL)
        else:
            n = send(c.fd, c.out + c.out_at, <size_t>(c.out_size - c.out_at), MSG_NOSIGNAL)
        if n < 0:
            if errno == EAGAIN:
                return 0
            if errno == EINTR:
                continue
            return -1
        of_out = min(<int64_t>n, c.out_size - c.out_at)
        c.out_at += of_out
        c.rest += n - of_out
        c.rest_size -= n - of_out
    c.out_at = 0
    c.out_size = 0
    return 1


cdef inline int64_t due_ns(const Load* load, int64_t tick) noexcept nogil:
    return load.begin_ns + <int64_t>(<double>tick * load.step_ns)


cdef inline bint all_started(const Load* load) noexcept nogil:
    return load.requests_max and load.requests_started >= load.requests_max


cdef inline bint may_start(const Load* load, const Connection* c, int64_t now) noexcept nogil:
    """Whether this connection's next request may go out now."""
    if <int32_t>(c.next_id - c.answer_id) >= c.depth:
        return False
    if c.stage != STAGE_HEAD and (c.kind == KIND_FETCH or c.kind == KIND_TAIL):
        return False                    # only the end of an answer says what to fetch next
    if c.track != NULL and c.kind == KIND_PRODUCE and c.track.sent - c.track.seen >= TRACK_RING:
        return False
    if c.kind == KIND_TAIL:
        return True
    if all_started(load):
        return False
    if load.step_ns:
        return due_ns(load, c.tick) <= now and due_ns(load, c.tick) < load.end_ns
    return now < load.end_ns


cdef bint request_append(Load* load, Connection* c, int64_t now) noexcept nogil:
    """Put the next request behind what is to be sent; False when it has to wait until that has left."""
    cdef Body* body = &c.bodies[c.body_turn] if c.bodies_count else NULL
    cdef int64_t size = c.head_size + (body.size if body != NULL else 0)
    cdef bint small = size <= SMALL_REQUEST_BYTES
    cdef int64_t started = now
    if c.rest_size or c.out_size + (size if small else c.head_size) > c.out_capacity:
        return False
    if load.step_ns and c.kind != KIND_TAIL:
        started = due_ns(load, c.tick)
        c.tick += load.paced_count
    store_be32(c.head, <uint32_t>(size - 4))
    store_be32(c.head + CORRELATION_ID_AT, c.next_id)
    if c.partitions_count:
        store_be32(c.head + c.partition_at, <uint32_t>c.partitions[c.partition_turn])
        c.partition_turn += 1
        if c.partition_turn == c.partitions_count:
            c.partition_turn = 0
    if c.offset_at >= 0:
        store_be64(c.head + c.offset_at, <uint64_t>c.offset)
    if c.kind == KIND_PRODUCE:
        store_be32(c.head + c.head_size - 4, <uint32_t>body.size)
    memcpy(c.out + c.out_size, c.head, <size_t>c.head_size)
    c.out_size += c.head_size
    if body != NULL:
        if small:
            memcpy(c.out + c.out_size, body.data, <size_t>body.size)
            c.out_size += body.size
        else:
            c.rest = body.data
            c.rest_size = body.size
        c.body_turn += 1
        if c.body_turn == c.bodies_count:
            c.body_turn = 0
    if c.track != NULL and c.kind == KIND_PRODUCE:
        c.track.intended_ns[c.track.sent % TRACK_RING] = started
        c.track.sent += 1
    c.started_ns[c.next_id & c.ring_mask] = started
    c.next_id += 1
    if started >= load.measure_ns and c.kind != KIND_TAIL:
        load.requests_started += 1
    return True


cdef int fill(Load* load, Connection* c, int64_t now) noexcept nogil:
    """Send what may be sent; -1: the connection is gone."""
    cdef int sent
    while True:
        while may_start(load, c, now):
            if not request_append(load, c, now):
                break
        if sent_whole(c):
            return 0
        sent = flush(c)
        if sent <= 0:
            return sent


# -- receiving --

cdef inline void error_count(Load* load, int16_t code) noexcept nogil:
    load.errors += 1
    load.error_counts[code if 0 < code < ERROR_CODES else 0] += 1


cdef inline void answered(Load* load, Connection* c, int64_t now, int16_t code) noexcept nogil:
    """The head of an answer has arrived."""
    c.answered_started_ns = c.started_ns[c.answer_id & c.ring_mask]
    c.answer_id += 1
    c.counted = c.answered_started_ns >= load.measure_ns
    load.last_answer_ns = now
    if not c.counted:
        return
    load.requests += 1
    if code:
        error_count(load, code)
    if c.kind != KIND_TAIL and not load.end_to_end:
        histogram_record(load.histogram, now - c.answered_started_ns)


cdef void batch_seen(Load* load, Connection* c, const uint8_t* header, int64_t now) noexcept nogil:
    """A batch that was fetched whole."""
    cdef int64_t offset = <int64_t>load_be64(header)
    cdef int64_t next_offset = offset + <int32_t>load_be32(header + LAST_OFFSET_DELTA_AT) + 1
    cdef int64_t which
    cdef Track* track = c.track
    if next_offset <= c.offset:
        return                      # all of it lies before the wanted offset
    c.offset = next_offset
    if track != NULL:
        which = (offset - track.base_offset) // track.records
        if which != track.seen or which >= track.sent:
            error_count(load, 0)    # not what our producer has sent
            return
        track.seen += 1
        c.counted = track.intended_ns[which % TRACK_RING] >= load.measure_ns
        if c.counted:
            histogram_record(load.histogram, now - track.intended_ns[which % TRACK_RING])
    if c.counted:
        load.records += <int32_t>load_be32(header + RECORDS_COUNT_AT)
        load.bytes += <int32_t>load_be32(header + LENGTH_AT) + LOG_OVERHEAD
        if load.records_max and load.records >= load.records_max and load.end_ns > now:
            load.end_ns = now


cdef bint head_seen(Load* load, Connection* c, const uint8_t* p, int64_t now) noexcept nogil:
    """The head of an answer is whole; False when it belongs to no request."""
    cdef int64_t size = load_be32(p)
    cdef int16_t code = <int16_t>load_be16(p + c.error_at)
    if load_be32(p + 4) != c.answer_id or c.answer_id == c.next_id or size + 4 < c.answer_head_size:
        return False
    c.frame_left = size + 4 - c.answer_head_size
    answered(load, c, now, code)
    if c.kind == KIND_PRODUCE:
        if c.counted and not code:
            load.records += c.bodies[c.answer_body_turn].records
            load.bytes += c.head_size + c.bodies[c.answer_body_turn].size
        c.answer_body_turn += 1
        if c.answer_body_turn == c.bodies_count:
            c.answer_body_turn = 0
    elif c.kind == KIND_FETCH or c.kind == KIND_TAIL:
        c.end_offset = <int64_t>load_be64(p + c.error_at + 2)
        if c.frame_left and not code and load_be32(p + c.answer_head_size - 4) == c.frame_left:
            c.stage = STAGE_BATCH
            return True
    c.skip_left = c.frame_left
    c.stage = STAGE_SKIP
    return True


cdef inline void answer_finish(Connection* c) noexcept nogil:
    c.stage = STAGE_HEAD
    if c.kind == KIND_FETCH and c.offset >= c.end_offset:
        c.offset = c.first_offset


cdef int64_t parse(Load* load, Connection* c, const uint8_t* data, int64_t size, int64_t now) noexcept nogil:
    """Consume answers; how many bytes were used up (the rest is carried over), -1 when an answer makes no sense."""
    cdef int64_t at = 0, taken, batch
    while True:
        if c.stage == STAGE_HEAD:
            if size - at < c.answer_head_size:
                return at
            if not head_seen(load, c, data + at, now):
                return -1
            at += c.answer_head_size
        elif c.stage == STAGE_BATCH:
            if c.frame_left < BATCH_HEADER_SIZE:
                c.skip_left = c.frame_left      # the cut end
            elif size - at < BATCH_HEADER_SIZE:
                return at
            else:
                batch = <int64_t>load_be32(data + at + LENGTH_AT) + LOG_OVERHEAD
                if batch <= c.frame_left and batch >= BATCH_HEADER_SIZE:
                    batch_seen(load, c, data + at, now)
                    c.skip_left = batch
                else:
                    c.skip_left = c.frame_left
            c.stage = STAGE_SKIP
        if c.stage == STAGE_SKIP:
            taken = min(c.skip_left, size - at)
            at += taken
            c.skip_left -= taken
            c.frame_left -= taken
            if c.skip_left:
                return at
            if c.frame_left:
                c.stage = STAGE_BATCH
            else:
                answer_finish(c)


cdef int receive(Load* load, Connection* c) noexcept nogil:
    """Take what has arrived. LOAD_RUNNING, or how the load ends."""
    cdef ssize_t n
    cdef int64_t used, size
    cdef uint8_t* start
    while True:
        start = load.input + CARRY_BYTES - c.carry_size
        n = recv(c.fd, load.input + CARRY_BYTES, RECEIVE_BYTES, 0)
        if n < 0:
            if errno == EAGAIN:
                return LOAD_RUNNING
            if errno == EINTR:
                continue
            return LOAD_CLOSED
        if n == 0:
            return LOAD_CLOSED
        memcpy(start, c.carry, <size_t>c.carry_size)
        size = c.carry_size + n
        used = parse(load, c, start, size, monotonic_ns())
        if used < 0:
            return LOAD_CONFUSED
        c.carry_size = <int32_t>(size - used)
        memmove(c.carry, start + used, <size_t>c.carry_size)
        if n < RECEIVE_BYTES:
            return LOAD_RUNNING


# -- the loop --

cdef bint drained(const Load* load) noexcept nogil:
    """Whether everything that was due has been answered (and, end to end, has been read)."""
    cdef int32_t i
    cdef const Connection* c
    for i in range(load.connections_count):
        c = load.connections[i]
        if c.track != NULL and c.track.seen < c.track.sent:
            return False
        if c.kind == KIND_TAIL:
            continue
        if c.next_id != c.answer_id:
            return False
        if load.step_ns and due_ns(load, c.tick) < load.end_ns and not all_started(load):
            return False
    return True


cdef void count_unanswered(Load* load, int64_t now) noexcept nogil:
    """What never was answered counts with the time that it has waited."""
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
        while c.answer_id != c.next_id:
            started = c.started_ns[c.answer_id & c.ring_mask]
            c.answer_id += 1
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
    """Until the load ends; how it ended."""
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
        if now - load.last_answer_ns > load.answer_timeout_ns and not drained(load):
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
                wait = max(next_due - now - spin, 0)    # the rest in turns of this loop: a timer would be late
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
    cdef int status
    exact_timers()
    status = run_loop(load)
    load.finished_ns = load.last_answer_ns if status == LOAD_DONE and not load.unanswered else monotonic_ns()
    if load.cpu_begin_ns:
        load.cpu_ns = thread_cpu_ns() - load.cpu_begin_ns
    atomic_store_i32(&load.status, status)


# -- for Python --

cdef class NativeLoad:
    """One load: add connections, then `run` (blocks; call it in a thread of its own), while others watch.

    `rate_per_s` is of requests in all (0: closed loop); `requests_max` (sent) and `records_max` (fetched) 0: no limit.
    OSError from the `add_` methods when the broker cannot be reached. The bytes given are kept until the load is gone.
    """

    cdef Load load
    cdef list kept
    cdef list listed
    cdef LatencyHistogram latency

    def __cinit__(
        self, *, double duration_s, double warm_up_s=0.0, double rate_per_s=0.0, int64_t requests_max=0,
        int64_t records_max=0, double drain_timeout_s=10.0, double answer_timeout_s=30.0, bint end_to_end=False,
    ):
        self.kept = []
        self.latency = LatencyHistogram()
        self.load.histogram = self.latency.data
        self.load.step_ns = 1e9 / rate_per_s if rate_per_s > 0 else 0.0
        self.load.requests_max = requests_max
        self.load.records_max = records_max
        self.load.measure_ns = <int64_t>(warm_up_s * 1e9)
        self.load.end_ns = <int64_t>((warm_up_s + duration_s) * 1e9)
        self.load.drain_ns = <int64_t>(drain_timeout_s * 1e9)
        self.load.answer_timeout_ns = <int64_t>(answer_timeout_s * 1e9)
        self.load.end_to_end = end_to_end
        self.load.status = LOAD_READY
        self.load.input = <uint8_t*>malloc(CARRY_BYTES + RECEIVE_BYTES)
        self.load.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.load.input == NULL or self.load.epoll_fd < 0:
            raise MemoryError

    def __dealloc__(self):
        cdef int32_t i
        for i in range(self.load.connections_count):
            connection_free(self.load.connections[i])
        free(self.load.connections)
        free(self.load.paced)
        free(self.load.input)
        if self.load.epoll_fd > 0:
            close(self.load.epoll_fd)

    cdef Connection* connect(self, address, LoadKind kind, head, int32_t depth, int64_t body_size) except NULL:
        """A connected connection at the list's end."""
        cdef Connection* c
        cdef Connection** grown
        cdef int64_t request_size = len(head.data) + body_size
        cdef uint32_t ring = 1
        if not 1 <= depth <= DEPTH_MAX:
            raise ValueError(f"requests in flight must be 1 to {DEPTH_MAX}, not {depth}")
        if head.answer_head_size > CARRY_BYTES:
            raise ValueError("the topic's name is too long")
        connected = socket.create_connection(address, timeout=CONNECT_TIMEOUT_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setblocking(False)
        while ring < <uint32_t>depth:
            ring *= 2
        c = <Connection*>calloc(1, sizeof(Connection))
        grown = <Connection**>calloc(self.load.connections_count + 1, sizeof(Connection*))
        if c == NULL or grown == NULL:
            free(c)
            free(grown)
            raise MemoryError
        memcpy(grown, self.load.connections, self.load.connections_count * sizeof(Connection*))
        free(self.load.connections)
        self.load.connections = grown
        self.load.connections[self.load.connections_count] = c
        self.load.connections_count += 1
        c.fd = connected.detach()
        c.kind = kind
        c.depth = depth
        c.ring_mask = ring - 1
        c.started_ns = <int64_t*>calloc(ring, sizeof(int64_t))
        c.head_size = len(head.data)
        c.head = <uint8_t*>malloc(c.head_size)
        if request_size <= SMALL_REQUEST_BYTES:
            c.out_capacity = max(request_size, min(<int64_t>OUT_BYTES_MAX, request_size * depth))
        else:
            c.out_capacity = c.head_size
        c.out = <uint8_t*>malloc(c.out_capacity)
        if c.started_ns == NULL or c.head == NULL or c.out == NULL:
            raise MemoryError
        memcpy(c.head, <const char*>head.data, c.head_size)
        c.partition_at = head.partition_at
        c.offset_at = head.offset_at
        c.error_at = head.error_at
        c.answer_head_size = head.answer_head_size
        if kind != KIND_TAIL:
            grown = <Connection**>calloc(self.load.paced_count + 1, sizeof(Connection*))
            if grown == NULL:
                raise MemoryError
            memcpy(grown, self.load.paced, self.load.paced_count * sizeof(Connection*))
            free(self.load.paced)
            self.load.paced = grown
            self.load.paced[self.load.paced_count] = c
            c.tick = self.load.paced_count
            self.load.paced_count += 1
        return c

    def add_produce(
        self, address, str topic, partitions, bodies, *, int32_t records, int32_t depth=1, int16_t acks=1,
        int32_t timeout_ms=30000,
    ):
        """A connection that produces `bodies` (batches of `records` records and of one size) to `partitions` in turn."""
        cdef Connection* c
        cdef int32_t i
        if acks == 0:
            raise ValueError("acks=0 has no answers to measure")
        c = self.connect(address, KIND_PRODUCE, produce_head(topic, acks, timeout_ms), depth, max(map(len, bodies)))
        c.partitions = <int32_t*>calloc(len(partitions), sizeof(int32_t))
        c.bodies = <Body*>calloc(len(bodies), sizeof(Body))
        if c.partitions == NULL or c.bodies == NULL:
            raise MemoryError
        for partition in partitions:
            c.partitions[c.partitions_count] = partition
            c.partitions_count += 1
        self.kept.append(bodies)
        for i in range(len(bodies)):
            c.bodies[i] = Body(data=<const uint8_t*><const char*>bodies[i], size=len(bodies[i]), records=records)
        c.bodies_count = len(bodies)

    def add_fetch(
        self, address, str topic, int32_t partition, *, int64_t first_offset, int32_t max_bytes, int32_t min_bytes=1,
        int32_t max_wait_ms=500, bint tail=False,
    ):
        """A connection that reads one partition: from `first_offset` to its end and again, or with `tail` as it grows."""
        cdef Connection* c
        head = fetch_request(topic, partition, max_bytes, min_bytes, max_wait_ms)
        c = self.connect(address, KIND_TAIL if tail else KIND_FETCH, head, 1, 0)
        c.offset = first_offset
        c.first_offset = first_offset

    def add_end_to_end(
        self, address, str topic, int32_t partition, bodies, *, int32_t records, int64_t end_offset, int32_t max_bytes,
        int32_t depth=1, int16_t acks=1, int32_t min_bytes=1, int32_t max_wait_ms=500,
    ):
        """A producer of one partition that ends at `end_offset`, and its consumer; nobody else may write to it."""
        cdef Track* track = <Track*>calloc(1, sizeof(Track))
        if track == NULL:
            raise MemoryError
        track.base_offset = end_offset
        track.records = records
        try:
            self.add_produce(address, topic, [partition], bodies, records=records, depth=depth, acks=acks)
        except BaseException:
            free(track)
            raise
        self.load.connections[self.load.connections_count - 1].track = track    # which frees it
        self.add_fetch(
            address, topic, partition, first_offset=end_offset, max_bytes=max_bytes, min_bytes=min_bytes,
            max_wait_ms=max_wait_ms, tail=True,
        )
        self.load.connections[self.load.connections_count - 1].track = track

    def add_requests(self, address, heads, *, int32_t depth=1):
        """A connection that sends whole requests (`RequestHead`s of one size and one kind of answer) in turn."""
        cdef Connection* c
        cdef int32_t i
        first = heads[0]
        if {(len(each.data), each.error_at) for each in heads} != {(len(first.data), first.error_at)}:
            raise ValueError("the requests differ in size")
        # What differs follows the common header, so that it is sent as a body.
        shared = CORRELATION_ID_AT + 4
        head = type(first)(first.data[:shared], -1, -1, first.error_at, first.answer_head_size)
        bodies = [each.data[shared:] for each in heads]
        c = self.connect(address, KIND_OTHER, head, depth, len(bodies[0]))
        c.bodies = <Body*>calloc(len(bodies), sizeof(Body))
        if c.bodies == NULL:
            raise MemoryError
        self.kept.append(bodies)
        for i in range(len(bodies)):
            c.bodies[i] = Body(data=<const uint8_t*><const char*>bodies[i], size=len(bodies[i]), records=0)
        c.bodies_count = len(bodies)

    def run(self):
        """Run to the end; the GIL is not held."""
        cdef Load* load = &self.load
        cdef int64_t now = monotonic_ns()
        if load.status != LOAD_READY:
            raise RuntimeError("a load runs once")
        load.begin_ns = now
        load.end_ns += now
        load.last_answer_ns = now
        load.status = LOAD_RUNNING
        atomic_store_i64(&load.measure_ns, load.measure_ns + now)
        with nogil:
            load_run(load)

    def stop(self):
        """End it within some milliseconds; may be called by any thread."""
        atomic_store_i32(&self.load.stop, 1)

    @property
    def status(self):
        """"ready", "running", or how it ended: "done", "stopped", "closed", "silent", "confused"."""
        return STATUS_NAMES[atomic_load_i32(&self.load.status)]

    def counters(self):
        """(requests, records, bytes, errors) so far."""
        return self.load.requests, self.load.records, self.load.bytes, self.load.errors

    def histogram(self):
        """A copy of the latencies so far."""
        return self.latency.copy()

    @property
    def measured_from_ns(self):
        """When the warm-up ends, on the monotonic clock; only while or after it runs."""
        return atomic_load_i64(&self.load.measure_ns)

    @property
    def finished_ns(self):
        """When the last answer came, on the monotonic clock; 0 before the end."""
        return self.load.finished_ns

    @property
    def cpu_s(self):
        """CPU seconds of the generator's thread in the measured time; at the end."""
        return self.load.cpu_ns / 1e9

    @property
    def unanswered(self):
        """Requests that were due and never answered; they are among the errors."""
        return self.load.unanswered

    def error_codes(self):
        """How often each error code came; 0 stands for what is no code of Kafka's."""
        return {code: self.load.error_counts[code] for code in range(ERROR_CODES) if self.load.error_counts[code]}


cdef void connection_free(Connection* c) noexcept:
    if c.fd > 0:
        close(c.fd)
    if c.kind == KIND_PRODUCE:
        free(c.track)
    free(c.started_ns)
    free(c.head)
    free(c.partitions)
    free(c.bodies)
    free(c.out)
    free(c)
