"""A queue and a few pthreads. Jobs start in queue order, on any thread. The queue is a ring buffer that grows."""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport malloc, free

from kafka_cy.base.posix cimport (
    pthread_cond_init, pthread_cond_signal, pthread_cond_t, pthread_cond_wait, pthread_create, pthread_mutex_init,
    pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock, pthread_t,
)
from kafka_cy.base.thread_name cimport name_this_thread

cdef enum:
    THREADS_DEFAULT = 2
    THREADS_MAX = 64

cdef struct Job:
    background_job run
    void* context

cdef pthread_mutex_t mutex
cdef pthread_cond_t not_empty
cdef pthread_t threads[THREADS_MAX]
cdef int32_t threads_running = 0
cdef int32_t threads_wanted = THREADS_DEFAULT
cdef Job* ring = NULL
cdef int64_t ring_capacity = 0
cdef int64_t ring_head = 0
cdef int64_t ring_count = 0
pthread_mutex_init(&mutex, NULL)
pthread_cond_init(&not_empty, NULL)


cdef int grow() noexcept nogil:
    global ring, ring_capacity, ring_head
    cdef int64_t wanted = ring_capacity * 2 if ring_capacity else 64
    cdef Job* grown = <Job*>malloc(<size_t>wanted * sizeof(Job))
    cdef int64_t i
    if grown == NULL:
        return -1
    for i in range(ring_count):
        grown[i] = ring[(ring_head + i) % ring_capacity]
    free(ring)
    ring = grown
    ring_capacity = wanted
    ring_head = 0
    return 0


cdef void* work(void* number) noexcept nogil:
    global ring_head, ring_count
    cdef Job job
    name_this_thread("background", <int><size_t>number)
    while True:
        pthread_mutex_lock(&mutex)
        while ring_count == 0:
            pthread_cond_wait(&not_empty, &mutex)
        job = ring[ring_head]
        ring_head = (ring_head + 1) % ring_capacity
        ring_count -= 1
        pthread_mutex_unlock(&mutex)
        job.run(job.context)


def set_threads(int count):
    """Set how many threads run jobs (background.threads), at most 64. New threads start with the next job; running ones
    stay."""
    global threads_wanted
    with nogil:
        pthread_mutex_lock(&mutex)
        threads_wanted = min(max(count, 1), <int>THREADS_MAX)
        pthread_mutex_unlock(&mutex)


cdef int background_submit(background_job job, void* context) noexcept nogil:
    global ring_count, threads_running
    cdef int failed = 0
    pthread_mutex_lock(&mutex)
    while threads_running < threads_wanted and not failed:
        failed = pthread_create(&threads[threads_running], NULL, work, <void*><size_t>threads_running)
        if not failed:
            threads_running += 1
    if threads_running == 0 or (ring_count == ring_capacity and grow() < 0):
        pthread_mutex_unlock(&mutex)
        return -1
    ring[(ring_head + ring_count) % ring_capacity].run = job
    ring[(ring_head + ring_count) % ring_capacity].context = context
    ring_count += 1
    pthread_cond_signal(&not_empty)
    pthread_mutex_unlock(&mutex)
    return 0
