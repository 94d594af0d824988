"""Shared state of the cleaner threads: waiting for work or bandwidth, and stopping."""
from libc.stdint cimport int64_t
from libc.string cimport memset

from kafka_cy.base.atomics cimport atomic_load_i32
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.posix cimport (
    cond_init_monotonic, cond_wait_until, pthread_cond_broadcast, pthread_cond_destroy, pthread_mutex_destroy,
    pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
)


cdef int64_t monotonic_ms() noexcept nogil:
    return monotonic_ns() // 1000000


cdef void control_init(CleanerControl* control) noexcept nogil:
    memset(control, 0, sizeof(CleanerControl))
    pthread_mutex_init(&control.mutex, NULL)
    cond_init_monotonic(&control.changed)


cdef void control_destroy(CleanerControl* control) noexcept nogil:
    pthread_cond_destroy(&control.changed)
    pthread_mutex_destroy(&control.mutex)


cdef void control_wait(CleanerControl* control, int64_t wait_ms) noexcept nogil:
    cdef int64_t until_ns = monotonic_ns() + min(wait_ms, <int64_t>86_400_000) * 1000000
    pthread_mutex_lock(&control.mutex)
    if not atomic_load_i32(&control.stopping):
        cond_wait_until(&control.changed, &control.mutex, until_ns)
    pthread_mutex_unlock(&control.mutex)


cdef void control_wake(CleanerControl* control) noexcept nogil:
    pthread_mutex_lock(&control.mutex)
    pthread_cond_broadcast(&control.changed)
    pthread_mutex_unlock(&control.mutex)
