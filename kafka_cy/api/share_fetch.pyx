"""ShareFetch (key 78, KIP-932) of a session that exists: records of share partitions, locked for the member.

What is unusual is forwarded to the coordinator (share_request.pyx), which works on the same records. A fetch first has its
acknowledgements stored (share_changes.pyx). Then it gets what there is, or waits: for records that are appended, released, or whose
locks expire. The response leaves when there are records or errors, or when the longest wait is over; `min_bytes` is not waited for.
A fetch that waits and meets something unusual responds with nothing: the next one goes to the coordinator. So does one for whose
data there is no memory.

v2 (KIP-1206, KIP-1222): acquire mode, renewal of locks.
"""
from libc.stdint cimport int16_t, int32_t, int64_t

from kafka_cy.api.fetch_cold cimport (
    COLD_BYTES_MAX, COLD_ROUNDS_MAX, ColdRead, cold_kept_free, cold_read_add, cold_read_keep, cold_read_new, cold_read_submit,
)
from kafka_cy.api.parking cimport park, parked_init
from kafka_cy.api.share_changes cimport share_changes_something, share_store
from kafka_cy.api.share_reading cimport share_fetch_ended, share_has_something, share_take
from kafka_cy.api.share_request cimport (
    SHARE_FETCH_KEY, SHARE_READ_BYTES_MAX, ShareItem, ShareWork, share_begin, share_free,
)
from kafka_cy.api.share_response cimport share_fetch_respond
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.dispatch cimport (
    CLOSE, HANDLED, PARKED_WATCH_BYTES, Parked, Reactor, Request, park_cancel, park_reserve,
    park_reserve_anyway, park_start, park_until_unheld, parked_recheck, parked_watch,
)
from kafka_cy.network.hot_handlers cimport hot_handler_register
from kafka_cy.network.throttle cimport throttle_fetch_max

cdef int32_t response_bytes_max = 57671680      # fetch.max.bytes


cdef bint waits_for_cold(Reactor* reactor, ShareWork* work) noexcept nogil:
    """Starts a job after a reading that found only data that is not in memory. Returns whether the fetch waits for it.

    The last job keeps one piece. If others got its records, or it could not be kept, the fetch ends without records.
    """
    cdef Connection* connection = work.parked.request.connection
    cdef bint is_last = work.cold.rounds == COLD_ROUNDS_MAX
    cdef ColdRead* read
    cdef ShareItem* item
    cdef int32_t i
    if work.cold_count == 0 or work.cold.rounds > COLD_ROUNDS_MAX:
        return False
    if connection.held:                 # by another request: a connection has one job at a time
        park_until_unheld(&work.parked)
        return True
    read = cold_read_new(1 if is_last else work.cold_count)
    if read == NULL:
        return False
    for i in range(work.count):
        item = &work.items[i]
        if item.cold and read.count < (1 if is_last else work.cold_count):
            cold_read_add(read, item.records.partition, item.cold_offset, item.cold_limit, COLD_BYTES_MAX)
    if is_last:
        cold_read_keep(read, min(work.max_bytes, <int32_t>SHARE_READ_BYTES_MAX))
    cold_read_submit(reactor, read, &work.cold, &work.parked, connection)
    return True


cdef void respond(Reactor* reactor, Request* request, ShareWork* work) noexcept nogil:
    share_fetch_ended(work)
    share_fetch_respond(reactor, request, work)


cdef int check_parked(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    """ParkedCheck: responds when there is something, or max_wait has passed."""
    cdef ShareWork* work = <ShareWork*>parked
    if work.asking or work.cold.read != NULL:
        return 0                        # the coordinator, or the job, has it checked again
    share_take(reactor, work)
    if not share_has_something(work) and not work.unusual:
        if waits_for_cold(reactor, work):
            return 0
        if not expired and work.cold_count == 0:
            cold_kept_free(&work.cold)  # others got its records; no limit counts it any more
            return 0
    respond(reactor, &parked.request, work)
    return 1


cdef void free_parked(Parked* parked) noexcept nogil:
    share_free(<ShareWork*>parked)


cdef int64_t bytes_of(const ShareWork* work) noexcept nogil:
    return <int64_t>sizeof(ShareWork) + work.count * (<int64_t>sizeof(ShareItem) + <int64_t>PARKED_WATCH_BYTES)


cdef bint watch_all(Reactor* reactor, ShareWork* work) noexcept nogil:
    """From now on, what changes in one of the partitions has the fetch checked. False: no memory."""
    cdef int32_t i
    for i in range(work.count):
        if parked_watch(reactor, &work.parked, work.items[i].records.partition):
            return False
    return True


cdef int begin_to_store(Reactor* reactor, Request* request, ShareWork* work) noexcept nogil:
    """Its acknowledgements come first; then it is checked."""
    cdef Parked* parked = &work.parked
    park_reserve_anyway(reactor, parked, bytes_of(work))    # its records are marked, so it cannot be refused
    if not watch_all(reactor, work) or park_start(reactor, parked):
        park_cancel(reactor, parked)
        request.close_reason = b"out of memory"
        return CLOSE
    if not share_store(reactor, work):
        parked_recheck(reactor, parked, work.max_wait_ms <= 0)
    return HANDLED


cdef int begin_to_wait(Reactor* reactor, Request* request, ShareWork* work) noexcept nogil:
    cdef Parked* parked = &work.parked
    if not park_reserve(reactor, parked, bytes_of(work)):
        respond(reactor, request, work)
        park_cancel(reactor, parked)
        return HANDLED
    return park(reactor, request, parked, watch_all(reactor, work), work.max_wait_ms <= 0)


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef ShareWork* work = NULL
    cdef int result = share_begin(reactor, request, &work)
    if work == NULL:
        return result
    work.max_bytes = <int32_t>min(
        <int64_t>min(work.max_bytes, response_bytes_max), max(<int64_t>1, throttle_fetch_max(reactor, request)))
    work.max_wait_ms = max(work.max_wait_ms, 0)
    parked_init(
        &work.parked, request, reactor.now_ns + <int64_t>work.max_wait_ms * 1000000, check_parked, free_parked)
    if share_changes_something(work):
        return begin_to_store(reactor, request, work)
    share_take(reactor, work)
    if share_has_something(work) or work.unusual or (work.max_wait_ms == 0 and work.cold_count == 0):
        respond(reactor, request, work)
        share_free(work)
        return HANDLED
    return begin_to_wait(reactor, request, work)


def set_max_bytes(size: int) -> None:
    """Set the largest size of a response in bytes (fetch.max.bytes). Only a first batch may be larger."""
    global response_bytes_max
    response_bytes_max = size


def register(int16_t version_min, int16_t version_max) -> None:
    """Makes reactors handle share fetches that need no decision."""
    hot_handler_register(SHARE_FETCH_KEY, version_min, version_max, handle)
