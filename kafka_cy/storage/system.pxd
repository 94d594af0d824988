"""The POSIX calls that the storage layer makes, without the GIL. What can fail returns its errno: 0, or as the comment says."""
from libc.stdint cimport int64_t, uint8_t
from libc.stdio cimport FILE

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec* now) noexcept

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    ctypedef struct pthread_condattr_t:
        pass
    int pthread_mutex_init(pthread_mutex_t* mutex, const void* attributes) noexcept
    int pthread_mutex_destroy(pthread_mutex_t* mutex) noexcept
    int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept
    int pthread_mutex_unlock(pthread_mutex_t* mutex) noexcept
    int pthread_cond_init(pthread_cond_t* condition, const void* attributes) noexcept
    int pthread_cond_destroy(pthread_cond_t* condition) noexcept
    int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) noexcept
    int pthread_cond_signal(pthread_cond_t* condition) noexcept
    int pthread_cond_broadcast(pthread_cond_t* condition) noexcept
    int pthread_condattr_init(pthread_condattr_t* attributes) noexcept
    int pthread_condattr_setclock(pthread_condattr_t* attributes, int clock) noexcept
    int pthread_condattr_destroy(pthread_condattr_t* attributes) noexcept
    int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex, const timespec* until) noexcept
    int pthread_create(pthread_t* thread, const void* attributes, void* (*run)(void*) noexcept nogil, void* argument) noexcept
    int pthread_join(pthread_t thread, void** result) noexcept

cdef extern from *:
    """
    #ifndef KAFKA_CY_STORAGE_SYSTEM
    #define KAFKA_CY_STORAGE_SYSTEM
    #include <errno.h>
    #include <fcntl.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/resource.h>
    #include <sys/stat.h>
    #include <time.h>
    #include <unistd.h>

    /* All of [data, size) at `position`; 0, or the errno of the call that failed (ENOSPC for a write of nothing). */
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
    /* How many bytes could be read: fewer than `size` at the end of the file; -errno. */
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
    /* Bytes, or -errno. */
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
    /* Room on the disk for `size` bytes, the file's length stays; nothing where the file system cannot do it. */
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
    static inline int64_t wall_clock_ms(void) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    }
    /* Give `to` the last change that `from` has; 0 or an errno. */
    static inline int copy_modified_time(int from, int to) {
        struct stat s;
        if (fstat(from, &s)) return errno;
        struct timespec times[2] = {s.st_atim, s.st_mtim};
        return futimens(to, times) ? errno : 0;
    }
    /* fsync of a file or a folder by its name. */
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
    #endif
    """
    int write_whole(int fd, const void* data, size_t size, int64_t position) noexcept nogil
    int64_t read_some(int fd, void* data, size_t size, int64_t position) noexcept nogil
    int open_file(const char* path, int flags) noexcept nogil
    int64_t size_of_fd(int fd) noexcept nogil
    int64_t size_of_file(const char* path) noexcept nogil
    int64_t modified_ms_of_file(const char* path) noexcept nogil
    int64_t modified_ms_of_fd(int fd) noexcept nogil
    int map_file(int fd, size_t size, uint8_t** out) noexcept nogil
    int munmap(void* data, size_t size) noexcept nogil
    int64_t open_files_max() noexcept nogil
    int64_t wall_clock_ms() noexcept nogil
    int copy_modified_time(int from_fd, int to_fd) noexcept nogil
    int sync_path(const char* path) noexcept nogil
    void name_file(char* out, size_t size, const char* directory, int64_t offset, const char* suffix) noexcept nogil
    void join_path(char* out, size_t size, const char* directory, const char* name) noexcept nogil
    int fileno(FILE* file) noexcept nogil
    int close(int fd) noexcept nogil
    int cut_file(int fd, int64_t size) noexcept nogil
    int reserve_file(int fd, int64_t size) noexcept nogil
    int sync_data(int fd) noexcept nogil
    int rename_path(const char* old_path, const char* new_path) noexcept nogil
    int unlink(const char* path) noexcept nogil
    int O_RDONLY
    int O_RDWR
    int O_CREAT
    int O_TRUNC
    int O_DIRECTORY
    int EDQUOT
    int EIO
    int EINVAL
    int ENOSPC
    int ENOENT
    int ENOMEM
    int EMFILE
    int ENFILE

cdef enum:
    PATH_BYTES_MAX = 4096
