"""Offsets are looked up by time on a job thread: the search reads batches from the disk, and one may decompress to a gigabyte.

While the job runs, the request is parked and its connection held. The job works in slices, so that a request for many
partitions takes turns with the look-ups of other clients, and ends soon after its client has left. Leadership and limits
are checked by the handler, before the job and again with its results.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

from kafka_cy.api.error_codes cimport storage_error_code
from kafka_cy.api.list_offsets cimport MAX_TIMESTAMP, FoundOffset, SuspendedListOffsets, TimeLookUp
from kafka_cy.api.named_partitions cimport named_bytes, named_copy, named_free
from kafka_cy.api.parking cimport parked_init
from kafka_cy.base.atomics cimport atomic_load_pointer
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.network.dispatch cimport CLOSE, HANDLED, Parked, park_cancel, park_start
from kafka_cy.network.jobs cimport JOB_LOOK_UP, Job, connection_hold, connection_unhold, job_cancel, job_submit
from kafka_cy.records.compression cimport Codecs
from kafka_cy.storage.log cimport Log, log_max_timestamp, log_offset_for_timestamp
from kafka_cy.storage.partition cimport partition_acquire, partition_release

cdef enum:
    SLICE_NS = 10000000                 # a job ends after this time, and goes on behind the jobs that wait
    RECHECK_NS = 3600000000000          # a timer is needed, but the job always ends


cdef LookUpJob* look_up_job_new() noexcept nogil:
    return <LookUpJob*>calloc(1, sizeof(LookUpJob))


cdef int look_up_add(LookUpJob* work, Partition* partition, int32_t number, int64_t timestamp_ms) noexcept nogil:
    cdef TimeLookUp* look_up
    cdef TimeLookUp* grown
    if work.count & (work.count - 1) == 0:      # 0 or a power of two: the array is full
        grown = <TimeLookUp*>realloc(work.look_ups, <size_t>max(2 * work.count, 1) * sizeof(TimeLookUp))
        if grown == NULL:
            return 1
        work.look_ups = grown
    look_up = &work.look_ups[work.count]
    look_up.partition = partition_acquire(partition)
    look_up.number = number
    look_up.timestamp_ms = timestamp_ms
    work.count += 1
    return 0


cdef void look_up_job_free(LookUpJob* work) noexcept nogil:
    cdef int32_t i
    for i in range(work.count):
        partition_release(work.look_ups[i].partition)
    free(work.look_ups)
    free(work)


cdef void look_up_by_time(TimeLookUp* look_up, Codecs* codecs) noexcept nogil:
    cdef Log* log = <Log*>atomic_load_pointer(<void**>&look_up.partition.log)
    cdef FoundOffset* found = &look_up.found
    cdef bint hit = False
    cdef int error
    if look_up.timestamp_ms == MAX_TIMESTAMP:
        error = log_max_timestamp(log, codecs, &found.offset, &found.timestamp_ms, &found.epoch, &hit)
    else:
        error = log_offset_for_timestamp(
            log, codecs, look_up.timestamp_ms, &found.offset, &found.timestamp_ms, &found.epoch, &hit
        )
    found.error = storage_error_code(error)
    if found.error or not hit:
        found.offset = -1
        found.timestamp_ms = -1
        found.epoch = -1


cdef void look_up_slice(Job* job, Codecs* codecs) noexcept nogil:
    """JobRun."""
    cdef LookUpJob* work = <LookUpJob*>job
    cdef int64_t end_ns = monotonic_ns() + SLICE_NS
    while work.next < work.count:
        look_up_by_time(&work.look_ups[work.next], codecs)
        work.next += 1
        if monotonic_ns() >= end_ns:
            return


cdef void looked_up(Reactor* reactor, Job* job) noexcept nogil:
    """JobDone."""
    cdef LookUpJob* work = <LookUpJob*>job
    cdef SuspendedListOffsets* suspended = work.owner
    cdef Request request
    work.running = False
    if suspended == NULL:
        look_up_job_free(work)
        return
    if suspended.parked.request.connection.dead:
        return                          # freed with its connection
    if work.next < work.count:
        work.running = True
        job_submit(reactor, suspended.parked.request.connection, job)
        return
    request = suspended.parked.request
    request.body = suspended.body
    request.body_size = suspended.body_size
    suspended.resume(reactor, &request, suspended)
    park_cancel(reactor, &suspended.parked)


cdef int stay(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    """ParkedCheck: only the job ends it."""
    return 0


cdef void suspended_free(Parked* parked) noexcept nogil:
    """ParkedFree; also when the connection closed."""
    cdef SuspendedListOffsets* suspended = <SuspendedListOffsets*>parked
    cdef Reactor* reactor = <Reactor*>parked.request.connection.reactor
    connection_unhold(reactor, parked.request.connection, True)
    named_free(&suspended.named)
    free(suspended.body)
    if suspended.job.running:
        suspended.job.owner = NULL
        job_cancel(reactor, &suspended.job.job)
    else:
        look_up_job_free(suspended.job)
    free(suspended)


cdef SuspendedListOffsets* suspended_new(Request* request, NamedPartitions* named) noexcept nogil:
    """With a copy of the body; NULL without memory."""
    cdef SuspendedListOffsets* suspended = <SuspendedListOffsets*>calloc(1, sizeof(SuspendedListOffsets))
    if suspended == NULL:
        return NULL
    suspended.body = <uint8_t*>malloc(request.body_size + 1)
    if suspended.body != NULL:
        suspended.body_size = request.body_size
        memcpy(suspended.body, request.body, request.body_size)
        if named_copy(&suspended.named, named, request.body, suspended.body) == 0:
            return suspended
    named_free(&suspended.named)
    free(suspended.body)
    free(suspended)
    return NULL


cdef int look_up_suspend(
    Reactor* reactor, Request* request, ListOffsetsHeader* header, NamedPartitions* named, LookUpJob* work,
    ListOffsetsResume resume,
) noexcept nogil:
    cdef SuspendedListOffsets* suspended = suspended_new(request, named)
    if suspended == NULL:
        look_up_job_free(work)
        request.close_reason = b"out of memory"
        return CLOSE
    suspended.header = header[0]
    suspended.job = work
    suspended.resume = resume
    work.owner = suspended
    work.job.kind = JOB_LOOK_UP
    work.job.run = look_up_slice
    work.job.done = looked_up
    work.job.bytes = (
        <int64_t>request.body_size + named_bytes(&suspended.named) + work.count * <int64_t>sizeof(TimeLookUp)
    )
    parked_init(&suspended.parked, request, reactor.now_ns + RECHECK_NS, stay, suspended_free)
    connection_hold(request.connection, True)
    if park_start(reactor, &suspended.parked):
        park_cancel(reactor, &suspended.parked)
        request.close_reason = b"out of memory"
        return CLOSE
    work.running = True
    job_submit(reactor, request.connection, &work.job)
    return HANDLED
