"""The system's names of native threads, as top -H, gdb and perf show them. Python's: named_thread.py."""

cdef extern from *:
    """
    #ifndef KAFKA_CY_THREAD_NAME
    #define KAFKA_CY_THREAD_NAME
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <pthread.h>
    #include <stdio.h>
    static inline void name_this_thread(const char *kind, int number) {
        char name[16];      /* of the kernel; the rest is cut */
        snprintf(name, sizeof name, "%s-%d", kind, number);
        pthread_setname_np(pthread_self(), name);
    }
    #endif
    """
    void name_this_thread(const char* kind, int number) noexcept nogil
