"""Data that is not in the page cache is read by a job before a reactor sends it.

A look-up on a reactor reads cached data only. If that does not suffice, the fetch parks, a job makes the same look-up and
reads the piece, and the fetch looks again. Cached partitions do not wait long for the others: after one job they are sent,
and the client asks again for the rest.

A page cache that is too small may have lost the piece each time when the fetch looks again. Then a share fetch has a job that keeps
the piece in memory of its own (cold_read_keep).
"""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from kafka_cy.base.atomics cimport (
    atomic_add_relaxed_i64, atomic_load_i32, atomic_load_i64, atomic_load_pointer, atomic_store_i32,
)
from kafka_cy.base.page_cache cimport range_cached
from kafka_cy.base.posix cimport pread
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.jobs cimport JOB_READ, connection_hold, connection_unhold, job_cancel, job_holds_more, job_submit
from kafka_cy.network.dispatch cimport parked_recheck
from kafka_cy.records.compression cimport Codecs
from kafka_cy.storage.log cimport Log, log_read, segment_release
from kafka_cy.storage.isr_candidates cimport isr_candidate_note
from kafka_cy.storage.partition cimport partition_acquire, partition_release
from kafka_cy.storage.partition_leader cimport (
    FETCHED_MAY_JOIN, FETCHED_UNKNOWN, FollowerFetch, partition_follower_fetched,
)
from kafka_cy.storage.storage_error cimport STORAGE_OK

cdef enum:
    PROBE_STEP = 64 << 10
    RECENT_BYTES = 1 << 20              # the end of the active segment, where consumers read: cached unless memory is gone
    READ_BYTES = 128 << 10


cdef int32_t forgets_all = 0            # (a) set by a test
cdef int64_t kept_now = 0               # (a) bytes of all kept pieces


cdef bint in_page_cache(const ReadResult* read) noexcept nogil:
    if atomic_load_i32(&forgets_all):
        return False
    if read.segment.active and read.position + RECENT_BYTES >= atomic_load_i64(&read.segment.size):
        return True
    return range_cached(read.fd, read.position, read.size, PROBE_STEP)


cdef void read_piece(const ReadResult* read, uint8_t* buffer, size_t buffer_size) noexcept nogil:
    """Through the buffer: then it is in the page cache."""
    cdef int64_t at = read.position
    cdef int64_t end = read.position + read.size
    cdef ssize_t n = 1
    while at < end and n > 0:
        n = pread(read.fd, buffer, <size_t>min(end - at, <int64_t>buffer_size), at)
        at += n


cdef void keep_piece(ColdRead* work, const ReadResult* read) noexcept nogil:
    cdef KeptPiece* kept = &work.kept
    cdef uint8_t* data
    cdef int64_t done = 0
    cdef ssize_t n = 1
    if not job_holds_more(&work.job, read.size):
        return
    data = <uint8_t*>malloc(<size_t>read.size)
    while data != NULL and done < read.size and n > 0:
        n = pread(read.fd, data + done, <size_t>(read.size - done), read.position + done)
        done += n
    if data == NULL or done < read.size:
        free(data)
        return
    kept.data = data
    kept.partition = work.ranges[0].partition
    kept.offset = work.ranges[0].offset
    kept.end_offset = read.end_offset
    kept.position = read.position
    kept.size = read.size
    atomic_add_relaxed_i64(&kept_now, kept.size)


cdef void drop_piece(KeptPiece* kept) noexcept nogil:
    atomic_add_relaxed_i64(&kept_now, -kept.size)
    free(kept.data)
    memset(kept, 0, sizeof(KeptPiece))


cdef int64_t read_range(ColdRead* work, ColdRange* wanted, int64_t left, uint8_t* buffer) noexcept nogil:
    """Return how many bytes were read. Errors are not reported: the fetch finds them again."""
    cdef ReadResult read
    cdef Log* log = <Log*>atomic_load_pointer(<void**>&wanted.partition.log)
    if log_read(log, wanted.offset, wanted.limit, min(wanted.bytes_max, left), wanted.first, &read) != STORAGE_OK:
        return 0
    if read.segment == NULL:
        return 0
    if work.keeps:
        keep_piece(work, &read)
    else:
        read_piece(&read, buffer, READ_BYTES)
    segment_release(read.segment)
    return read.size


