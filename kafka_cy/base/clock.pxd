"""Clocks, without the GIL.

`ticks_now` is the cheapest clock for durations within one process: the processor's own counter where it is steady, else
the monotonic clock. The length of a tick follows from a comparison with the monotonic clock over the life of the process
(`NetworkState.ticks_start`), so nothing is calibrated at start. The counters of two cores may differ by some nanoseconds:
treat a negative duration as 0.
"""
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifndef KAFKA_CY_CLOCK
    #define KAFKA_CY_CLOCK
    #include <stdint.h>
    #include <time.h>
    static inline int64_t nanoseconds_of(clockid_t clock)
        { struct timespec t; clock_gettime(clock, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
    static inline int64_t monotonic_ns(void) { return nanoseconds_of(CLOCK_MONOTONIC); }
    static inline int64_t thread_cpu_ns(void) { return nanoseconds_of(CLOCK_THREAD_CPUTIME_ID); }
    static inline int64_t wall_clock_ms(void)
        { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); return t.tv_sec * 1000LL + t.tv_nsec / 1000000; }
    #if defined(__x86_64__)
    #include <x86intrin.h>
    static inline int64_t ticks_now(void) { return (int64_t)__rdtsc(); }
    #elif defined(__aarch64__)
    static inline int64_t ticks_now(void)
        { uint64_t t; __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t)); return (int64_t)t; }
    #else
    static inline int64_t ticks_now(void) { return monotonic_ns(); }
    #endif
    #endif
    """
    int64_t ticks_now() noexcept nogil
    int64_t monotonic_ns() noexcept nogil
    int64_t thread_cpu_ns() noexcept nogil      # CPU time of the calling thread
    int64_t wall_clock_ms() noexcept nogil      # since 1970
