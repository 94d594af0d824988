"""Queues and threads of jobs. A job thread serves all reactors of the process and notifies a reactor through its mailbox.

Decompression runs at a lower priority than the reactors, because on a machine with few cores they may share one with them. TLS
handshakes run at a slightly lower one: clients wait for them, and they leave a core to the reactors anyway.

A queue consists of lanes. A job's lane is a seeded hash of the client's address, and threads take from the lanes in turn.
So a client with many jobs delays another client's job by the jobs that run and one job of each lane, and it cannot use up
the other's share of the queue's limit. In one lane the oldest job is first; as a connection has one job at a time, its
connections take turns.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from kafka_cy.base.atomics cimport (
    atomic_add_i64, atomic_load_i32, atomic_store_i32, atomic_store_i64, atomic_sub_i64, counter_add,
)
from kafka_cy.base.bits cimport first_bit
from kafka_cy.base.posix cimport (
    block_all_signals, pthread_cond_broadcast, pthread_cond_init, pthread_cond_signal, pthread_cond_wait,
    pthread_create, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock, pthread_t,
)
from kafka_cy.base.thread_name cimport name_this_thread
from kafka_cy.network.connection cimport PAUSE_HELD
from kafka_cy.network.job_queue cimport JobQueue, Lane, lane_of, queues
from kafka_cy.network.job_places cimport tell_of_room
from kafka_cy.network.log_events cimport LOG_ERROR, log_events_add
from kafka_cy.network.mailbox cimport MAIL_JOB, mailbox_post
from kafka_cy.network.reactor_state cimport NetworkState, ReactorState, connection_mark_dirty
from kafka_cy.records.compression cimport Codecs, codecs_new

cdef extern from * nogil:
    """
    #include <sys/resource.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    static void lower_priority(int by) { setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), by); }
    static int cores(void) { long n = sysconf(_SC_NPROCESSORS_ONLN); return n > 0 ? (int)n : 1; }
    """
    void lower_priority(int by) noexcept
    int cores() noexcept
    int usleep(unsigned int us) noexcept

cdef enum:
    THREADS_MAX = 64
    DISK_THREADS_DEFAULT = 8            # Kafka's default of num.io.threads
    COMPUTING_PRIORITY = 10             # nice
    HANDSHAKE_PRIORITY = 2              # a client waits, and others behind it: with 10 they would have a tenth of a busy core

cdef int32_t kind_lacks_thread = 0      # (a) jobs of a kind wait, and its first thread could not be started


cdef inline bint is_computing(int kind) noexcept nogil:
    """Whether its jobs need a core all the time. Those of one kind leave a core to the reactors."""
    return kind == JOB_DECOMPRESS or kind == JOB_HANDSHAKE


cdef void queues_init() noexcept nogil:
    cdef JobQueue* job_queue
    cdef int i
    for i in range(<int>JOB_KINDS):
        job_queue = &queues[i]
        pthread_mutex_init(&job_queue.mutex, NULL)
        pthread_cond_init(&job_queue.not_empty, NULL)
        job_queue.may_begin = -1
        job_queue.threads_max = DISK_THREADS_DEFAULT
        if is_computing(i):
            job_queue.threads_max = max(min(cores() - 1, THREADS_MAX), 1)

queues_init()


cdef void jobs_set_threads(int32_t computing, int32_t disk) noexcept nogil:
    cdef int32_t wanted
    cdef JobQueue* job_queue
    cdef int i
    for i in range(<int>JOB_KINDS):
        job_queue = &queues[i]
        pthread_mutex_lock(&job_queue.mutex)
        wanted = min(computing, cores() - 1) if is_computing(i) else disk
        job_queue.threads_max = min(max(wanted, 1), THREADS_MAX)
        pthread_mutex_unlock(&job_queue.mutex)


cdef void unlink_job(JobQueue* job_queue, Job* job) noexcept nogil:
    """Under the queue's mutex."""
    cdef Lane* lane = &job_queue.lanes[job.lane]
    if job.prev != NULL:
        job.prev.next = job.next
    else:
        lane.first = job.next
    if job.next != NULL:
        job.next.prev = job.prev
    else:
        lane.last = job.prev
    job.queued = False
    atomic_store_i64(&lane.count, lane.count - (not job.placeless))
    job_queue.count -= 1
    if lane.first == NULL:
        job_queue.lanes_waiting &= ~(<uint64_t>1 << job.lane)
    tell_of_room(job_queue, job.lane)


cdef void link_job(JobQueue* job_queue, Job* job) noexcept nogil:
    """Under the queue's mutex."""
    cdef Lane* lane = &job_queue.lanes[job.lane]
    job.next = NULL
    job.prev = lane.last
    if lane.last != NULL:
        lane.last.next = job
    else:
        lane.first = job
    lane.last = job
    job.queued = True
    atomic_store_i64(&lane.count, lane.count + (not job.placeless))
    job_queue.count += 1
    job_queue.lanes_waiting |= <uint64_t>1 << job.lane


