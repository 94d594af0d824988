"""The cleaner threads: which log is next, how often, and their statistics (Kafka's LogCleaner and LogCleanerManager)."""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

import os

from kafka_cy.base.atomics cimport atomic_add_i32, atomic_load_i32, atomic_load_pointer, atomic_store_i32, atomic_sub_i32
from kafka_cy.base.clock cimport wall_clock_ms
from kafka_cy.base.posix cimport (
    EDQUOT, EMFILE, ENFILE, ENOSPC, pthread_create, pthread_join, pthread_mutex_lock, pthread_mutex_unlock, pthread_t,
)
from kafka_cy.base.thread_name cimport name_this_thread
from kafka_cy.storage.cleaner cimport clean_log
from kafka_cy.storage.cleaner_control cimport (
    CleanerConfig, CleanerControl, control_destroy, control_init, control_wait, control_wake, monotonic_ms,
)
from kafka_cy.storage.cleaner_reader cimport RoundStats
from kafka_cy.storage.hosted_partition cimport HostedPartition
from kafka_cy.storage.log_cleaning cimport Cleanable, log_cleanable
from kafka_cy.storage.log_struct cimport LOG_ONLINE, Log, log_config
from kafka_cy.storage.partition cimport (
    PARTITION_DELETED, PARTITION_OFFLINE, Partition, partition_acquire, partition_last_stable_offset, partition_release,
)
from kafka_cy.storage.storage_error cimport STORAGE_DELETED, STORAGE_IO_ERROR, STORAGE_NO_MEMORY, STORAGE_OFFLINE, STORAGE_OK

from kafka_cy.storage.log_failure import STORAGE_ERROR_NAMES

cdef enum:
    THREADS_MAX = 64
    BACKOFF_MIN_MS = 10
    BACKOFF_MAX_MS = 86_400_000
    FAILED_BACKOFFS = 4         # for which a log waits after a failed round, while the other logs have their turns

# One thread. The statistics of its last round are guarded by the pool's control.mutex.
cdef struct CleanerThread:
    CleanerPool* pool
    pthread_t thread
    RoundStats last

# One log to choose from, and how its last round ended.
cdef struct Candidate:
    Partition* partition        # holds a reference
    int32_t error               # StorageError of its last round, if that lacked space or memory; 0 none
    int32_t error_number
    int64_t failed_ms           # monotonic: the end of that round

# Purpose: the threads and the logs they choose from.
# Lifetime: that of the LogCleaner, which ends the threads first.
# Locks: control.mutex guards the list and the statistics. It is held for nanoseconds; no other lock is taken under
#   it.
cdef struct CleanerPool:
    CleanerControl control
    Candidate* candidates
    int32_t candidates_count
    int32_t candidates_capacity
    CleanerThread threads[THREADS_MAX]
    int32_t threads_running
    int32_t changes             # (a) rounds that ended with something to report or checkpoint
    double max_dirty_ratio
    int64_t max_overdue_ms
    int64_t last_run_ms         # monotonic

# The dirtiest log that should be cleaned now, with a reference to its partition.
cdef struct Choice:
    Partition* partition
    Log* log
    double ratio
    Cleanable cleanable


cdef int64_t backoff_of(CleanerPool* pool) noexcept nogil:
    """In ms. With the mutex."""
    return max(pool.control.config.backoff_ms, BACKOFF_MIN_MS)


cdef int copy_candidates(CleanerPool* pool, Candidate** copy, int32_t* count, int64_t* backoff_ms) noexcept nogil:
    cdef int32_t i
    pthread_mutex_lock(&pool.control.mutex)
    backoff_ms[0] = backoff_of(pool)
    count[0] = pool.candidates_count
    copy[0] = <Candidate*>malloc(<size_t>(count[0] + 1) * sizeof(Candidate))
    if copy[0] != NULL:
        for i in range(count[0]):
            copy[0][i] = pool.candidates[i]
            partition_acquire(copy[0][i].partition)
    pthread_mutex_unlock(&pool.control.mutex)
    return STORAGE_OK if copy[0] != NULL else STORAGE_NO_MEMORY


