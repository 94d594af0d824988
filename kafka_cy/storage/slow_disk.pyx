"""Appends to a slow disk leave the reactors, so that a slow disk holds up its own partitions only.

An append usually only copies into the page cache. When the disk cannot keep up, the kernel makes each write wait, and a
reactor that waits holds up all of its connections, whatever disk they need. So the time of slow appends is added up by log
directory. While a directory counts as slow, Produce gives its appends to jobs (api/produce_job). Jobs measure as well: the
directory becomes fast again when no append has been slow for a while.

The clock runs on while a thread waits for a core. So on a machine with too few cores a disk may count as slow that is not; its
appends then take two more changes of threads.
"""
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport strcmp, strdup, strrchr

from kafka_cy.base.atomics cimport atomic_add_relaxed_i64, atomic_cas_i64, atomic_load_relaxed_i64, counter_set
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.posix cimport (
    pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
)

cdef enum:
    DIRECTORIES_MAX = 256

cdef pthread_mutex_t directories_mutex          # guards the directories; a leaf
cdef char* directories[DIRECTORIES_MAX]
cdef Disk disks[DIRECTORIES_MAX + 1]             # the last one is for what finds no place
cdef int directories_count = 0

cdef void disks_init() noexcept nogil:
    cdef int i
    pthread_mutex_init(&directories_mutex, NULL)
    for i in range(DIRECTORIES_MAX + 1):
        pthread_mutex_init(&disks[i].running_mutex, NULL)

disks_init()


cdef Disk* find_or_add(const char* directory) noexcept nogil:
    """Under the mutex."""
    global directories_count
    cdef int i
    for i in range(directories_count):
        if strcmp(directories[i], directory) == 0:
            return &disks[i]
    if directories_count == DIRECTORIES_MAX:
        return &disks[<int>DIRECTORIES_MAX]
    directories[directories_count] = strdup(directory)
    if directories[directories_count] == NULL:
        return &disks[<int>DIRECTORIES_MAX]
    disks[directories_count].write_queue = directories_count % WRITE_QUEUES
    directories_count += 1
    return &disks[directories_count - 1]


cdef Disk* disk_named(const char* directory) noexcept nogil:
    cdef Disk* disk
    pthread_mutex_lock(&directories_mutex)
    disk = find_or_add(directory)
    pthread_mutex_unlock(&directories_mutex)
    return disk


cdef Disk* disk_of(const char* log_folder) noexcept nogil:
    cdef char* directory = strdup(log_folder)
    cdef char* end
    cdef Disk* disk
    if directory == NULL:
        return &disks[<int>DIRECTORIES_MAX]
    end = strrchr(directory, c"/")
    if end != NULL:
        end[0] = 0
    disk = disk_named(directory)
    free(directory)
    return disk


cdef bint disk_count_slow_append(Disk* disk, int64_t now_ns, int64_t took_ns) noexcept nogil:
    cdef int64_t until_ns = atomic_load_relaxed_i64(&disk.slow_until_ns)
    cdef int64_t slow_ns
    atomic_add_relaxed_i64(&disk.slow_appends, 1)
    if now_ns - took_ns - atomic_load_relaxed_i64(&disk.window_ns) > WINDOW_NS:
        counter_set(&disk.window_ns, now_ns - took_ns)
        counter_set(&disk.window_slow_ns, 0)
    slow_ns = atomic_add_relaxed_i64(&disk.window_slow_ns, took_ns)
    if slow_ns < SLOW_DISK_NS and until_ns <= now_ns:
        return False
    counter_set(&disk.slow_until_ns, now_ns + SLOW_FOR_NS)
    return until_ns == 0 or until_ns <= now_ns - took_ns


cdef bint disk_recovered(Disk* disk, int64_t now_ns) noexcept nogil:
    cdef int64_t until_ns = atomic_load_relaxed_i64(&disk.slow_until_ns)
    return until_ns != 0 and not disk_is_slow(disk, now_ns) and atomic_cas_i64(&disk.slow_until_ns, until_ns, 0) != 0


cdef void refresh_oldest(Disk* disk) noexcept nogil:
    """Under the running_mutex."""
    cdef int64_t oldest_ns = 0
    cdef int i
    for i in range(APPENDERS_MAX):
        if disk.running[i] != 0 and (oldest_ns == 0 or disk.running[i] < oldest_ns):
            oldest_ns = disk.running[i]
    counter_set(&disk.oldest_running_ns, oldest_ns)


cdef int disk_append_begins(Disk* disk, int64_t now_ns) noexcept nogil:
    cdef int place = 0
    pthread_mutex_lock(&disk.running_mutex)
    while place < APPENDERS_MAX and disk.running[place] != 0:
        place += 1
    if place < APPENDERS_MAX:
        disk.running[place] = now_ns
        refresh_oldest(disk)
    pthread_mutex_unlock(&disk.running_mutex)
    return place if place < APPENDERS_MAX else -1


cdef void disk_append_ends(Disk* disk, int place) noexcept nogil:
    if place < 0:
        return
    pthread_mutex_lock(&disk.running_mutex)
    disk.running[place] = 0
    refresh_oldest(disk)
    pthread_mutex_unlock(&disk.running_mutex)


def slow_appends(str directory not None):
    """(appends that were slow since the start, whether the directory counts as slow now) of a log directory."""
    cdef bytes name = directory.encode()
    cdef const char* text = name
    cdef Disk* disk
    with nogil:
        disk = disk_named(text)
    return atomic_load_relaxed_i64(&disk.slow_appends), disk_is_slow(disk, monotonic_ns())


def set_slow(str directory not None, double seconds):
    """For tests: let a log directory count as slow for so long; 0 ends it."""
    cdef bytes name = directory.encode()
    cdef const char* text = name
    with nogil:
        counter_set(&disk_named(text).slow_until_ns, monotonic_ns() + <int64_t>(seconds * 1e9))
