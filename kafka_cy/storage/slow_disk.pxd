"""Whether the disk of a log directory takes writes quickly; see slow_disk.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64
from kafka_cy.base.posix cimport pthread_mutex_t

cdef enum:
    SLOW_APPEND_NS = 4000000            # an append that takes this long is slow
    SLOW_DISK_NS = 20000000             # slow appends that together take this long, within WINDOW_NS, make the disk slow
    WINDOW_NS = 1000000000
    SLOW_FOR_NS = 5000000000            # without a slow append for this long it is fast again
    APPENDERS_MAX = 64                  # threads of a job queue
    WRITE_QUEUES = 4                    # job queues for appends; see Disk.write_queue

# Purpose: the recent speed of one log directory's disk. Every log in the directory points to it.
# Lifetime: made when the first log of the directory is opened, never freed.
# Threads: (a) are atomics. Two threads that count slow appends at the same time may lose one of them, which only delays the
#   verdict.
# Locks: running_mutex guards `running`: when the appends began that job threads make now.
# Limits: DIRECTORIES_MAX in one process; logs of further directories share one.
cdef struct Disk:
    int64_t slow_until_ns               # (a) monotonic; 0: fast
    int64_t oldest_running_ns           # (a) the oldest of `running`; 0: none
    int64_t window_ns                   # (a) monotonic: when the first slow append of the window began
    int64_t window_slow_ns              # (a) how long the slow appends of the window took
    int64_t slow_appends                # (a) total
    pthread_mutex_t running_mutex
    int64_t[APPENDERS_MAX] running      # 0: free
    int32_t write_queue                 # which job queue its appends use, so that a disk that hangs does not stop the others

# The disk of the log directory that holds a log's folder.
cdef Disk* disk_of(const char* log_folder) noexcept nogil
# An append took `took_ns`, at least SLOW_APPEND_NS, and ended at `now_ns`. True: this has just made the disk slow.
cdef bint disk_count_slow_append(Disk* disk, int64_t now_ns, int64_t took_ns) noexcept nogil


# Whether the disk was slow and no longer is. True once each time: for the log.
cdef bint disk_recovered(Disk* disk, int64_t now_ns) noexcept nogil
# Around an append of a job thread. It tells reactors that a disk hangs before the append has ended.
cdef int disk_append_begins(Disk* disk, int64_t now_ns) noexcept nogil      # a place in `running`, -1: none is free
cdef void disk_append_ends(Disk* disk, int place) noexcept nogil


cdef inline bint runs_long(const Disk* disk, int64_t now_ns) noexcept nogil:
    cdef int64_t began_ns = atomic_load_relaxed_i64(<int64_t*>&disk.oldest_running_ns)
    return began_ns != 0 and now_ns - began_ns > SLOW_APPEND_NS


cdef inline bint disk_was_slow(const Disk* disk) noexcept nogil:
    """False: it is fast, and nothing else has to be asked."""
    return atomic_load_relaxed_i64(<int64_t*>&disk.slow_until_ns) != 0 or (
        atomic_load_relaxed_i64(<int64_t*>&disk.oldest_running_ns) != 0
    )


cdef inline bint disk_is_slow(const Disk* disk, int64_t now_ns) noexcept nogil:
    return atomic_load_relaxed_i64(<int64_t*>&disk.slow_until_ns) > now_ns or (
        runs_long(disk, now_ns)
    )