cdef bint may_be_cleaned(Partition* partition, Log* log) noexcept nogil:
    cdef int32_t state = atomic_load_i32(&partition.state)
    return (state != PARTITION_OFFLINE and state != PARTITION_DELETED and atomic_load_i32(&log.state) == LOG_ONLINE
            and log_config(log).cleanup_compact and not atomic_load_i32(&log.uncleanable)
            and not atomic_load_i32(&log.cleaning) and not atomic_load_i32(&log.cleaning_held))


cdef bint is_compacted_still(Partition* partition) noexcept nogil:
    return log_config(<Log*>atomic_load_pointer(<void**>&partition.log)).cleanup_compact


cdef void consider(
    const Candidate* candidate, int64_t now_ms, int64_t failed_before_ms, Choice* best, double* max_ratio,
    int64_t* max_overdue_ms,
) noexcept nogil:
    """A log whose round failed later than `failed_before_ms` counts in the statistics, but is not chosen."""
    cdef Partition* partition = candidate.partition
    cdef Log* log = <Log*>atomic_load_pointer(<void**>&partition.log)
    cdef Cleanable found
    cdef double ratio
    if not may_be_cleaned(partition, log):
        return
    if log_cleanable(log, partition_last_stable_offset(partition), now_ms, &found) != STORAGE_OK:
        return
    max_overdue_ms[0] = max(max_overdue_ms[0], found.overdue_ms)
    if found.clean_bytes + found.dirty_bytes <= 0:
        return
    ratio = <double>found.dirty_bytes / (found.clean_bytes + found.dirty_bytes)
    max_ratio[0] = max(max_ratio[0], ratio)
    if candidate.error and candidate.failed_ms > failed_before_ms:
        return
    if ratio > log_config(log).cleanable_dirty_ratio_min or (found.overdue_ms > 0 and found.dirty_bytes > 0):
        if best.partition == NULL or ratio > best.ratio:
            best.partition = partition
            best.log = log
            best.ratio = ratio
            best.cleanable = found


cdef bint choose(CleanerPool* pool, int64_t now_ms, Choice* best) noexcept nogil:
    """True when `best` should be cleaned and no other thread is cleaning it."""
    cdef Candidate* candidates = NULL
    cdef int32_t count = 0
    cdef int32_t i
    cdef double max_ratio = 0
    cdef int64_t max_overdue_ms = 0
    cdef int64_t backoff_ms = 0
    cdef int64_t failed_before_ms
    memset(best, 0, sizeof(Choice))
    if copy_candidates(pool, &candidates, &count, &backoff_ms) != STORAGE_OK:
        return False
    failed_before_ms = monotonic_ms() - FAILED_BACKOFFS * min(backoff_ms, BACKOFF_MAX_MS)
    for i in range(count):
        if not atomic_load_i32(&pool.control.stopping):
            consider(&candidates[i], now_ms, failed_before_ms, best, &max_ratio, &max_overdue_ms)
    if best.partition != NULL:
        partition_acquire(best.partition)
    for i in range(count):
        partition_release(candidates[i].partition)
    free(candidates)
    pthread_mutex_lock(&pool.control.mutex)
    pool.max_dirty_ratio = max_ratio
    pool.max_overdue_ms = max_overdue_ms
    pool.last_run_ms = monotonic_ms()
    pthread_mutex_unlock(&pool.control.mutex)
    if best.partition == NULL:
        return False
    if atomic_add_i32(&best.log.cleaning, 1) > 1:
        atomic_sub_i32(&best.log.cleaning, 1)
        partition_release(best.partition)
        return False
    return True


cdef bint passes(int error, int failed_errno) noexcept nogil:
    """May the next round succeed? True if the round was stopped or a resource ran out; false for damaged files and
    disks."""
    if error == STORAGE_DELETED or error == STORAGE_OFFLINE or error == STORAGE_NO_MEMORY:
        return True
    return error == STORAGE_IO_ERROR and (
        failed_errno == ENOSPC or failed_errno == EDQUOT or failed_errno == EMFILE or failed_errno == ENFILE)


