"""The system calls that the network layer uses, callable without the GIL."""
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP
        EPOLLEXCLUSIVE
        EPOLL_CTL_ADD
        EPOLL_CTL_MOD
        EPOLL_CTL_DEL
        EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        void* ptr
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event)
    int epoll_wait(int epoll_fd, epoll_event* events, int events_max, int timeout_ms)

cdef extern from "<sys/eventfd.h>" nogil:
    enum:
        EFD_NONBLOCK
        EFD_CLOEXEC
    int eventfd(unsigned int value, int flags)

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len
    ssize_t readv(int fd, const iovec* vector, int count)

cdef extern from "<sys/socket.h>" nogil:
    enum:
        AF_INET
        AF_INET6
        SOCK_NONBLOCK
        SOCK_CLOEXEC
        SOL_SOCKET
        SO_REUSEADDR
        MSG_NOSIGNAL
        MSG_DONTWAIT
        MSG_MORE
        SHUT_WR
    ctypedef unsigned int socklen_t
    struct sockaddr:
        uint16_t sa_family
    struct sockaddr_storage:
        uint16_t ss_family
    struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    int accept4(int fd, sockaddr* address, socklen_t* size, int flags)
    int setsockopt(int fd, int level, int name, const void* value, socklen_t size)
    ssize_t recv(int fd, void* data, size_t size, int flags)
    ssize_t send(int fd, const void* data, size_t size, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int shutdown(int fd, int how)

cdef extern from "<sys/sendfile.h>" nogil:
    ssize_t sendfile(int out_fd, int in_fd, int64_t* offset, size_t count)

cdef extern from "<netinet/in.h>" nogil:
    enum:
        IPPROTO_TCP
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        uint16_t sin6_port
        in6_addr sin6_addr
    uint16_t ntohs(uint16_t value)

cdef extern from "<netinet/tcp.h>" nogil:
    enum:
        TCP_NODELAY

cdef extern from "<arpa/inet.h>" nogil:
    const char* inet_ntop(int family, const void* source, char* destination, socklen_t size)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    ssize_t read(int fd, void* data, size_t size)
    ssize_t pread(int fd, void* data, size_t size, int64_t offset)
    ssize_t write(int fd, const void* data, size_t size)

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    ctypedef unsigned long pthread_t
    int pthread_mutex_init(pthread_mutex_t* mutex, void* attributes)
    int pthread_mutex_destroy(pthread_mutex_t* mutex)
    int pthread_mutex_lock(pthread_mutex_t* mutex)
    int pthread_mutex_unlock(pthread_mutex_t* mutex)
    int pthread_cond_destroy(pthread_cond_t* cond)
    int pthread_cond_signal(pthread_cond_t* cond)
    int pthread_create(pthread_t* thread, void* attributes, void* (*start)(void*) noexcept nogil, void* argument)
    int pthread_join(pthread_t thread, void** result)

cdef extern from *:
    """
    #ifndef KAFKA_CY_NETWORK_SYSTEM
    #define KAFKA_CY_NETWORK_SYSTEM
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <pthread.h>
    #include <signal.h>
    #include <time.h>
    static inline int64_t monotonic_ns(void)
        { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
    static inline int64_t realtime_ms(void)
        { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); return t.tv_sec * 1000LL + t.tv_nsec / 1000000; }
    static inline void block_all_signals(void)
        { sigset_t s; sigfillset(&s); pthread_sigmask(SIG_SETMASK, &s, NULL); }
    static inline int cond_init_monotonic(pthread_cond_t *c)
        { pthread_condattr_t a; pthread_condattr_init(&a); pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
          int rc = pthread_cond_init(c, &a); pthread_condattr_destroy(&a); return rc; }
    static inline int cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t deadline_ns)
        { struct timespec t = { deadline_ns / 1000000000LL, deadline_ns % 1000000000LL };
          return pthread_cond_timedwait(c, m, &t); }
    static inline void counter_add(int64_t *p, int64_t v)
        { __atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + v, __ATOMIC_RELAXED); }
    static inline void counter_set(int64_t *p, int64_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
    static inline void errno_set(int error) { errno = error; }
    static inline int first_bit(uint64_t v) { return v ? __builtin_ctzll(v) : 64; }
    #endif
    """
    int64_t monotonic_ns() noexcept nogil
    int64_t realtime_ms() noexcept nogil
    void block_all_signals() noexcept nogil
    int cond_init_monotonic(pthread_cond_t* cond) noexcept nogil
    int cond_wait_until(pthread_cond_t* cond, pthread_mutex_t* mutex, int64_t deadline_ns) noexcept nogil
    void counter_add(int64_t* counter, int64_t value) noexcept nogil    # one writer, any readers
    void counter_set(int64_t* counter, int64_t value) noexcept nogil    # the same, for a gauge
    void errno_set(int error) noexcept nogil        # to assign to errno would make a local variable of it
    int first_bit(uint64_t value) noexcept nogil
