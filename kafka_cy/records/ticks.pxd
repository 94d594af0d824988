"""The cheapest clock there is, for durations within one process: the processor's counter where it has a steady one.

A tick's length is found by comparing with the monotonic clock over the process' life (`NetworkState.ticks_start`), so
nothing is calibrated at start. Readings of two cores may differ by some nanoseconds: negative durations count as 0.
"""
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifndef KAFKA_CY_TICKS
    #define KAFKA_CY_TICKS
    #include <stdint.h>
    #include <time.h>
    #if defined(__x86_64__)
    #include <x86intrin.h>
    static inline int64_t ticks_now(void) { return (int64_t)__rdtsc(); }
    #elif defined(__aarch64__)
    static inline int64_t ticks_now(void)
        { uint64_t t; __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t)); return (int64_t)t; }
    #else
    static inline int64_t ticks_now(void)
        { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
    #endif
    #endif
    """
    int64_t ticks_now() noexcept nogil
