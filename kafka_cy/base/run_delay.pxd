"""How long a thread was ready to run and had no core: on a busy machine, that and not the disk makes a call slow."""
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifndef KAFKA_CY_RUN_DELAY
    #define KAFKA_CY_RUN_DELAY
    #include <fcntl.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <unistd.h>
    static inline int64_t run_delay_total_ns(void) {
        char text[96], *at = text;
        int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
        ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (fd >= 0) close(fd);
        if (size <= 0) return 0;
        text[size] = 0;
        strtoll(at, &at, 10);
        return strtoll(at, &at, 10);
    }
    static inline int64_t run_delay_since_last_ns(void) {
        static __thread int64_t last;
        int64_t before = last;
        last = run_delay_total_ns();
        return last - before;
    }
    #endif
    """
    # Of the calling thread since its last call in the same module, in ns; 0 where the kernel does not say. Three system calls.
    int64_t run_delay_since_last_ns() noexcept nogil
