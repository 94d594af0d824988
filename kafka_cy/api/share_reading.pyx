"""A share fetch on a reactor: where it reads, which batches there are, and which of their records the member gets.

No mutex is held over the look-up in the log, neither that of the session nor that of a share partition: the coordinator's thread
takes both. Whoever acquires records in between gets them: acquiring goes by the state of the records at that moment, and by the
batches, which are facts about the log. The session's mutex is held while records are acquired, so that a session that has ended
acquires none.

The reactor reads only what is in the page cache; jobs read the rest (fetch_cold). A piece that the page cache has lost each time
when the reactor looked is read once more by a job that keeps it in memory, and is acquired and sent from there.
"""
from libc.errno cimport EAGAIN
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from kafka_cy.api.error_codes cimport storage_error_code
from kafka_cy.api.fetch_cold cimport KeptPiece, in_page_cache
from kafka_cy.api.share_request cimport SHARE_FETCH_KEY, SHARE_READ_BYTES_MAX, ShareItem
from kafka_cy.base.atomics cimport atomic_load_i32, atomic_load_i64, atomic_load_relaxed_i64
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.page_cache cimport pread_cached
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.network.questions cimport question_wake
from kafka_cy.records.batch cimport (
    BASE_OFFSET_AT, BATCH_HEADER_SIZE, LAST_OFFSET_DELTA_AT, LENGTH_AT, LOG_OVERHEAD,
)
from kafka_cy.records.wire cimport load_be32, load_be64, writer_reserve
from kafka_cy.share.group_totals cimport GroupTotals, group_acquired, group_fetch_ended, group_found_full
from kafka_cy.share.in_flight_acquire cimport RECORDS_AT_ONCE, BatchBounds, Wanted, ranges_acquire
from kafka_cy.share.in_flight_ranges cimport (
    ranges_can_acquire, ranges_fetch_offset, ranges_forget_below, ranges_next_offset,
)
from kafka_cy.share.session_data cimport SessionData, SessionPlace, share_session_place, share_session_served
from kafka_cy.share.share_totals cimport SHARE_RANGES_MAX
from kafka_cy.share.shared_records cimport (
    SharedRecords, records_are_led, records_await_expiry, records_looked, records_outdate,
)
from kafka_cy.storage.log cimport (
    Log, ReadResult, log_aborted_transactions, log_read_cached, log_start_offset, segment_release,
)
from kafka_cy.storage.partition cimport Partition, partition_last_stable_offset, partition_log
from kafka_cy.storage.storage_error cimport STORAGE_IO_ERROR, STORAGE_NOT_CACHED, STORAGE_OFFSET_OUT_OF_RANGE, STORAGE_OK

cdef enum:
    BATCHES_MAX = 2048              # of all partitions; more records than that come with the next fetch
    CHUNK_BYTES = 4096

# Where a share partition is read next.
cdef struct Place:
    int64_t fetch_offset
    int64_t offsets_max             # others may hold what lies between the first free record and the new ones
    int64_t limit                   # high watermark, or last stable offset
    bint committed


cdef bint find_place(SharedRecords* records, int64_t records_max, Place* place, bint* acquirable) noexcept nogil:
    """False: there is nothing that could be acquired. `acquirable`: there would be if the log had more."""
    cdef Partition* partition = records.partition
    cdef int64_t log_start = log_start_offset(partition_log(partition))
    cdef bint found = False
    pthread_mutex_lock(&records.mutex)
    if atomic_load_i32(&records.is_open) and ranges_forget_below(&records.ranges, log_start) == 0:
        found = ranges_can_acquire(&records.ranges, &records.limits)
        if not found:
            group_found_full(records.ranges.group)
        place.fetch_offset = ranges_fetch_offset(&records.ranges)
        place.offsets_max = ranges_next_offset(&records.ranges) - place.fetch_offset + records_max
        place.committed = records.committed
    pthread_mutex_unlock(&records.mutex)
    acquirable[0] = found
    if not found:
        return False
    place.limit = partition_last_stable_offset(partition) if place.committed else atomic_load_i64(&partition.high_watermark)
    return place.fetch_offset < place.limit


