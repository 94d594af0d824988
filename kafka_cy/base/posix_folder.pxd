"""Calls on files of an open folder. They find the files whatever the folder's name is meanwhile."""

cdef extern from *:
    """
    #ifndef KAFKA_CY_POSIX_FOLDER
    #define KAFKA_CY_POSIX_FOLDER
    #include <errno.h>
    #include <fcntl.h>
    #include <stdio.h>
    static inline int open_at(int folder, const char *name, int flags) {
        int fd = openat(folder, name, flags | O_CLOEXEC, 0644);
        return fd < 0 ? -errno : fd;
    }
    static inline int rename_at(int folder, const char *from, const char *to) {
        return renameat(folder, from, folder, to) ? errno : 0;
    }
    #endif
    """
    int open_at(int folder, const char* name, int flags) noexcept nogil         # a descriptor, or -errno
    int rename_at(int folder, const char* old_name, const char* new_name) noexcept nogil    # 0 or an errno
