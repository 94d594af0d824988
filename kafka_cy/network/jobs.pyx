"""Queues and threads of jobs. A job thread serves all reactors of the process and notifies a reactor through its mailbox.

Decompression runs at a lower priority than the reactors, because on a machine with few cores it may share one with them.
"""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.atomics cimport atomic_add_i64, atomic_sub_i64
from kafka_cy.base.posix cimport (
    block_all_signals, pthread_cond_broadcast, pthread_cond_init, pthread_cond_signal, pthread_cond_t, pthread_cond_wait,
    pthread_create, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock, pthread_t,
)
from kafka_cy.base.thread_name cimport name_this_thread
from kafka_cy.network.mailbox cimport MAIL_JOB, mailbox_post
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.reactor_state cimport ReactorState, connection_mark_dirty
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
    DECOMPRESS_PRIORITY = 10            # nice

# Purpose: the queue of one kind. Owner: the process. Lock: `mutex` guards the list and the counts.
# Limits: bounded by the submitters; see Job.
cdef struct JobQueue:
    pthread_mutex_t mutex
    pthread_cond_t not_empty
    Job* first
    Job* last
    int64_t count
    int32_t threads
    int32_t threads_max
    int32_t idle
    bint paused                     # by a test

cdef JobQueue[JOB_KINDS] queues


cdef void queues_init() noexcept nogil:
    cdef JobQueue* job_queue
    cdef int i
    for i in range(<int>JOB_KINDS):
        job_queue = &queues[i]
        pthread_mutex_init(&job_queue.mutex, NULL)
        pthread_cond_init(&job_queue.not_empty, NULL)
    queues[<int>JOB_DECOMPRESS].threads_max = max(min(cores() - 1, THREADS_MAX), 1)
    queues[<int>JOB_READ].threads_max = DISK_THREADS_DEFAULT
    queues[<int>JOB_WRITE].threads_max = DISK_THREADS_DEFAULT

queues_init()


cdef void jobs_set_threads(int32_t decompress, int32_t disk) noexcept nogil:
    cdef int32_t[JOB_KINDS] wanted
    cdef JobQueue* job_queue
    cdef int i
    wanted[<int>JOB_DECOMPRESS] = min(decompress, cores() - 1)     # one core stays free for the reactors
    wanted[<int>JOB_READ] = disk
    wanted[<int>JOB_WRITE] = disk
    for i in range(<int>JOB_KINDS):
        job_queue = &queues[i]
        pthread_mutex_lock(&job_queue.mutex)
        job_queue.threads_max = min(max(wanted[i], 1), THREADS_MAX)
        pthread_mutex_unlock(&job_queue.mutex)


cdef void unlink_job(JobQueue* job_queue, Job* job) noexcept nogil:
    """Under the queue's mutex."""
    if job.prev != NULL:
        job.prev.next = job.next
    else:
        job_queue.first = job.next
    if job.next != NULL:
        job.next.prev = job.prev
    else:
        job_queue.last = job.prev
    job.queued = False
    job_queue.count -= 1


cdef Job* job_take(JobQueue* job_queue) noexcept nogil:
    """Take the oldest job; waits until one is queued."""
    cdef Job* job
    pthread_mutex_lock(&job_queue.mutex)
    job_queue.idle += 1
    while job_queue.first == NULL or job_queue.paused:
        pthread_cond_wait(&job_queue.not_empty, &job_queue.mutex)
    job_queue.idle -= 1
    job = job_queue.first
    unlink_job(job_queue, job)
    pthread_mutex_unlock(&job_queue.mutex)
    return job


cdef void* work(void* argument) noexcept nogil:
    cdef int kind = <int><size_t>argument
    cdef Codecs* codecs = codecs_new()
    cdef Job* job
    cdef Reactor* reactor
    block_all_signals()
    name_this_thread("decompress" if kind == JOB_DECOMPRESS else "cold-read" if kind == JOB_READ else "slow-append", 0)
    if kind == JOB_DECOMPRESS:
        lower_priority(DECOMPRESS_PRIORITY)
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


cdef void job_submit(Reactor* reactor, Job* job) noexcept nogil:
    cdef JobQueue* job_queue = &queues[job.kind]
    cdef ReactorState* state
    cdef pthread_t thread
    job.reactor = reactor
    job.next = NULL
    job.queued = True
    if reactor != NULL:
        state = <ReactorState*>reactor.private_state
        state.jobs += 1
        atomic_add_i64(&state.network.queued_request_bytes, job.bytes)
    pthread_mutex_lock(&job_queue.mutex)
    job.prev = job_queue.last
    if job_queue.last != NULL:
        job_queue.last.next = job
    else:
        job_queue.first = job
    job_queue.last = job
    job_queue.count += 1
    if job_queue.count > job_queue.idle and job_queue.threads < job_queue.threads_max:
        if pthread_create(&thread, NULL, work, <void*><size_t>job.kind) == 0:
            job_queue.threads += 1
    pthread_cond_signal(&job_queue.not_empty)
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
    cdef Job* job
    pthread_mutex_lock(&job_queue.mutex)
    job = job_queue.first
    while job != NULL and job.reactor != reactor:
        job = job.next
    if job != NULL:
        unlink_job(job_queue, job)
    pthread_mutex_unlock(&job_queue.mutex)
    return job


cdef void jobs_cancel(Reactor* reactor) noexcept nogil:
    cdef Job* job
    cdef int i
    for i in range(<int>JOB_KINDS):
        job = take_back(&queues[i], reactor)
        while job != NULL:
            job_done(reactor, job)
            job = take_back(&queues[i], reactor)


cdef int64_t jobs_count(Reactor* reactor) noexcept nogil:
    return (<ReactorState*>reactor.private_state).jobs


cdef void connection_hold(Connection* connection) noexcept nogil:
    connection.held += 1


cdef void connection_unhold(Reactor* reactor, Connection* connection) noexcept nogil:
    connection.held -= 1
    connection_mark_dirty(<ReactorState*>reactor.private_state, connection)


cdef void set_paused(bint paused) noexcept nogil:
    cdef JobQueue* job_queue
    cdef int i
    for i in range(<int>JOB_KINDS):
        job_queue = &queues[i]
        pthread_mutex_lock(&job_queue.mutex)
        job_queue.paused = paused
        pthread_cond_broadcast(&job_queue.not_empty)
        pthread_mutex_unlock(&job_queue.mutex)


def set_threads(int threads):
    """Set how many threads read cold data, and how many append to slow disks (num.io.threads); at most as many, and at most
    cores - 1, decompress."""
    with nogil:
        jobs_set_threads(threads, threads)


def pause_jobs():
    """For tests: no job starts until resume_jobs. Running jobs continue."""
    with nogil:
        set_paused(True)


def resume_jobs():
    """For tests: the reverse of pause_jobs."""
    with nogil:
        set_paused(False)


def waiting_jobs():
    """For tests: return how many jobs no thread has started."""
    cdef int64_t count = 0
    cdef JobQueue* job_queue
    cdef int i
    with nogil:
        for i in range(<int>JOB_KINDS):
            job_queue = &queues[i]
            pthread_mutex_lock(&job_queue.mutex)
            count += job_queue.count
            pthread_mutex_unlock(&job_queue.mutex)
    return count