cdef Job* next_job(JobQueue* job_queue) noexcept nogil:
    """Take the oldest job of the next lane that has one. Under the queue's mutex; there is a job."""
    cdef uint64_t ahead = job_queue.lanes_waiting >> job_queue.lane_next << job_queue.lane_next
    cdef uint32_t lane = <uint32_t>first_bit(ahead if ahead else job_queue.lanes_waiting)
    cdef Job* job = job_queue.lanes[lane].first
    job_queue.lane_next = (lane + 1) % JOB_LANES
    unlink_job(job_queue, job)
    return job


cdef Job* job_take(JobQueue* job_queue) noexcept nogil:
    """Take a job; waits until one is queued."""
    cdef Job* job
    pthread_mutex_lock(&job_queue.mutex)
    job_queue.idle += 1
    while job_queue.count == 0 or job_queue.may_begin == 0:
        pthread_cond_wait(&job_queue.not_empty, &job_queue.mutex)
    job_queue.idle -= 1
    if job_queue.may_begin > 0:
        job_queue.may_begin -= 1
    job = next_job(job_queue)
    pthread_mutex_unlock(&job_queue.mutex)
    return job


cdef const char* thread_name_of(int kind) noexcept nogil:
    if kind == JOB_DECOMPRESS:
        return "decompress"
    if kind == JOB_READ:
        return "cold-read"
    if kind == JOB_HANDSHAKE:
        return "tls-handshake"
    return "time-look-up" if kind == JOB_LOOK_UP else "slow-append"


cdef void* work(void* argument) noexcept nogil:
    cdef int kind = <int><size_t>argument
    cdef Codecs* codecs = codecs_new()
    cdef Job* job
    cdef Reactor* reactor
    block_all_signals()
    name_this_thread(thread_name_of(kind), 0)
    if kind == JOB_HANDSHAKE:
        lower_priority(HANDSHAKE_PRIORITY)
    elif is_computing(kind) or kind == JOB_LOOK_UP:
        lower_priority(COMPUTING_PRIORITY)
    while codecs == NULL:
        usleep(10000)
        codecs = codecs_new()
    while True:
        job = job_take(&queues[kind])
        reactor = job.reactor
        job.run(job, codecs)
        # If memory is short, retry: without the mail the request would wait forever.
        while reactor != NULL and mailbox_post(&(<ReactorState*>reactor.private_state).mailbox, MAIL_JOB, job) != 0:
            usleep(1000)


cdef bint job_holds_more(Job* job, int64_t bytes) noexcept nogil:
    cdef NetworkState* network = (<ReactorState*>job.reactor.private_state).network
    if atomic_add_i64(&network.queued_request_bytes, bytes) - bytes >= network.queued_request_bytes_max:
        atomic_sub_i64(&network.queued_request_bytes, bytes)
        return False
    job.bytes += bytes
    return True


cdef int begin_thread(JobQueue* job_queue, int kind) noexcept nogil:
    """0, or the error. Under the queue's mutex."""
    cdef pthread_t thread
    cdef int error = pthread_create(&thread, NULL, work, <void*><size_t>kind)
    if error == 0:
        job_queue.threads += 1
    return error


cdef int jobs_begin(int kind) noexcept nogil:
    cdef JobQueue* job_queue = &queues[kind]
    cdef int error = 0
    pthread_mutex_lock(&job_queue.mutex)
    if job_queue.threads == 0:
        error = begin_thread(job_queue, kind)
    pthread_mutex_unlock(&job_queue.mutex)
    return error


cdef void job_submit(Reactor* reactor, Connection* connection, Job* job) noexcept nogil:
    cdef JobQueue* job_queue = &queues[job.kind]
    cdef ReactorState* state = NULL
    cdef bint lacks_thread = False
    job.reactor = reactor
    job.lane = JOB_LANES - 1            # the process's own
    if reactor != NULL:
        job.lane = lane_of(connection)
        state = <ReactorState*>reactor.private_state
        state.jobs += 1
        atomic_add_i64(&state.network.queued_request_bytes, job.bytes)
    pthread_mutex_lock(&job_queue.mutex)
    link_job(job_queue, job)
    if job_queue.count > job_queue.idle and job_queue.threads < job_queue.threads_max:
        lacks_thread = begin_thread(job_queue, job.kind) != 0 and job_queue.threads == 0
    pthread_cond_signal(&job_queue.not_empty)
    pthread_mutex_unlock(&job_queue.mutex)
    if not lacks_thread:
        return
    atomic_store_i32(&kind_lacks_thread, 1)
    if state != NULL:
        log_events_add(
            &state.network.log, state.shared.now_ns, LOG_ERROR, b"", -1,
            b"no thread can be started for the jobs of requests, which wait; trying again",
        )


cdef void jobs_begin_missing() noexcept nogil:
    cdef JobQueue* job_queue
    cdef int i
    if not atomic_load_i32(&kind_lacks_thread):
        return
    atomic_store_i32(&kind_lacks_thread, 0)
    for i in range(<int>JOB_KINDS):
        job_queue = &queues[i]
        pthread_mutex_lock(&job_queue.mutex)
        if job_queue.count and job_queue.threads == 0 and begin_thread(job_queue, i) != 0:
            atomic_store_i32(&kind_lacks_thread, 1)
        pthread_mutex_unlock(&job_queue.mutex)