cdef bint any_aborted(Log* log, int64_t first, int64_t end) noexcept nogil:
    cdef int64_t* pairs = NULL
    cdef int32_t count = 0
    cdef int error = log_aborted_transactions(log, first, end, &pairs, &count)
    free(pairs)
    return error != STORAGE_OK or count > 0


# -- the log --

cdef void found_cold(ShareWork* work, ShareItem* item, const Place* place) noexcept nogil:
    """A job is to read it."""
    item.cold = True
    item.cold_offset = place.fetch_offset
    item.cold_limit = place.limit
    work.cold_count += 1


cdef bint use_kept(ShareWork* work, ShareItem* item, Place* place) noexcept nogil:
    """Whether a job has kept a piece with what is to be read. Others may have got a part of it, or records before it, meanwhile."""
    cdef const KeptPiece* kept = &work.cold.kept
    if kept.data == NULL or kept.partition != item.records.partition or place.fetch_offset >= kept.end_offset:
        return False
    place.fetch_offset = max(place.fetch_offset, kept.offset)
    item.read.segment = NULL
    item.read.position = kept.position
    item.read.size = kept.size
    item.memory = kept.data
    return True


cdef bint look_up(ShareWork* work, ShareItem* item, const Place* place, int64_t bytes_left) noexcept nogil:
    """Find the batches, if they are in memory. While nothing is acquired, the first batch may be larger than what is left."""
    cdef ReadResult* read = &item.read
    cdef int error = log_read_cached(
        partition_log(item.records.partition), place.fetch_offset, place.limit, min(bytes_left, <int64_t>SHARE_READ_BYTES_MAX),
        bytes_left == work.max_bytes, read)
    if error == STORAGE_OK and read.segment != NULL and not in_page_cache(read):
        error = STORAGE_NOT_CACHED
    if error != STORAGE_OK:
        release_read(item)
    if error == STORAGE_NOT_CACHED:
        found_cold(work, item, place)
    elif error == STORAGE_OFFSET_OUT_OF_RANGE:      # records were deleted meanwhile: the next fetch begins behind them
        work.unusual = True
    else:
        item.error = storage_error_code(error)
    return read.segment != NULL


cdef void release_read(ShareItem* item) noexcept nogil:
    if item.read.segment != NULL:
        segment_release(item.read.segment)
    item.read.segment = NULL
    item.memory = NULL


cdef int64_t read_headers(const ShareItem* item, int64_t at, uint8_t* chunk, int64_t size) noexcept nogil:
    """At least one header from `at` on; more is read ahead. Returns how many bytes, or an errno below 0: EAGAIN without waiting for
    a disk."""
    cdef int64_t n
    if item.memory != NULL:
        memcpy(chunk, item.memory + (at - item.read.position), BATCH_HEADER_SIZE)
        return BATCH_HEADER_SIZE
    n = pread_cached(item.read.fd, chunk, <size_t>size, at)
    return n if n < 0 or n >= BATCH_HEADER_SIZE else -EAGAIN


cdef int read_bounds(
    const ShareItem* item, const Place* place, BatchBounds* bounds, int32_t most, int32_t* count
) noexcept nogil:
    """Up to `most` whole batches of what was found, as far as they are needed. Returns a STORAGE_* error: NOT_CACHED if not even
    the first one is in memory."""
    cdef uint8_t[CHUNK_BYTES] chunk
    cdef const uint8_t* header
    cdef int32_t length
    cdef int64_t at = item.read.position
    cdef int64_t end = item.read.position + item.read.size
    cdef int64_t chunk_at = at
    cdef int64_t chunk_end = at
    cdef int64_t covered = 0
    cdef int64_t n
    while at + BATCH_HEADER_SIZE <= end and count[0] < most and covered < place.offsets_max:
        if at + BATCH_HEADER_SIZE > chunk_end:
            n = read_headers(item, at, chunk, min(<int64_t>CHUNK_BYTES, end - at))
            if n < 0 and count[0] == 0:
                return STORAGE_NOT_CACHED if n == -EAGAIN else STORAGE_IO_ERROR
            if n < 0:
                break                   # the rest is read with the next fetch
            chunk_at = at
            chunk_end = at + n
        header = chunk + (at - chunk_at)
        length = <int32_t>load_be32(header + LENGTH_AT)
        if length < BATCH_HEADER_SIZE - LOG_OVERHEAD or at + LOG_OVERHEAD + length > end:
            break
        bounds[count[0]].first_offset = <int64_t>load_be64(header + BASE_OFFSET_AT)
        bounds[count[0]].last_offset = bounds[count[0]].first_offset + <int32_t>load_be32(header + LAST_OFFSET_DELTA_AT)
        bounds[count[0]].position = at
        at += LOG_OVERHEAD + length
        bounds[count[0]].end = at
        covered = bounds[count[0]].last_offset + 1 - place.fetch_offset
        count[0] += 1
    return STORAGE_OK


