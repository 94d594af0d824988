"""POSIX calls of a client: resolving a name, connecting, waiting for one socket. All usable without the GIL; see posix.pxd."""
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifndef KAFKA_CY_POSIX_CONNECT
    #define KAFKA_CY_POSIX_CONNECT
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <netdb.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <poll.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/socket.h>
    #include <time.h>
    #include <unistd.h>
    #define CONNECT_UNRESOLVED (-1)
    #define CONNECT_STOPPED (-2)

    /* Waits until `fd` is ready for `events`: 0; ETIMEDOUT at the deadline; CONNECT_STOPPED when `stop_fd` is readable. */
    static inline int wait_for_socket(int fd, short events, int stop_fd, int64_t deadline_ns) {
        for (;;) {
            struct pollfd two[2] = {{fd, events, 0}, {stop_fd, POLLIN, 0}};
            struct timespec now, left;
            clock_gettime(CLOCK_MONOTONIC, &now);
            int64_t left_ns = deadline_ns - (now.tv_sec * 1000000000LL + now.tv_nsec);
            if (left_ns < 0) left_ns = 0;
            left.tv_sec = left_ns / 1000000000LL;
            left.tv_nsec = left_ns % 1000000000LL;
            int ready = ppoll(two, stop_fd >= 0 ? 2 : 1, &left, NULL);
            if (ready < 0) { if (errno == EINTR) continue; return errno; }
            if (stop_fd >= 0 && two[1].revents) return CONNECT_STOPPED;
            if (two[0].revents) return 0;
            if (ready == 0) return ETIMEDOUT;
        }
    }
    static inline int connect_one(const struct addrinfo *address, int stop_fd, int64_t deadline_ns, int *out) {
        int one = 1, failed = 0;
        socklen_t size = sizeof failed;
        int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) return errno;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
        if (connect(fd, address->ai_addr, address->ai_addrlen)) {
            failed = errno;
            if (failed == EINPROGRESS) {
                failed = wait_for_socket(fd, POLLOUT, stop_fd, deadline_ns);
                if (!failed && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size)) failed = errno;
            }
        }
        if (failed) { close(fd); return failed; }
        *out = fd;
        return 0;
    }
    /* When the next of `left` addresses gives way to the others: each one has the same share of the time that remains. */
    static inline int64_t share_of(int64_t deadline_ns, int left) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t now_ns = now.tv_sec * 1000000000LL + now.tv_nsec;
        return now_ns + (deadline_ns - now_ns) / left;
    }
    /* A connected, non-blocking socket in `out`: 0; the errno of the last address that was tried; CONNECT_UNRESOLVED or
       CONNECT_STOPPED. Resolving the name may take longer than the deadline says: it is the C library's. */
    static inline int connect_to(const char *host, int port, int stop_fd, int64_t deadline_ns, int *out) {
        struct addrinfo hints, *found = NULL, *each;
        char service[16];
        int failed = CONNECT_UNRESOLVED, left = 0;
        memset(&hints, 0, sizeof hints);
        hints.ai_socktype = SOCK_STREAM;
        snprintf(service, sizeof service, "%d", port);
        if (getaddrinfo(host, service, &hints, &found)) return CONNECT_UNRESOLVED;
        for (each = found; each; each = each->ai_next) left++;
        for (each = found; each; each = each->ai_next) {
            failed = connect_one(each, stop_fd, share_of(deadline_ns, left--), out);
            if (!failed || failed == CONNECT_STOPPED) break;
        }
        freeaddrinfo(found);
        return failed;
    }
    #endif
    """
    enum:
        POLLIN
        POLLOUT
        CONNECT_UNRESOLVED
        CONNECT_STOPPED
        ETIMEDOUT
    int wait_for_socket(int fd, short events, int stop_fd, int64_t deadline_ns) noexcept nogil
    int connect_to(const char* host, int port, int stop_fd, int64_t deadline_ns, int* out) noexcept nogil
