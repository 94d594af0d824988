"""Names of native threads in the operating system, as `top -H`, gdb and perf show them. For Python threads: named_thread.py."""

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
        char name[16];      /* the kernel's limit; a longer name is cut */
        snprintf(name, sizeof name, "%s-%d", kind, number);
        pthread_setname_np(pthread_self(), name);
    }
    #endif
    """
    void name_this_thread(const char* kind, int number) noexcept nogil