# -- acquiring --

cdef void narrow(ShareItem* item, const BatchBounds* bounds, int32_t count) noexcept nogil:
    """What is sent: the batches of the acquired records."""
    cdef int64_t first = item.acquired.rows[0].first_offset
    cdef int64_t last = item.acquired.rows[item.acquired.count - 1].last_offset
    cdef int32_t begin = 0
    cdef int32_t end = count - 1
    while begin < end and bounds[begin].last_offset < first:
        begin += 1
    while end > begin and bounds[end].first_offset > last:
        end -= 1
    if item.memory != NULL:
        item.memory += bounds[begin].position - item.read.position
    item.read.position = bounds[begin].position
    item.read.size = bounds[end].end - bounds[begin].position


cdef bint lock_records(ShareItem* item, const Wanted* wanted, const BatchBounds* bounds, int32_t count) noexcept nogil:
    """Whether the coordinator has to be woken, so that it looks when the locks expire."""
    cdef SharedRecords* records = item.records
    cdef bint notice = False
    pthread_mutex_lock(&records.mutex)
    if atomic_load_i32(&records.is_open):
        ranges_acquire(&records.ranges, wanted, bounds, count, &item.acquired)
        if item.acquired.count > 0:
            notice = records_await_expiry(records, wanted.now_ns + records.limits.lock_ns)
    pthread_mutex_unlock(&records.mutex)
    return notice


cdef void acquire(
    Reactor* reactor, ShareWork* work, ShareItem* item, const Place* place, const BatchBounds* bounds, int32_t count,
    int64_t records_left
) noexcept nogil:
    cdef SessionData* share_session = work.session
    cdef SessionPlace* served
    cdef Wanted wanted
    cdef bint notice = False
    wanted.member = share_session.member
    wanted.member_size = share_session.member_size
    wanted.limits = &item.records.limits
    wanted.now_ns = reactor.now_ns
    wanted.fetch_offset = place.fetch_offset
    wanted.records_max = records_left
    wanted.again_max = work.rows_left
    wanted.batch_size = work.batch_size
    wanted.strict = work.strict
    pthread_mutex_lock(&share_session.mutex)
    if share_session.ended:
        work.unusual = True             # it gets nothing any more
    else:
        notice = lock_records(item, &wanted, bounds, count)
        served = share_session_place(share_session, item.topic_id, item.index) if item.acquired.count > 0 else NULL
        if served != NULL:
            share_session_served(share_session, served)
    pthread_mutex_unlock(&share_session.mutex)
    if notice:
        question_wake(reactor, SHARE_FETCH_KEY)


cdef void take_found(
    Reactor* reactor, ShareWork* work, ShareItem* item, const Place* place, int64_t records_left
) noexcept nogil:
    """Lock records of the batches in `item.read`."""
    cdef BatchBounds* bounds
    cdef int32_t count = 0
    cdef int error
    reactor.scratch.size = 0
    bounds = <BatchBounds*>writer_reserve(&reactor.scratch, BATCHES_MAX * sizeof(BatchBounds))
    if bounds == NULL:
        return
    error = read_bounds(item, place, bounds, work.batches_left, &count)
    work.batches_left -= count
    if error == STORAGE_NOT_CACHED:
        found_cold(work, item, place)
    elif error != STORAGE_OK:
        item.error = storage_error_code(error)
    elif count > 0 and place.committed and any_aborted(
        partition_log(item.records.partition), bounds[0].first_offset, bounds[count - 1].last_offset + 1
    ):
        work.unusual = True             # the coordinator archives their records
        records_outdate(item.records)
    elif count > 0:
        acquire(reactor, work, item, place, bounds, count, records_left)
    if item.acquired.count > 0:
        narrow(item, bounds, count)


