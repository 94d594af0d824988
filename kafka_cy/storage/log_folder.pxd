"""The name of a log's folder, which may change while its files are in use."""
from libc.stdint cimport int64_t

from kafka_cy.base.atomics cimport atomic_load_pointer
from kafka_cy.base.posix cimport ENOENT, PATH_BYTES_MAX, name_file, open_file, rename_path

cdef enum:
    NAME_TRIES_MAX = 4

# Owner: a Log, which keeps every name the folder ever had. Changed with the append mutex (log_rename); its holder uses
# `name` as it is. All others try the other name if a file is missing under the first.
cdef struct LogFolder:
    const char* name            # (a)
    const char* next_name       # (a) during rename(2): the folder has one of the two names. NULL otherwise


cdef inline const char* folder_name(const LogFolder* folder) noexcept nogil:
    return <const char*>atomic_load_pointer(<void**>&folder.name)


cdef inline const char* folder_other_name(const LogFolder* folder, const char* tried) noexcept nogil:
    """The path to try when no file exists under the name `tried`; NULL when the file is missing."""
    cdef const char* name = folder_name(folder)
    if name == tried:
        name = <const char*>atomic_load_pointer(<void**>&folder.next_name)
        if name == NULL:
            name = folder_name(folder)      # the rename may have ended between the two looks
    return name if name != tried else NULL


cdef inline int open_in_folder(
    const LogFolder* folder, int64_t base_offset, const char* suffix, int flags
) noexcept nogil:
    """A descriptor, or -errno."""
    cdef char path[PATH_BYTES_MAX]
    cdef const char* name = folder_name(folder)
    cdef int fd = -ENOENT
    cdef int i
    for i in range(NAME_TRIES_MAX):  # no-cython-lint
        name_file(path, PATH_BYTES_MAX, name, base_offset, suffix)
        fd = open_file(path, flags)
        if fd != -ENOENT:
            break
        name = folder_other_name(folder, name)
        if name == NULL:
            break
    return fd


cdef inline int rename_in_folder(
    const LogFolder* folder, int64_t base_offset, const char* suffix, const char* new_suffix
) noexcept nogil:
    """0 or an errno."""
    cdef char old_path[PATH_BYTES_MAX]
    cdef char new_path[PATH_BYTES_MAX]
    cdef const char* name = folder_name(folder)
    cdef int failed = ENOENT
    cdef int i
    for i in range(NAME_TRIES_MAX):  # no-cython-lint
        name_file(old_path, PATH_BYTES_MAX, name, base_offset, suffix)
        name_file(new_path, PATH_BYTES_MAX, name, base_offset, new_suffix)
        failed = rename_path(old_path, new_path)
        if failed != ENOENT:
            break
        name = folder_other_name(folder, name)
        if name == NULL:
            break
    return failed
