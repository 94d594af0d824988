# Hot handlers that only tests use: echo, park, close, nothing, large answers, long work, jobs. Built by conftest.py.
from libc.stdint cimport int32_t, int64_t, int8_t, uint8_t
from libc.stdlib cimport calloc, free

from kafka_cy.base.atomics cimport atomic_add_i64, atomic_load_i64
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.job_places cimport job_has_room, job_hold_back
from kafka_cy.network.jobs cimport JOB_LOOK_UP, Job, connection_hold, connection_unhold, job_cancel, job_submit
from kafka_cy.network.metadata_image cimport PartitionImage, TopicImage, image_find_topic, topic_partition
from kafka_cy.network.dispatch cimport (
    CLOSE, HANDLED, Parked, Reactor, Request, park_cancel, park_start, parked_recheck, parked_watch,
    response_begin, response_none, response_send,
)
from kafka_cy.network.hot_handlers cimport hot_handler_register
from kafka_cy.network.reactor_state cimport ReactorState, connection_mark_dead
from kafka_cy.network.request_memory cimport retry_some, retry_forget, retry_later
from kafka_cy.records.compression cimport Codecs
from kafka_cy.records.wire cimport (
    Reader, Writer, read_int32, read_int64, reader_init, reader_remaining, write_int8, write_int64,
    write_raw, writer_reserve,
)
from kafka_cy.storage.hosted_partition cimport HostedPartition
from kafka_cy.storage.partition cimport Partition, partition_wake

cdef int64_t waiting_now = 0
cdef int64_t busy_done = 0
cdef int64_t held_times = 0
cdef int64_t jobs_begun = 0
cdef uint8_t[4096] begun            # the first byte of the first requests, in the order in which their jobs began


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
# A hold is the same, and its connection is held while the sum is below the target, but not 0.
cdef struct Waiting:
    Parked parked
    int64_t target
    bint holds
    bint held
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
    if waiting.holds and total > 0 and not waiting.held:
        waiting.held = True
        connection_hold(parked.request.connection, True)
        atomic_add_i64(&held_times, 1)
    if total < waiting.target and not expired:
        return 0
    if waiting.held:
        connection_unhold(reactor, parked.request.connection, True)
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
    waiting.holds = request.api_key == 107
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


# A request whose answer a job makes. Answer: the first byte of the body.
cdef struct ProbeJob:
    Job job                         # first field
    JobWaiting* owner               # NULL: its connection has closed
    uint8_t number

cdef struct JobWaiting:
    Parked parked                   # first field
    ProbeJob* work                  # NULL: it has ended
    uint8_t number


cdef void run_job(Job* job, Codecs* codecs) noexcept nogil:
    cdef int64_t place = atomic_add_i64(&jobs_begun, 1) - 1
    if place < 4096:
        begun[place] = (<ProbeJob*>job).number


cdef void end_job(Reactor* reactor, Job* job) noexcept nogil:
    cdef JobWaiting* owner = (<ProbeJob*>job).owner
    free(job)
    if owner != NULL:
        owner.work = NULL
        connection_unhold(reactor, owner.parked.request.connection, True)
        parked_recheck(reactor, &owner.parked, False)


cdef int job_check(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    cdef Writer w
    if (<JobWaiting*>parked).work != NULL:
        return 0
    response_begin(&parked.request, &w)
    write_int8(&w, <int8_t>(<JobWaiting*>parked).number)
    response_send(reactor, &parked.request, &w)
    return 1


cdef void job_free(Parked* parked) noexcept nogil:
    cdef ProbeJob* work = (<JobWaiting*>parked).work
    if work != NULL:                    # the connection closes
        work.owner = NULL
        connection_unhold(work.job.reactor, parked.request.connection, True)
        job_cancel(work.job.reactor, &work.job)
    free(parked)


cdef int with_job(Reactor* reactor, Request* request) noexcept nogil:
    cdef ProbeJob* work
    cdef JobWaiting* waiting
    if not job_has_room(reactor, request.connection, JOB_LOOK_UP):
        return job_hold_back(request.connection, JOB_LOOK_UP, True)
    work = <ProbeJob*>calloc(1, sizeof(ProbeJob))
    waiting = <JobWaiting*>calloc(1, sizeof(JobWaiting))
    if work == NULL or waiting == NULL or request.body_size < 1:
        free(work)
        free(waiting)
        return CLOSE
    waiting.parked.request = request[0]
    waiting.parked.check = job_check
    waiting.parked.free = job_free
    waiting.parked.deadline_ns = reactor.now_ns + 3600 * <int64_t>1000000000
    waiting.number = work.number = request.body[0]
    waiting.work = work
    work.owner = waiting
    work.job.kind = JOB_LOOK_UP
    work.job.run = run_job
    work.job.done = end_job
    connection_hold(request.connection, True)
    job_submit(reactor, request.connection, &work.job)
    if park_start(reactor, &waiting.parked):
        park_cancel(reactor, &waiting.parked)
        return CLOSE
    return HANDLED


cdef int end_others(Reactor* reactor, Request* request) noexcept nogil:
    """Ends all other connections of the reactor at once. Answer: how many."""
    cdef ReactorState* state = <ReactorState*>reactor.private_state
    cdef Connection* each = state.idle_first
    cdef int64_t count = 0
    cdef Writer w
    while each != NULL:
        if each != request.connection and not each.dead:
            connection_mark_dead(state, each)
            count += 1
        each = each.next
    response_begin(request, &w)
    write_int64(&w, count)
    response_send(reactor, request, &w)
    return HANDLED


def register():
    hot_handler_register(100, 0, 9, echo)
    hot_handler_register(101, 0, 9, park)
    hot_handler_register(102, 0, 9, refuse)
    hot_handler_register(103, 0, 9, silent)
    hot_handler_register(104, 0, 9, large)
    hot_handler_register(105, 0, 9, busy)
    hot_handler_register(106, 0, 9, with_job)
    hot_handler_register(107, 0, 9, park)
    hot_handler_register(108, 0, 9, end_others)


def memory_list(int count, removed, int retries=0):
    """Let `count` connections wait for memory and remove some. Return the numbers of those left, and of those retried.

    The list must be walkable from both ends.
    """
    cdef ReactorState* reactor = <ReactorState*>calloc(1, sizeof(ReactorState))
    cdef Connection* connections = <Connection*>calloc(count, sizeof(Connection))
    cdef Connection* each
    cdef int i, _i
    for i in range(count):
        retry_later(reactor, &connections[i])
        retry_later(reactor, &connections[i])       # it waits already
    for i in removed:
        retry_forget(reactor, &connections[i])
        retry_forget(reactor, &connections[i])     # it does not wait any more
    left, backwards, retried = [], [], []
    for _i in range(retries):
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


def held_count():
    """How often a hold has held its connection."""
    return atomic_load_i64(&held_times)


def begun_jobs():
    """The first bytes of the requests whose jobs have begun, in that order."""
    return bytes(begun[:min(atomic_load_i64(&jobs_begun), 4096)])


def waiting_count():
    """Parked probe requests that were not freed yet."""
    return atomic_load_i64(&waiting_now)


def bump(HostedPartition hosted, int times=1):
    """Move the high watermark as an appender does (publish, then wake), without the GIL."""
    cdef Partition* partition = hosted.partition
    cdef int _i
    with nogil:
        for _i in range(times):
            atomic_add_i64(&partition.high_watermark, 1)
            partition_wake(partition)
