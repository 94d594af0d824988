# Hot handlers that only tests use: echo, park, close, nothing, large answers, long work. Built by conftest.py.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free

from kafka_cy.base.atomics cimport atomic_add_i64, atomic_load_i64
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.metadata_image cimport PartitionImage, TopicImage, image_find_topic, topic_partition
from kafka_cy.network.dispatch cimport (
    CLOSE, HANDLED, Parked, Reactor, Request, hot_handler_register, park_cancel, park_start, parked_watch,
    response_begin, response_none, response_send,
)
from kafka_cy.network.reactor_state cimport ReactorState
from kafka_cy.network.request_memory cimport retry_some, retry_forget, retry_later
from kafka_cy.records.wire cimport (
    Reader, Writer, read_int32, read_int64, read_raw, reader_init, reader_remaining, write_int8, write_int64,
    write_no_tags, write_raw, writer_reserve,
)
from kafka_cy.storage.hosted_partition cimport HostedPartition
from kafka_cy.storage.partition cimport Partition, partition_wake

cdef int64_t waiting_now = 0
cdef int64_t busy_done = 0


cdef int echo(Reactor* reactor, Request* request) noexcept nogil:
    cdef Writer w
    response_begin(request, &w)
    write_raw(&w, request.body, request.body_size)
    response_send(reactor, request, &w)
    return HANDLED


cdef int refuse(Reactor* reactor, Request* request) noexcept nogil:
    request.close_reason = "refused by the probe"
    return CLOSE


cdef int silent(Reactor* reactor, Request* request) noexcept nogil:
    response_none(reactor, request)
    return HANDLED


cdef int large(Reactor* reactor, Request* request) noexcept nogil:
    cdef Reader r
    cdef Writer w
    cdef int32_t size
    reader_init(&r, request.body, request.body_size)
    size = read_int32(&r)
    if r.error or size < 0:
        return CLOSE
    response_begin(request, &w)
    if writer_reserve(&w, <size_t>size) != NULL:
        w.size += <size_t>size
    response_send(reactor, request, &w)
    return HANDLED


cdef int busy(Reactor* reactor, Request* request) noexcept nogil:
    """Answers after 3 ms of work."""
    cdef int64_t until_ns = monotonic_ns() + 3000000
    while monotonic_ns() < until_ns:
        pass
    atomic_add_i64(&busy_done, 1)
    return echo(reactor, request)


# Body: wait_ms int64, target int64, then one or more partition indexes (int32) of the topic "probe".
# Answers when the sum of their high watermarks reaches the target. Answer: int8 expired, int64 sum.
cdef struct Waiting:
    Parked parked
    int64_t target
    int32_t count
    Partition* partitions[8]


cdef int64_t sum_of(Waiting* waiting) noexcept nogil:
    cdef int64_t total = 0
    cdef int i
    for i in range(waiting.count):
        total += atomic_load_i64(&waiting.partitions[i].high_watermark)
    return total


cdef int waiting_check(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    cdef Waiting* waiting = <Waiting*>parked
    cdef int64_t total = sum_of(waiting)
    cdef Writer w
    if total < waiting.target and not expired:
        return 0
    response_begin(&parked.request, &w)
    write_int8(&w, expired)
    write_int64(&w, total)
    response_send(reactor, &parked.request, &w)
    return 1


cdef void waiting_free(Parked* parked) noexcept nogil:
    atomic_add_i64(&waiting_now, -1)
    free(parked)


cdef int park(Reactor* reactor, Request* request) noexcept nogil:
    cdef Waiting* waiting
    cdef Reader r
    cdef TopicImage* topic = image_find_topic(reactor.image, "probe", 5)
    cdef PartitionImage* partition
    cdef int64_t wait_ms
    reader_init(&r, request.body, request.body_size)
    wait_ms = read_int64(&r)
    waiting = <Waiting*>calloc(1, sizeof(Waiting))
    if waiting == NULL or topic == NULL:
        free(waiting)
        return CLOSE
    atomic_add_i64(&waiting_now, 1)
    waiting.target = read_int64(&r)
    waiting.parked.request = request[0]
    waiting.parked.check = waiting_check
    waiting.parked.free = waiting_free
    waiting.parked.deadline_ns = reactor.now_ns + wait_ms * 1000000
    while reader_remaining(&r) >= 4 and waiting.count < 8:
        partition = topic_partition(topic, read_int32(&r))
        if partition != NULL and partition.partition != NULL:
            waiting.partitions[waiting.count] = partition.partition
            waiting.count += 1
            parked_watch(reactor, &waiting.parked, partition.partition)
    if waiting_check(reactor, &waiting.parked, False):
        park_cancel(reactor, &waiting.parked)
    else:
        park_start(reactor, &waiting.parked)
    return HANDLED


def register():
    hot_handler_register(100, 0, 9, echo)
    hot_handler_register(101, 0, 9, park)
    hot_handler_register(102, 0, 9, refuse)
    hot_handler_register(103, 0, 9, silent)
    hot_handler_register(104, 0, 9, large)
    hot_handler_register(105, 0, 9, busy)


def memory_list(int count, removed, int retries=0):
    """Let `count` connections wait for memory and remove some. Return the numbers of those left, and of those retried.

    The list must be walkable from both ends.
    """
    cdef ReactorState* reactor = <ReactorState*>calloc(1, sizeof(ReactorState))
    cdef Connection* connections = <Connection*>calloc(count, sizeof(Connection))
    cdef Connection* each
    cdef int i
    for i in range(count):
        retry_later(reactor, &connections[i])
        retry_later(reactor, &connections[i])       # it waits already
    for i in removed:
        retry_forget(reactor, &connections[i])
        retry_forget(reactor, &connections[i])     # it does not wait any more
    left, backwards, retried = [], [], []
    for i in range(retries):
        retry_some(reactor)
        while reactor.dirty != NULL:                # as settle_all does
            retried.append(reactor.dirty - connections)
            reactor.dirty.dirty = False
            reactor.dirty = reactor.dirty.dirty_next
    each = reactor.retry_first
    while each != NULL:
        left.append(each - connections)
        each = each.retry_next
    each = reactor.retry_last
    while each != NULL:
        backwards.append(each - connections)
        each = each.retry_prev
    free(connections)
    free(reactor)
    assert left == backwards[::-1]
    return left, retried


def busy_count():
    """How many busy requests were handled."""
    return atomic_load_i64(&busy_done)


def waiting_count():
    """Parked probe requests that were not freed yet."""
    return atomic_load_i64(&waiting_now)


def bump(HostedPartition hosted, int times=1):
    """Move the high watermark as an appender does (publish, then wake), without the GIL."""
    cdef Partition* partition = hosted.partition
    cdef int i
    with nogil:
        for i in range(times):
            atomic_add_i64(&partition.high_watermark, 1)
            partition_wake(partition)
