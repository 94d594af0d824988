"""The one binding of POSIX and Linux calls, all usable without the GIL: files, sockets, epoll, threads.

The wrappers at the end return an errno (0: done), or what their comment says; the plain calls return what POSIX says.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport FILE

# -- files --

cdef extern from "<fcntl.h>" nogil:
    enum:
        O_RDONLY
        O_RDWR
        O_CREAT
        O_TRUNC
        O_DIRECTORY

cdef extern from "<errno.h>" nogil:
    enum:
        EDQUOT
        EINVAL
        EIO
        EMFILE
        ENFILE
        ENOENT
        ENOMEM
        ENOSPC

cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int us)
    int close(int fd)
    ssize_t read(int fd, void* data, size_t size)
    ssize_t write(int fd, const void* data, size_t size)
    ssize_t pread(int fd, void* data, size_t size, int64_t offset)
    ssize_t pwrite(int fd, const void* data, size_t size, int64_t offset)
    int fdatasync(int fd)
    int unlink(const char* path)

cdef extern from "<stdio.h>" nogil:
    int fileno(FILE* file)

cdef extern from "<sys/mman.h>" nogil:
    int munmap(void* data, size_t size)

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len
    ssize_t readv(int fd, const iovec* vector, int count)

cdef extern from "<dirent.h>" nogil:
    ctypedef struct DIR:
        pass
    struct dirent:
        char* d_name
    DIR* opendir(const char* path)
    dirent* readdir(DIR* directory)
    int closedir(DIR* directory)

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void* buffer, size_t size, unsigned int flags)

# -- sockets --

cdef extern from "<poll.h>" nogil:
    enum:
        POLLIN
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* entries, unsigned long count, int timeout_ms)

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP
        EPOLLRDHUP
        EPOLLET
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

cdef extern from "<sys/socket.h>" nogil:
    enum:
        AF_INET
        AF_INET6
        SOCK_NONBLOCK
        SOCK_CLOEXEC
        SOL_SOCKET
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

# -- threads --

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_mutex_init(pthread_mutex_t* mutex, const void* attributes)
    int pthread_mutex_destroy(pthread_mutex_t* mutex)
    int pthread_mutex_lock(pthread_mutex_t* mutex)
    int pthread_mutex_trylock(pthread_mutex_t* mutex)
    int pthread_mutex_unlock(pthread_mutex_t* mutex)
    int pthread_cond_init(pthread_cond_t* condition, const void* attributes)
    int pthread_cond_destroy(pthread_cond_t* condition)
    int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex)
    int pthread_cond_signal(pthread_cond_t* condition)
    int pthread_cond_broadcast(pthread_cond_t* condition)
    int pthread_create(pthread_t* thread, const void* attributes, void* (*run)(void*) noexcept nogil, void* argument)
    int pthread_join(pthread_t thread, void** result)

# -- wrappers --

cdef extern from *:
    """
    #ifndef KAFKA_CY_POSIX
    #define KAFKA_CY_POSIX
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/mman.h>
    #include <sys/prctl.h>
    #include <sys/resource.h>
    #include <sys/socket.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    #ifndef SYS_epoll_pwait2
    #define SYS_epoll_pwait2 441 /* where the headers are older than the system call */
    #endif

    /* Writes all of [data, size) at `position`; the errno of the call that failed, ENOSPC when nothing was written. */
    static inline int write_whole(int fd, const void *data, size_t size, int64_t position) {
        const char *p = (const char *)data;
        while (size > 0) {
            ssize_t written = pwrite(fd, p, size, position);
            if (written < 0) { if (errno == EINTR) continue; return errno; }
            if (written == 0) return ENOSPC;
            p += written; size -= (size_t)written; position += written;
        }
        return 0;
    }
    /* The number of bytes read, which is less than `size` at the end of the file, or -errno. */
    static inline int64_t read_some(int fd, void *data, size_t size, int64_t position) {
        char *p = (char *)data;
        size_t done = 0;
        while (done < size) {
            ssize_t got = pread(fd, p + done, size - done, position + (int64_t)done);
            if (got < 0) { if (errno == EINTR) continue; return -errno; }
            if (got == 0) break;
            done += (size_t)got;
        }
        return (int64_t)done;
    }
    /* A descriptor, or -errno. */
    static inline int open_file(const char *path, int flags) {
        int fd = open(path, flags | O_CLOEXEC, 0644);
        return fd < 0 ? -errno : fd;
    }
    /* Bytes; -errno, or -1 for the variant that takes a path. */
    static inline int64_t size_of_fd(int fd) { struct stat s; return fstat(fd, &s) ? -errno : (int64_t)s.st_size; }
    static inline int64_t size_of_file(const char *path) { struct stat s; return stat(path, &s) ? -1 : (int64_t)s.st_size; }
    static inline int64_t modified_ms_of_file(const char *path) {
        struct stat s;
        return stat(path, &s) ? -1 : (int64_t)s.st_mtim.tv_sec * 1000 + s.st_mtim.tv_nsec / 1000000;
    }
    static inline int64_t modified_ms_of_fd(int fd) {
        struct stat s;
        return fstat(fd, &s) ? -1 : (int64_t)s.st_mtim.tv_sec * 1000 + s.st_mtim.tv_nsec / 1000000;
    }
    static inline int map_file(int fd, size_t size, uint8_t **out) {
        void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) return errno;
        *out = (uint8_t *)p;
        return 0;
    }
    static inline int cut_file(int fd, int64_t size) { return ftruncate(fd, size) ? errno : 0; }
    /* Reserves disk space for `size` bytes without changing the file's length; does nothing if the file system cannot. */
    static inline int reserve_file(int fd, int64_t size) {
        return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size) && errno != EOPNOTSUPP ? errno : 0;
    }
    static inline int sync_data(int fd) { return fdatasync(fd) ? errno : 0; }
    static inline int rename_path(const char *from, const char *to) { return rename(from, to) ? errno : 0; }
    static inline int64_t open_files_max(void) {
        struct rlimit r;
        if (getrlimit(RLIMIT_NOFILE, &r)) return 1024;
        return r.rlim_cur == RLIM_INFINITY ? 1048576 : (int64_t)r.rlim_cur;
    }
    /* Gives `to` the modification time of `from`. */
    static inline int copy_modified_time(int from, int to) {
        struct stat s;
        if (fstat(from, &s)) return errno;
        struct timespec times[2] = {s.st_atim, s.st_mtim};
        return futimens(to, times) ? errno : 0;
    }
    /* fsync of a file or a folder by its path. */
    static inline int sync_path(const char *path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC), failed;
        if (fd < 0) return errno;
        failed = fsync(fd) ? errno : 0;
        close(fd);
        return failed;
    }
    static inline void name_file(char *out, size_t size, const char *directory, int64_t offset, const char *suffix) {
        snprintf(out, size, "%s/%020lld%s", directory, (long long)offset, suffix);
    }
    static inline void join_path(char *out, size_t size, const char *directory, const char *name) {
        snprintf(out, size, "%s/%s", directory, name);
    }
    static inline void block_all_signals(void)
        { sigset_t s; sigfillset(&s); pthread_sigmask(SIG_SETMASK, &s, NULL); }
    static inline int cond_init_monotonic(pthread_cond_t *c)
        { pthread_condattr_t a; pthread_condattr_init(&a); pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
          int rc = pthread_cond_init(c, &a); pthread_condattr_destroy(&a); return rc; }
    static inline int cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t deadline_ns)
        { struct timespec t = { deadline_ns / 1000000000LL, deadline_ns % 1000000000LL };
          return pthread_cond_timedwait(c, m, &t); }
    static inline void errno_set(int error) { errno = error; }
    /* epoll_pwait2 as a system call: the function is newer (glibc 2.35) than systems that are supported. A kernel before
       5.11 does not have it. There a wait is rounded down to milliseconds: the caller looks at its clock more often. */
    static inline int epoll_wait_ns(int fd, struct epoll_event *events, int max, int64_t ns)
        { struct timespec t = { ns / 1000000000LL, ns % 1000000000LL };
          int count = (int)syscall(SYS_epoll_pwait2, fd, events, max, &t, NULL, (size_t)0);
          return count < 0 && errno == ENOSYS ? epoll_wait(fd, events, max, (int)(ns / 1000000)) : count; }
    static inline void exact_timers(void) { prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); }
    static inline void set_no_delay(int fd)
        { int one = 1; setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); }
    #endif
    """
    int write_whole(int fd, const void* data, size_t size, int64_t position) noexcept nogil
    int64_t read_some(int fd, void* data, size_t size, int64_t position) noexcept nogil
    int open_file(const char* path, int flags) noexcept nogil
    int64_t size_of_fd(int fd) noexcept nogil
    int64_t size_of_file(const char* path) noexcept nogil
    int64_t modified_ms_of_file(const char* path) noexcept nogil
    int64_t modified_ms_of_fd(int fd) noexcept nogil
    int copy_modified_time(int from_fd, int to_fd) noexcept nogil
    int map_file(int fd, size_t size, uint8_t** out) noexcept nogil
    int cut_file(int fd, int64_t size) noexcept nogil
    int reserve_file(int fd, int64_t size) noexcept nogil
    int sync_data(int fd) noexcept nogil
    int sync_path(const char* path) noexcept nogil
    int rename_path(const char* old_path, const char* new_path) noexcept nogil
    void name_file(char* out, size_t size, const char* directory, int64_t offset, const char* suffix) noexcept nogil
    void join_path(char* out, size_t size, const char* directory, const char* name) noexcept nogil
    int64_t open_files_max() noexcept nogil
    void block_all_signals() noexcept nogil
    int cond_init_monotonic(pthread_cond_t* condition) noexcept nogil
    int cond_wait_until(pthread_cond_t* condition, pthread_mutex_t* mutex, int64_t deadline_ns) noexcept nogil  # monotonic
    void errno_set(int error) noexcept nogil        # an assignment to errno would make a local variable of it
    int epoll_wait_ns(int epoll_fd, epoll_event* events, int events_max, int64_t timeout_ns) noexcept nogil
    void exact_timers() noexcept nogil              # timers of this thread fire on time, not up to 50 us later
    void set_no_delay(int fd) noexcept nogil        # TCP_NODELAY

cdef enum:
    PATH_BYTES_MAX = 4096
