"""System calls of the load generator and of the floor that kafka_cy.network.system does not declare."""
from libc.stdint cimport int64_t

from kafka_cy.network.system cimport epoll_event

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLET

cdef extern from "<unistd.h>" nogil:
    int fdatasync(int fd)
    ssize_t pwrite(int fd, const void* data, size_t size, int64_t position)

cdef extern from *:
    """
    #ifndef KAFKA_CY_BENCH_SYSTEM
    #define KAFKA_CY_BENCH_SYSTEM
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <stdint.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <sys/prctl.h>
    #include <time.h>
    static inline int64_t thread_cpu_ns(void)
        { struct timespec t; clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
    static inline int epoll_wait_ns(int fd, struct epoll_event *events, int max, int64_t ns)
        { struct timespec t = { ns / 1000000000LL, ns % 1000000000LL }; return epoll_pwait2(fd, events, max, &t, 0); }
    /* Timers of this thread fire when they should, not up to 50 us later. */
    static inline void exact_timers(void) { prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); }
    enum { FILE_FLAGS_NEW = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC };
    static inline int open_file(const char *path, int flags) { return open(path, flags, 0644); }
    static inline void set_no_delay(int fd)
        { int one = 1; setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); }
    #endif
    """
    enum:
        FILE_FLAGS_NEW
    int open_file(const char* path, int flags) noexcept nogil
    void set_no_delay(int fd) noexcept nogil
    int64_t thread_cpu_ns() noexcept nogil
    int epoll_wait_ns(int epoll_fd, epoll_event* events, int events_max, int64_t timeout_ns) noexcept nogil
    void exact_timers() noexcept nogil
