"""Waiting for a mutex, but not for longer than a given time."""
from libc.stdint cimport int64_t

from kafka_cy.base.posix cimport pthread_mutex_t

cdef extern from *:
    """
    #ifndef KAFKA_CY_TIMED_LOCK
    #define KAFKA_CY_TIMED_LOCK
    #include <pthread.h>
    #include <stdint.h>
    #include <time.h>
    #if defined(__GLIBC__) && defined(__GLIBC_PREREQ)
    #if __GLIBC_PREREQ(2, 30)
    #define KAFKA_CY_LOCK_CLOCK CLOCK_MONOTONIC
    #define KAFKA_CY_LOCK_UNTIL(mutex, until) pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, until)
    #endif
    #endif
    #ifndef KAFKA_CY_LOCK_CLOCK
    #define KAFKA_CY_LOCK_CLOCK CLOCK_REALTIME
    #define KAFKA_CY_LOCK_UNTIL(mutex, until) pthread_mutex_timedlock(mutex, until)
    #endif
    static inline int mutex_lock_within(pthread_mutex_t *mutex, int64_t ns) {
        struct timespec until;
        clock_gettime(KAFKA_CY_LOCK_CLOCK, &until);
        ns += until.tv_nsec;
        until.tv_sec += ns / 1000000000LL;
        until.tv_nsec = ns % 1000000000LL;
        return KAFKA_CY_LOCK_UNTIL(mutex, &until);
    }
    #endif
    """
    # 0: locked. ETIMEDOUT: another thread had it all the time. A C library without pthread_mutex_clocklock waits by the wall
    # clock, so that a step of it makes the wait longer or shorter.
    int mutex_lock_within(pthread_mutex_t* mutex, int64_t ns) noexcept nogil