cdef int64_t take_item(
    Reactor* reactor, ShareWork* work, ShareItem* item, int64_t bytes_left, int64_t records_left
) noexcept nogil:
    """Lock records of one partition. Returns how many."""
    cdef int64_t begun_ns
    cdef int64_t taken
    if not records_are_led(item.records):
        work.unusual = True
        return 0
    begun_ns = monotonic_ns()
    taken = look_and_take(reactor, work, item, bytes_left, records_left)
    records_looked(item.records, begun_ns, monotonic_ns())
    return taken


cdef int64_t look_and_take(
    Reactor* reactor, ShareWork* work, ShareItem* item, int64_t bytes_left, int64_t records_left
) noexcept nogil:
    cdef Place place
    cdef int64_t taken = 0
    cdef int32_t i
    if not find_place(item.records, records_left, &place, &item.acquirable):
        return 0
    if not use_kept(work, item, &place) and not look_up(work, item, &place, bytes_left):
        return 0
    take_found(reactor, work, item, &place, records_left)
    if item.acquired.count == 0:
        release_read(item)
        return 0
    for i in range(item.acquired.count):
        taken += item.acquired.rows[i].last_offset - item.acquired.rows[i].first_offset + 1
    work.rows_left -= item.acquired.count
    return taken


cdef bint has_ended(SessionData* share_session) noexcept nogil:
    cdef bint ended
    pthread_mutex_lock(&share_session.mutex)
    ended = share_session.ended
    pthread_mutex_unlock(&share_session.mutex)
    return ended


cdef void take_all(Reactor* reactor, ShareWork* work) noexcept nogil:
    cdef ShareItem* item
    cdef int64_t bytes_left = work.max_bytes
    cdef int64_t records_left = work.max_records
    cdef int64_t taken
    cdef int32_t i
    work.cold_count = 0
    work.batches_left = BATCHES_MAX
    work.rows_left = RECORDS_AT_ONCE
    if has_ended(work.session):
        work.unusual = True             # it gets nothing any more
        return
    for i in range(work.count):
        item = &work.items[i]
        item.cold = False
        if bytes_left <= 0 or records_left <= 0 or work.batches_left <= 0 or work.rows_left <= 0:
            continue
        if atomic_load_relaxed_i64(&item.records.ranges.totals.ranges) >= SHARE_RANGES_MAX:
            work.unusual = True
            return
        taken = take_item(reactor, work, item, bytes_left, records_left)
        if taken > 0:
            records_left -= taken
            bytes_left -= item.read.size


cdef void share_take(Reactor* reactor, ShareWork* work) noexcept nogil:
    cdef int64_t ended_ns
    cdef int32_t i
    if work.tries_ns == 0:
        work.tries_ns = monotonic_ns()
    for i in range(work.count):
        work.items[i].acquirable = False
    take_all(reactor, work)
    work.acquirable = 0
    for i in range(work.count):
        work.acquirable += work.items[i].acquirable
    if work.acquirable > 0:
        ended_ns = monotonic_ns()
        group_acquired(work.items[0].records.ranges.group, ended_ns - work.tries_ns)
        work.tries_ns = ended_ns


cdef void share_fetch_ended(ShareWork* work) noexcept nogil:
    cdef GroupTotals* group
    if work.count == 0 or work.tries_ns == 0:
        return
    group = work.items[0].records.ranges.group
    if work.acquirable == 0:
        group_acquired(group, monotonic_ns() - work.tries_ns)
    group_fetch_ended(group, work.acquirable, work.count)


cdef bint share_has_something(const ShareWork* work) noexcept nogil:
    cdef int32_t i
    for i in range(work.count):
        if work.items[i].error or work.items[i].acquired.count > 0:
            return True
    return False
