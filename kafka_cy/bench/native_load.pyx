"""The native load generator: replays pre-encoded requests over many connections from one thread, without the GIL.

A closed loop keeps the requests of each connection in flight (`depth`). With a rate, request k of the whole load is due at
begin + k / rate whatever the broker does, and its latency counts from that time: a broker that stalls is charged for every
request that was due meanwhile (no coordinated omission). When the load ends, it waits for the responses to everything that
was due. A request that gets no response counts as an error, with the time waited so far.

Limits: 1024 requests in flight per connection; no acks=0, because it has no responses.
"""
import socket

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_load_i64, atomic_store_i32, atomic_store_i64
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.posix cimport EPOLL_CLOEXEC, close, epoll_create1
from kafka_cy.bench.histogram cimport LatencyHistogram
from kafka_cy.bench.native_loop cimport load_run
from kafka_cy.bench.native_state cimport (
    CARRY_BYTES, CORRELATION_ID_AT, ERROR_CODES, KIND_FETCH, KIND_OTHER, KIND_PRODUCE, KIND_TAIL, LOAD_CLOSED, LOAD_CONFUSED,
    LOAD_DONE, LOAD_READY, LOAD_RUNNING, LOAD_SILENT, LOAD_STOPPED, RECEIVE_BYTES, SMALL_REQUEST_BYTES, Body, Connection, Load,
    LoadKind, Track,
)

from kafka_cy.bench.requests import fetch_request, produce_head

cdef enum:
    DEPTH_MAX = 1024
    OUT_BYTES_MAX = 65536
    CONNECT_TIMEOUT_S = 5

STATUS_NAMES = {
    LOAD_READY: "ready", LOAD_RUNNING: "running", LOAD_DONE: "done", LOAD_STOPPED: "stopped", LOAD_CLOSED: "closed",
    LOAD_SILENT: "silent", LOAD_CONFUSED: "confused",
}


