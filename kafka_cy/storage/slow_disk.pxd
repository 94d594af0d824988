"""Whether the disk of a log directory takes writes quickly; see slow_disk.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64

cdef enum:
    SLOW_WRITE_NS = 4000000             # an append that takes longer is slow
    SLOW_WRITES_MIN = 3                 # this many within a second make the disk slow
    SLOW_FOR_NS = 5000000000            # without a slow append for this long it is fast again

# Purpose: the recent speed of one log directory's disk. Every log in the directory points to it.
# Lifetime: made when the first log of the directory is opened, never freed.
# Threads: every field is an atomic, written after an append that was slow. Two threads that count at the same time may lose
#   one of the counts, which only delays the verdict.
# Limits: DIRECTORIES_MAX in one process; logs of further directories share one.
cdef struct Disk:
    int64_t slow_until_ns               # (a) monotonic; 0: fast
    int64_t window_ns                   # (a) when the second began in which slow appends are counted
    int64_t window_count                # (a)
    int64_t slow_appends                # (a) total

# The disk of the log directory that holds a log's folder.
cdef Disk* disk_of(const char* log_folder) noexcept nogil
# An append took `took_ns`, at least SLOW_WRITE_NS. True: the disk is slow from now on, and was not before.
cdef bint disk_append_was_slow(Disk* disk, int64_t now_ns) noexcept nogil


cdef inline bint disk_is_slow(const Disk* disk, int64_t now_ns) noexcept nogil:
    return atomic_load_relaxed_i64(<int64_t*>&disk.slow_until_ns) > now_ns