cdef void note_end(CleanerPool* pool, Partition* partition, int error, int failed_errno) noexcept nogil:
    """After a round that lacked a resource, its log waits for a while: smaller logs, whose cleaning may free the space, get
    their turns."""
    cdef int32_t i
    cdef bint lacked = error == STORAGE_NO_MEMORY or error == STORAGE_IO_ERROR
    pthread_mutex_lock(&pool.control.mutex)
    i = find_candidate(pool, partition)
    if i >= 0:
        pool.candidates[i].error = error if lacked else STORAGE_OK
        pool.candidates[i].error_number = failed_errno if lacked else 0
        pool.candidates[i].failed_ms = monotonic_ms()
    pthread_mutex_unlock(&pool.control.mutex)


cdef bint clean_dirtiest(CleanerThread* thread) noexcept nogil:
    """True when a round succeeded, so more work may be ready at once."""
    cdef CleanerPool* pool = thread.pool
    cdef int64_t now_ms = wall_clock_ms()
    cdef Choice best
    cdef RoundStats stats
    cdef int failed_errno = 0
    cdef int error
    if not choose(pool, now_ms, &best):
        return False
    error = clean_log(&pool.control, best.log, &best.cleanable, now_ms, &stats, &failed_errno)
    if error == STORAGE_OK:
        pthread_mutex_lock(&pool.control.mutex)
        thread.last = stats
        pthread_mutex_unlock(&pool.control.mutex)
    if error == STORAGE_OK or passes(error, failed_errno):
        note_end(pool, best.partition, error, failed_errno)
    else:
        atomic_store_i32(&best.log.uncleanable_errno, failed_errno)
        atomic_store_i32(&best.log.uncleanable, error)
    atomic_sub_i32(&best.log.cleaning, 1)
    partition_release(best.partition)
    atomic_add_i32(&pool.changes, 1)
    return error == STORAGE_OK


cdef void* work(void* context) noexcept nogil:
    cdef CleanerThread* thread = <CleanerThread*>context
    cdef CleanerControl* control = &thread.pool.control
    cdef int64_t backoff_ms
    name_this_thread("log-cleaner", <int>(thread - thread.pool.threads))
    while not atomic_load_i32(&control.stopping):
        if not clean_dirtiest(thread):
            pthread_mutex_lock(&control.mutex)
            backoff_ms = backoff_of(thread.pool)
            pthread_mutex_unlock(&control.mutex)
            control_wait(control, backoff_ms)
    return NULL


cdef void start_threads(CleanerPool* pool) noexcept nogil:
    cdef int32_t wanted = min(max(pool.control.config.threads, 0), THREADS_MAX)
    cdef CleanerThread* thread
    atomic_store_i32(&pool.control.stopping, 0)
    while pool.threads_running < wanted:
        thread = &pool.threads[pool.threads_running]
        thread.pool = pool
        if pthread_create(&thread.thread, NULL, work, thread) != 0:
            return
        pool.threads_running += 1


cdef void tell_to_stop(CleanerPool* pool) noexcept nogil:
    """A round in progress stops at its next read and leaves nothing behind."""
    atomic_store_i32(&pool.control.stopping, 1)
    control_wake(&pool.control)


cdef void stop_threads(CleanerPool* pool) noexcept nogil:
    """Wait for the ends of the threads: a segment may have to be written."""
    cdef int32_t i
    tell_to_stop(pool)
    for i in range(pool.threads_running):
        pthread_join(pool.threads[i].thread, NULL)
    pool.threads_running = 0


cdef int32_t find_candidate(CleanerPool* pool, Partition* partition) noexcept nogil:
    cdef int32_t i
    for i in range(pool.candidates_count):
        if pool.candidates[i].partition == partition:
            return i
    return -1