cdef void job_done(Reactor* reactor, Job* job) noexcept nogil:
    cdef ReactorState* state = <ReactorState*>reactor.private_state
    state.jobs -= 1
    atomic_sub_i64(&state.network.queued_request_bytes, job.bytes)
    job.done(reactor, job)


cdef void job_cancel(Reactor* reactor, Job* job) noexcept nogil:
    cdef JobQueue* job_queue = &queues[job.kind]
    cdef bint queued
    pthread_mutex_lock(&job_queue.mutex)
    queued = job.queued
    if queued:
        unlink_job(job_queue, job)
    pthread_mutex_unlock(&job_queue.mutex)
    if queued:
        job_done(reactor, job)


cdef Job* take_back(JobQueue* job_queue, Reactor* reactor) noexcept nogil:
    """A job of the reactor that no thread has begun; NULL none."""
    cdef Job* job = NULL
    cdef Job* found = NULL
    cdef int i
    pthread_mutex_lock(&job_queue.mutex)
    for i in range(<int>JOB_LANES):
        job = job_queue.lanes[i].first
        while job != NULL and found == NULL:
            if job.reactor == reactor:
                found = job
            job = job.next
    if found != NULL:
        unlink_job(job_queue, found)
    pthread_mutex_unlock(&job_queue.mutex)
    return found


cdef void jobs_cancel(Reactor* reactor) noexcept nogil:
    cdef Job* job
    cdef int i
    for i in range(<int>JOB_KINDS):
        job = take_back(&queues[i], reactor)
        while job != NULL:
            job_done(reactor, job)
            job = take_back(&queues[i], reactor)


cdef void connection_hold(Connection* connection, bint awaited) noexcept nogil:
    cdef ReactorState* reactor = <ReactorState*>connection.reactor
    connection.held += 1
    if not awaited:
        connection.held_unanswered += 1
    connection.pauses |= PAUSE_HELD     # reading stops at once, also before an end of the stream
    counter_add(&reactor.counters.paused, 1)
    connection_mark_dirty(reactor, connection)


cdef void connection_unhold(Reactor* reactor, Connection* connection, bint awaited) noexcept nogil:
    connection.held -= 1
    if not awaited:
        connection.held_unanswered -= 1
    connection_mark_dirty(<ReactorState*>reactor.private_state, connection)


cdef void let_begin(int64_t count) noexcept nogil:
    cdef JobQueue* job_queue
    cdef int i
    for i in range(<int>JOB_KINDS):
        job_queue = &queues[i]
        pthread_mutex_lock(&job_queue.mutex)
        job_queue.may_begin = count
        pthread_cond_broadcast(&job_queue.not_empty)
        pthread_mutex_unlock(&job_queue.mutex)


def set_threads(int threads):
    """Set how many threads of each kind read cold data, look up offsets by time, and append to slow disks (num.io.threads). At
    most as many, and at most cores - 1, decompress, and as many do TLS handshakes."""
    with nogil:
        jobs_set_threads(threads, threads)


def pause_jobs():
    """For tests: no job starts until resume_jobs. Running jobs continue."""
    with nogil:
        let_begin(0)


def resume_jobs():
    """For tests: the reverse of pause_jobs."""
    with nogil:
        let_begin(-1)


def let_jobs_begin(int count):
    """For tests, after pause_jobs: that many jobs of each kind may begin."""
    with nogil:
        let_begin(count)


def least_that_may_begin():
    """For tests, after let_jobs_begin: how many jobs may still begin, of the kind of which most have begun."""
    cdef int64_t least = 1 << 30
    cdef JobQueue* job_queue
    cdef int i
    with nogil:
        for i in range(<int>JOB_KINDS):
            job_queue = &queues[i]
            pthread_mutex_lock(&job_queue.mutex)
            least = min(least, job_queue.may_begin)
            pthread_mutex_unlock(&job_queue.mutex)
    return least


def lane_of_address(bytes address not None):
    """For tests: the lane of a client's 4 or 16 address bytes."""
    cdef Connection connection
    memset(&connection, 0, sizeof(Connection))
    memcpy(connection.address, <const char*>address, <size_t>min(len(address), <Py_ssize_t>16))
    return lane_of(&connection)


def waiting_by_kind():
    """Return how many jobs no thread has started: a dict by the name of the job threads."""
    cdef int64_t[JOB_KINDS] counts
    cdef dict waiting = {}
    cdef JobQueue* job_queue
    cdef int i
    with nogil:
        for i in range(<int>JOB_KINDS):
            job_queue = &queues[i]
            pthread_mutex_lock(&job_queue.mutex)
            counts[i] = job_queue.count
            pthread_mutex_unlock(&job_queue.mutex)
    for i in range(<int>JOB_KINDS):
        name = thread_name_of(i).decode()
        waiting[name] = waiting.get(name, 0) + counts[i]
    return waiting


def waiting_jobs():
    """Return how many jobs no thread has started."""
    return sum(waiting_by_kind().values())