cdef void read_ranges(Job* job, Codecs* codecs) noexcept nogil:
    """JobRun."""
    cdef ColdRead* work = <ColdRead*>job
    cdef uint8_t* buffer = <uint8_t*>malloc(READ_BYTES)
    cdef int64_t left = COLD_BYTES_MAX
    cdef ColdRange* wanted
    cdef int32_t i
    for i in range(work.count):
        wanted = &work.ranges[i]
        if wanted.notes:
            wanted.noted = partition_follower_fetched(wanted.partition, &wanted.report)
            if wanted.noted & FETCHED_MAY_JOIN:
                isr_candidate_note(wanted.partition)
        if buffer != NULL and left > 0:
            left -= read_range(work, &work.ranges[i], left, buffer)
    free(buffer)


cdef void ranges_read(Reactor* reactor, Job* job) noexcept nogil:
    """JobDone."""
    cdef ColdRead* work = <ColdRead*>job
    cdef ColdWait* wait = work.owner
    cdef int32_t i
    for i in range(work.count):
        partition_release(work.ranges[i].partition)
        if wait != NULL and work.ranges[i].notes:
            work.ranges[i].found[0] = work.ranges[i].noted
    if wait == NULL:
        drop_piece(&work.kept)
        free(work)
        return
    cold_kept_free(wait)
    wait.kept = work.kept
    free(work)
    connection_unhold(reactor, wait.connection, True)
    wait.read = NULL
    wait.rounds += 1
    parked_recheck(reactor, wait.parked, reactor.now_ns >= wait.parked.deadline_ns)


cdef ColdRead* cold_read_new(int32_t count) noexcept nogil:
    cdef size_t size = sizeof(ColdRead) + <size_t>count * sizeof(ColdRange)
    cdef ColdRead* work = <ColdRead*>malloc(size)
    if work == NULL:
        return NULL
    memset(work, 0, sizeof(ColdRead))
    work.ranges = <ColdRange*>(work + 1)
    work.job.bytes = <int64_t>size
    return work


cdef void cold_read_add(ColdRead* work, Partition* partition, int64_t offset, int64_t limit, int64_t bytes_max) noexcept nogil:
    cdef ColdRange* wanted = &work.ranges[work.count]
    wanted.partition = partition_acquire(partition)
    wanted.offset = offset
    wanted.limit = limit
    wanted.bytes_max = bytes_max
    wanted.first = work.count == 0
    wanted.notes = False
    wanted.noted = FETCHED_UNKNOWN
    work.count += 1


cdef void cold_read_note(ColdRead* work, const FollowerFetch* report, FollowerFetched* found) noexcept nogil:
    work.ranges[work.count - 1].report = report[0]
    work.ranges[work.count - 1].found = found
    work.ranges[work.count - 1].notes = True


cdef void cold_read_keep(ColdRead* work, int64_t bytes_max) noexcept nogil:
    work.keeps = True
    work.ranges[0].bytes_max = min(work.ranges[0].bytes_max, bytes_max)


cdef void cold_kept_free(ColdWait* wait) noexcept nogil:
    drop_piece(&wait.kept)


cdef void cold_read_submit(
    Reactor* reactor, ColdRead* work, ColdWait* wait, Parked* parked, Connection* connection
) noexcept nogil:
    work.owner = wait
    work.job.kind = JOB_READ
    work.job.run = read_ranges
    work.job.done = ranges_read
    wait.read = work
    wait.connection = connection
    wait.parked = parked
    connection_hold(connection, True)
    job_submit(reactor, connection, &work.job)


cdef void cold_read_leave(ColdWait* wait) noexcept nogil:
    wait.read.owner = NULL
    connection_unhold(wait.read.job.reactor, wait.connection, True)
    wait.read = NULL


cdef void cold_read_cancel(ColdWait* wait) noexcept nogil:
    cdef ColdRead* work = wait.read
    if work != NULL:
        cold_read_leave(wait)
        job_cancel(work.job.reactor, &work.job)


def forget_all(bint on):
    """For tests: as if the page cache kept nothing of what jobs read, or no longer."""
    atomic_store_i32(&forgets_all, on)


def kept_bytes() -> int:
    """For tests: how much memory the pieces have that jobs have kept."""
    return atomic_load_i64(&kept_now)