cdef int add_candidate(CleanerPool* pool, Partition* partition) noexcept nogil:
    cdef Candidate* grown
    cdef int32_t wanted
    cdef int failed = 0
    pthread_mutex_lock(&pool.control.mutex)
    if find_candidate(pool, partition) < 0:
        if pool.candidates_count == pool.candidates_capacity:
            wanted = pool.candidates_capacity * 2 if pool.candidates_capacity else 64
            grown = <Candidate*>realloc(pool.candidates, <size_t>wanted * sizeof(Candidate))
            failed = -1 if grown == NULL else 0
            if not failed:
                pool.candidates = grown
                pool.candidates_capacity = wanted
        if not failed:
            memset(&pool.candidates[pool.candidates_count], 0, sizeof(Candidate))
            pool.candidates[pool.candidates_count].partition = partition_acquire(partition)
            pool.candidates_count += 1
    pthread_mutex_unlock(&pool.control.mutex)
    return failed


cdef void remove_candidate(CleanerPool* pool, Partition* partition) noexcept nogil:
    cdef int32_t i
    pthread_mutex_lock(&pool.control.mutex)
    i = find_candidate(pool, partition)
    if i >= 0:
        pool.candidates_count -= 1
        pool.candidates[i] = pool.candidates[pool.candidates_count]
    pthread_mutex_unlock(&pool.control.mutex)
    if i >= 0:
        partition_release(partition)


# Statistics of the threads' last rounds.
cdef struct PoolStats:
    double max_dirty_ratio
    int64_t last_run_ms         # monotonic
    int64_t max_overdue_ms
    int64_t read                # bytes
    int64_t written
    int64_t elapsed_ms          # of the longest round
    double utilization          # of the fullest map
    int32_t dead_threads


cdef void read_stats(CleanerPool* pool, PoolStats* stats) noexcept nogil:
    cdef int32_t i
    memset(stats, 0, sizeof(PoolStats))
    pthread_mutex_lock(&pool.control.mutex)
    for i in range(THREADS_MAX):
        stats.read += pool.threads[i].last.bytes_read
        stats.written += pool.threads[i].last.bytes_written
        stats.elapsed_ms = max(stats.elapsed_ms, pool.threads[i].last.elapsed_ms)
        stats.utilization = max(stats.utilization, pool.threads[i].last.buffer_utilization)
    stats.max_dirty_ratio = pool.max_dirty_ratio
    stats.max_overdue_ms = pool.max_overdue_ms
    stats.last_run_ms = pool.last_run_ms
    if pool.candidates_count > 0 and not atomic_load_i32(&pool.control.stopping):
        stats.dead_threads = max(min(pool.control.config.threads, THREADS_MAX) - pool.threads_running, 0)
    pthread_mutex_unlock(&pool.control.mutex)