cdef class NativeLoad:
    """One load: add connections, then call `run` in a separate thread (it blocks). Other threads may watch it.

    `rate_per_s` is the rate of all requests together (0: closed loop); for `requests_max` (sent) and `records_max`
    (fetched), 0 means no limit. The `add_` methods raise OSError when the broker cannot be reached. The load keeps the
    given bytes alive.
    """

    cdef Load load
    cdef list kept
    cdef list listed
    cdef LatencyHistogram latency

    def __cinit__(
        self, *, double duration_s, double warm_up_s=0.0, double rate_per_s=0.0, int64_t requests_max=0,
        int64_t records_max=0, double drain_timeout_s=10.0, double response_timeout_s=30.0, bint end_to_end=False,
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
        self.load.response_timeout_ns = <int64_t>(response_timeout_s * 1e9)
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
        """Open a connection and append it to the list."""
        cdef Connection* c
        cdef Connection** grown
        cdef int64_t request_size = len(head.data) + body_size
        cdef uint32_t ring = 1
        if not 1 <= depth <= DEPTH_MAX:
            raise ValueError(f"the number of requests in flight must be 1 to {DEPTH_MAX}, not {depth}")
        if head.response_head_size > CARRY_BYTES:
            raise ValueError("the topic name is too long")
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
        c.producer_id = -1
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
        c.response_head_size = head.response_head_size
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
        int32_t timeout_ms=30000, producer=None,
    ):
        """Add a connection that produces `bodies` (batches of one size, `records` records each) to `partitions` in turn.

        `producer`: the producer id and epoch of an idempotent producer, whose batches get sequence numbers.
        """
        cdef Connection* c
        cdef int32_t i
        if acks == 0:
            raise ValueError("acks=0 has no responses to measure")
        c = self.connect(address, KIND_PRODUCE, produce_head(topic, acks, timeout_ms), depth, max(map(len, bodies)))
        c.partitions = <int32_t*>calloc(len(partitions), sizeof(int32_t))
        c.bodies = <Body*>calloc(len(bodies), sizeof(Body))
        if c.partitions == NULL or c.bodies == NULL:
            raise MemoryError
        for partition in partitions:
            c.partitions[c.partitions_count] = partition
            c.partitions_count += 1
        if producer is not None:
            c.sequences = <int32_t*>calloc(len(partitions), sizeof(int32_t))
            c.batch = <uint8_t*>malloc(max(map(len, bodies)))
            if c.sequences == NULL or c.batch == NULL:
                raise MemoryError
            c.producer_id, c.producer_epoch = producer
        self.kept.append(bodies)
        for i in range(len(bodies)):
            c.bodies[i] = Body(data=<const uint8_t*><const char*>bodies[i], size=len(bodies[i]), records=records)
        c.bodies_count = len(bodies)

    def add_fetch(
        self, address, str topic, int32_t partition, *, int64_t first_offset, int32_t max_bytes, int32_t min_bytes=1,
        int32_t max_wait_ms=500, bint tail=False,
    ):
        """Add a connection that reads one partition: repeatedly from `first_offset` to its end, or with `tail` as it grows."""
        cdef Connection* c
        head = fetch_request(topic, partition, max_bytes, min_bytes, max_wait_ms)
        c = self.connect(address, KIND_TAIL if tail else KIND_FETCH, head, 1, 0)
        c.offset = first_offset
        c.first_offset = first_offset

    def add_end_to_end(
        self, address, str topic, int32_t partition, bodies, *, int32_t records, int64_t end_offset, int32_t max_bytes,
        int32_t depth=1, int16_t acks=1, int32_t min_bytes=1, int32_t max_wait_ms=500, producer=None,
    ):
        """Add a producer for one partition, whose end offset is `end_offset`, and its consumer. No other client may write
        to the partition."""
        cdef Track* track = <Track*>calloc(1, sizeof(Track))
        if track == NULL:
            raise MemoryError
        track.base_offset = end_offset
        track.records = records
        try:
            self.add_produce(address, topic, [partition], bodies, records=records, depth=depth, acks=acks, producer=producer)
        except BaseException:
            free(track)
            raise
        self.load.connections[self.load.connections_count - 1].track = track    # frees it
        self.add_fetch(
            address, topic, partition, first_offset=end_offset, max_bytes=max_bytes, min_bytes=min_bytes,
            max_wait_ms=max_wait_ms, tail=True,
        )
        self.load.connections[self.load.connections_count - 1].track = track

    def add_requests(self, address, heads, *, int32_t depth=1):
        """Add a connection that sends complete requests (`RequestHead`s of one size and one kind of response) in turn."""
        cdef Connection* c
        cdef int32_t i
        first = heads[0]
        if {(len(each.data), each.error_at) for each in heads} != {(len(first.data), first.error_at)}:
            raise ValueError("the requests must have the same size")
        # The requests differ only after the common header, so the rest is sent as a body.
        shared = CORRELATION_ID_AT + 4
        head = type(first)(first.data[:shared], -1, -1, first.error_at, first.response_head_size)
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
        """Run the load to its end, without the GIL."""
        cdef Load* load = &self.load
        cdef int64_t now = monotonic_ns()
        if load.status != LOAD_READY:
            raise RuntimeError("a load can run only once")
        load.begin_ns = now
        load.end_ns += now
        load.last_response_ns = now
        load.status = LOAD_RUNNING
        atomic_store_i64(&load.measure_ns, load.measure_ns + now)
        with nogil:
            load_run(load)

    def stop(self):
        """End the load within some milliseconds. Any thread may call this."""
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
        """The time when the warm-up ends, on the monotonic clock; valid once the load runs."""
        return atomic_load_i64(&self.load.measure_ns)

    @property
    def finished_ns(self):
        """The time of the last response, on the monotonic clock; 0 before the end."""
        return self.load.finished_ns

    @property
    def cpu_s(self):
        """CPU seconds of the generator's thread in the measured time; valid at the end."""
        return self.load.cpu_ns / 1e9

    @property
    def unanswered(self):
        """Requests that were due and got no response; they are included in the errors."""
        return self.load.unanswered

    def error_codes(self):
        """The number of each error code; 0 stands for errors that have no Kafka error code."""
        return {code: self.load.error_counts[code] for code in range(ERROR_CODES) if self.load.error_counts[code]}


cdef void connection_free(Connection* c) noexcept:
    if c.fd > 0:
        close(c.fd)
    if c.kind == KIND_PRODUCE:
        free(c.track)
    free(c.started_ns)
    free(c.head)
    free(c.partitions)
    free(c.sequences)
    free(c.batch)
    free(c.bodies)
    free(c.out)
    free(c)
