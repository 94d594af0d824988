"""Reading only what is in the page cache: a reactor must not wait for a disk.

Linux's RWF_NOWAIT returns EAGAIN instead of reading from the disk. A file system without it (tmpfs) counts as cached.
"""
from libc.stdint cimport int64_t

cdef extern from * nogil:
    """
    #ifndef KAFKA_CY_PAGE_CACHE
    #define KAFKA_CY_PAGE_CACHE
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <stdint.h>
    #include <sys/uio.h>
    #include <unistd.h>
    /* As pread, of what is cached; an error is returned as -errno, EAGAIN: nothing is. */
    static inline int64_t pread_cached(int fd, void *data, size_t size, int64_t at)
    {
        struct iovec vector = { data, size };
        ssize_t n = preadv2(fd, &vector, 1, at, RWF_NOWAIT);
        if (n < 0 && errno != EAGAIN)
            n = pread(fd, data, size, at);
        return n < 0 ? -errno : n;
    }
    /* Samples the range: the kernel reads ahead, and evicts, in larger pieces than `step`. */
    static inline int range_cached(int fd, int64_t at, int64_t size, int64_t step)
    {
        char byte;
        int64_t position;
        for (position = at; position < at + size; position += step)
            if (pread_cached(fd, &byte, 1, position) == -EAGAIN)
                return 0;
        return pread_cached(fd, &byte, 1, at + size - 1) != -EAGAIN;
    }
    #endif
    """
    int64_t pread_cached(int fd, void* data, size_t size, int64_t at) noexcept
    bint range_cached(int fd, int64_t at, int64_t size, int64_t step) noexcept