cdef class LogCleaner:
    """The log cleaner of a broker. Owner: LogManager. Its threads run from the first partition until stop().

    `config` has the broker's log.cleaner.* keys with typed values. The GIL guards the two flags and the start of threads.
    """

    cdef CleanerPool* pool
    cdef bint restart_due       # the number of threads has changed, and no restart() has begun since
    cdef bint is_restarting

    def __cinit__(self, dict config):
        self.pool = <CleanerPool*>calloc(1, sizeof(CleanerPool))
        if self.pool == NULL:
            raise MemoryError
        control_init(&self.pool.control)
        self.pool.last_run_ms = monotonic_ms()
        self._take(config)

    def __dealloc__(self):
        cdef int32_t i
        if self.pool == NULL:
            return
        with nogil:
            stop_threads(self.pool)
            for i in range(self.pool.candidates_count):
                partition_release(self.pool.candidates[i].partition)
        free(self.pool.candidates)
        control_destroy(&self.pool.control)
        free(self.pool)

    cdef _take(self, dict config):
        cdef CleanerConfig fresh
        fresh.threads = config["log.cleaner.threads"]
        fresh.dedupe_buffer_bytes = config["log.cleaner.dedupe.buffer.size"]
        fresh.io_buffer_bytes = config["log.cleaner.io.buffer.size"]
        fresh.io_bytes_per_second = config["log.cleaner.io.max.bytes.per.second"]
        fresh.load_max = config["log.cleaner.io.buffer.load.factor"]
        fresh.backoff_ms = config["log.cleaner.backoff.ms"]
        with nogil:
            pthread_mutex_lock(&self.pool.control.mutex)
            self.pool.control.config = fresh
            pthread_mutex_unlock(&self.pool.control.mutex)

    def configure(self, dict config):
        """Apply changed settings. True: the number of threads changes; rounds in progress end, and restart() has to follow."""
        cdef int32_t threads = self.pool.control.config.threads
        self._take(config)
        if self.pool.control.config.threads == threads:
            with nogil:
                control_wake(&self.pool.control)
            return False
        self.restart_due = True
        with nogil:
            tell_to_stop(self.pool)     # at once: the threads share the memory by their new number
        self.restart_due = True         # again: restart(), on another thread, may have begun before the threads were told
        return True

    def restart(self):
        """Start as many threads as the last configure() says. Waits for the ends of the former ones: a segment may be written."""
        self.is_restarting = True
        while self.restart_due:     # again, if the settings change meanwhile
            self.restart_due = False
            with nogil:
                stop_threads(self.pool)
        self.is_restarting = False
        if self.pool.candidates_count > 0:
            start_threads(self.pool)

    def add(self, HostedPartition partition not None):
        """Clean this partition whenever its topic is compacted. Adding it again has no effect."""
        cdef int failed
        with nogil:
            failed = add_candidate(self.pool, partition.partition)
        if failed:
            raise MemoryError
        if not self.restart_due and not self.is_restarting:
            start_threads(self.pool)

    def remove(self, HostedPartition partition not None):
        """Stop cleaning this partition. A running round ends by itself when the log is closed."""
        with nogil:
            remove_candidate(self.pool, partition.partition)

    def stop(self):
        """End the threads. Rounds in progress are abandoned."""
        with nogil:
            stop_threads(self.pool)

    @property
    def changes(self):
        """Count of rounds, for callers that report or checkpoint results."""
        return atomic_load_i32(&self.pool.changes)

    def failing(self, hosted):
        """[(partition, why)] of those `hosted` whose last round lacked space, memory or a file descriptor: it is repeated."""
        cdef Candidate* candidates = NULL
        cdef int32_t count = 0
        cdef int32_t i
        cdef int64_t backoff_ms
        cdef int error
        cdef HostedPartition partition
        cdef dict found = {}
        with nogil:
            error = copy_candidates(self.pool, &candidates, &count, &backoff_ms)
        if error:
            raise MemoryError
        try:
            for i in range(count):
                if candidates[i].error and is_compacted_still(candidates[i].partition):
                    number = candidates[i].error_number
                    why = STORAGE_ERROR_NAMES[candidates[i].error] + (f" ({os.strerror(number)})" if number else "")
                    found[<size_t>candidates[i].partition] = why
        finally:
            for i in range(count):
                partition_release(candidates[i].partition)
            free(candidates)
        failed = []
        if found:
            for partition in hosted:
                if <size_t>partition.partition in found:
                    failed.append((partition, found[<size_t>partition.partition]))
        return failed

    def stats(self):
        """Kafka's metrics of LogCleaner and LogCleanerManager, except those per log directory.

        max_dirty_percent, time_since_last_run_ms, cleaner_recopy_percent, max_clean_time_s,
        max_buffer_utilization_percent, max_compaction_delay_s, dead_thread_count
        """
        cdef PoolStats stats
        with nogil:
            read_stats(self.pool, &stats)
        return {
            "max_dirty_percent": 100 * stats.max_dirty_ratio,
            "time_since_last_run_ms": monotonic_ms() - stats.last_run_ms,
            "cleaner_recopy_percent": 100 * <double>stats.written / max(stats.read, 1),
            "max_clean_time_s": <double>stats.elapsed_ms / 1000,
            "max_buffer_utilization_percent": 100 * stats.utilization,
            "max_compaction_delay_s": <double>stats.max_overdue_ms / 1000,
            "dead_thread_count": stats.dead_threads,
        }


def cleanable_bytes(HostedPartition partition not None):
    """Dirty bytes of the partition's log that may be cleaned."""
    cdef Partition* hosted = partition.partition
    cdef Cleanable found
    cdef int error
    with nogil:
        error = log_cleanable(
            <Log*>atomic_load_pointer(<void**>&hosted.log), partition_last_stable_offset(hosted), wall_clock_ms(), &found)
    return 0 if error else found.dirty_bytes
