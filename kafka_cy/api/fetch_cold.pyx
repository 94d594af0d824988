"""Data that is not in the page cache is read by a job before a reactor sends it.

A look-up on a reactor reads cached data only. If that does not suffice, the fetch parks, a job makes the same look-up and
reads the piece, and the fetch looks again. Cached partitions do not wait long for the others: after one job they are sent,
and the client asks again for the rest.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

from kafka_cy.api.fetch cimport FetchItem
from kafka_cy.base.atomics cimport atomic_load_i64, atomic_load_pointer
from kafka_cy.base.page_cache cimport range_cached
from kafka_cy.base.posix cimport pread
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.jobs cimport JOB_READ, connection_hold, connection_unhold, job_cancel, job_submit
from kafka_cy.network.dispatch cimport parked_recheck
from kafka_cy.records.compression cimport Codecs
from kafka_cy.storage.log cimport Log, log_read, segment_release
from kafka_cy.storage.partition cimport partition_acquire, partition_release
from kafka_cy.storage.storage_error cimport STORAGE_OK

cdef enum:
    PROBE_STEP = 64 << 10
    RECENT_BYTES = 1 << 20              # the end of the active segment, where consumers read: cached unless memory is gone
    READ_BYTES = 128 << 10


cdef bint in_page_cache(const ReadResult* read) noexcept nogil:
    if read.segment.active and read.position + RECENT_BYTES >= atomic_load_i64(&read.segment.size):
        return True
    return range_cached(read.fd, read.position, read.size, PROBE_STEP)


cdef int64_t read_range(ColdRange* wanted, int64_t left, uint8_t* buffer) noexcept nogil:
    """Return how many bytes were read. Errors are not reported: the fetch finds them again."""
    cdef ReadResult read
    cdef Log* log = <Log*>atomic_load_pointer(<void**>&wanted.partition.log)
    cdef int64_t at, end
    cdef ssize_t n = 1
    if log_read(log, wanted.offset, wanted.limit, min(wanted.bytes_max, left), wanted.first, &read) != STORAGE_OK:
        return 0
    if read.segment == NULL:
        return 0
    at = read.position
    end = read.position + read.size
    while at < end and n > 0:
        n = pread(read.fd, buffer, <size_t>min(end - at, <int64_t>READ_BYTES), at)
        at += n
    segment_release(read.segment)
    return read.size


cdef void read_ranges(Job* job, Codecs* codecs) noexcept nogil:
    """JobRun."""
    cdef ColdRead* work = <ColdRead*>job
    cdef uint8_t* buffer = <uint8_t*>malloc(READ_BYTES)
    cdef int64_t left = COLD_BYTES_MAX
    cdef int32_t i
    for i in range(work.count):
        if buffer != NULL and left > 0:
            left -= read_range(&work.ranges[i], left, buffer)
    free(buffer)


cdef void ranges_read(Reactor* reactor, Job* job) noexcept nogil:
    """JobDone."""
    cdef ColdRead* work = <ColdRead*>job
    cdef Fetch* fetch = work.owner
    cdef int32_t i
    for i in range(work.count):
        partition_release(work.ranges[i].partition)
    free(work)
    if fetch != NULL:
        connection_unhold(reactor, fetch.cold_connection, True)
        fetch.cold_read = NULL
        fetch.cold_rounds += 1
        parked_recheck(reactor, &fetch.parked, reactor.now_ns >= fetch.parked.deadline_ns)


cdef int cold_read_start(Reactor* reactor, Fetch* fetch, Connection* connection) noexcept nogil:
    cdef size_t size = sizeof(ColdRead) + <size_t>fetch.cold_count * sizeof(ColdRange)
    cdef ColdRead* work = <ColdRead*>malloc(size)
    cdef FetchItem* item
    cdef ColdRange* wanted
    cdef int32_t i
    if work == NULL:
        return 1
    work.owner = fetch
    work.count = 0
    work.ranges = <ColdRange*>(work + 1)
    for i in range(fetch.count):
        item = &fetch.items[i]
        if not item.cold or work.count == fetch.cold_count:
            continue
        wanted = &work.ranges[work.count]
        wanted.partition = partition_acquire(item.partition)
        wanted.offset = item.fetch_offset
        wanted.limit = item.read_limit
        wanted.bytes_max = item.max_bytes
        wanted.first = work.count == 0
        work.count += 1
    work.job.kind = JOB_READ
    work.job.run = read_ranges
    work.job.done = ranges_read
    work.job.bytes = <int64_t>size
    fetch.cold_read = work
    fetch.cold_connection = connection
    connection_hold(connection, True)
    job_submit(reactor, connection, &work.job)
    return 0


cdef void cold_read_leave(Fetch* fetch) noexcept nogil:
    fetch.cold_read.owner = NULL
    connection_unhold(fetch.cold_read.job.reactor, fetch.cold_connection, True)
    fetch.cold_read = NULL


cdef void cold_read_cancel(Fetch* fetch) noexcept nogil:
    cdef ColdRead* work = fetch.cold_read
    if work != NULL:
        cold_read_leave(fetch)
        job_cancel(work.job.reactor, &work.job)
