"""Fetch (key 1).

- v4: isolation level, last stable offset, aborted transactions (KIP-98). v5: log start offset (KIP-107).
- v7: fetch sessions (KIP-227, see fetch_session). v9: current leader epoch (KIP-320). v10: zstd (KIP-110).
- v11: rack id, preferred read replica (KIP-392, see fetch_preferred). v12: flexible; last fetched epoch, diverging epoch
  (KIP-595), current leader. v13: topics by id (KIP-516). v14: tiered storage. v15: replica state tag (KIP-903).
- v16: node endpoints (KIP-951). v17: replica directory id (KIP-853). v18: high watermark of a KRaft follower (KIP-1166).
- The first batch is sent even when it is larger than every limit (KIP-74); a fetch offset inside a batch gives the whole
  batch. Records are never null. With an error the offsets are -1, as in Kafka: clients ask ListOffsets then.
- Consumers read up to the high watermark, with read_committed up to the last stable offset, and only those bytes count for
  min_bytes. A replica (replica_id >= 0) reads up to the log end offset.
- Data that is not in memory is read by a job first (see fetch_cold.pyx).
- ACLs are looked up when the partitions are listed (fetch_partitions.pyx). A fetch that waits while the ACLs change gets an empty
  response when it ends: a right may be gone. (Kafka sends the records; it asks only when the request comes.)
- Large pieces go from the page cache to the socket (sendfile); small ones are copied into the response.
"""
from libc.stdint cimport int16_t, int32_t, int64_t

from kafka_cy.api.error_codes cimport (
    ERROR_NONE, ERROR_NOT_LEADER_OR_FOLLOWER, ERROR_OFFSET_OUT_OF_RANGE, ERROR_UNKNOWN_LEADER_EPOCH,
    ERROR_UNKNOWN_TOPIC_ID, ERROR_UNKNOWN_TOPIC_OR_PARTITION, storage_error_code,
)
from kafka_cy.api.fetch_cold cimport (
    COLD_BYTES_MAX, COLD_ROUNDS_MAX, ColdRead, cold_read_add, cold_read_cancel, cold_read_leave, cold_read_new, cold_read_note,
    cold_read_submit, in_page_cache,
)
from kafka_cy.api.fetch_lifetime cimport fetch_free, fetch_new, fetch_release_reads
from kafka_cy.api.fetch_partitions cimport fetch_begin
from kafka_cy.api.fetch_preferred cimport preferred_begin, preferred_replica, serves_as_follower
from kafka_cy.api.fetch_request cimport FetchHeader, read_fetch_header
from kafka_cy.api.fetch_response cimport fetch_respond
from kafka_cy.api.fetch_standing cimport standing_build, standing_collect, standing_mute, standing_rest, standing_take
from kafka_cy.api.fetch_throttle cimport is_throttled
from kafka_cy.api.parking cimport park, parked_init
from kafka_cy.base.atomics cimport atomic_add_relaxed_i64, atomic_load_i32, atomic_load_i64, atomic_load_pointer
from kafka_cy.network.authorization cimport acls_generation
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.counters cimport API_FETCH_FOLLOWER
from kafka_cy.network.job_places cimport job_has_room, job_hold_back
from kafka_cy.network.jobs cimport JOB_READ
from kafka_cy.network.dispatch cimport (
    CLOSE, HANDLED, PARKED_WATCH_BYTES, Parked, Reactor, Request, park_cancel, park_is_crowded,
    park_reserve, park_until_unheld, parked_watch, request_count_as,
)
from kafka_cy.network.hot_handlers cimport hot_handler_authorizes, hot_handler_register
from kafka_cy.network.watch_set cimport watch_set_wait
from kafka_cy.storage.log cimport (
    Log, log_end_offset, log_end_offset_for_epoch, log_read, log_read_cached, log_start_offset, segment_release,
)
from kafka_cy.storage.isr_candidates cimport isr_candidate_note
from kafka_cy.storage.partition cimport Partition, partition_acquire, partition_check_leader, partition_last_stable_offset
from kafka_cy.storage.partition_leader cimport (
    FETCHED_BY_OTHER, FETCHED_MAY_JOIN, FETCHED_NOT_NOW, FollowerFetch, FollowerFetched, partition_follower_fetched_within,
)
from kafka_cy.storage.storage_error cimport STORAGE_NOT_CACHED, STORAGE_NOT_LEADER, STORAGE_OK

cdef enum:
    API_KEY = 1
    PARTITIONS_MAX = 1000000        # of one request: each takes some 300 bytes while it is handled
    FOLLOWER_WAIT_NS = 100000       # for the mutex of a partition to which another thread appends

cdef int32_t response_bytes_max = 57671680      # fetch.max.bytes


# -- the end of a request --

cdef void fetch_done(Reactor* reactor, Fetch* fetch) noexcept nogil:
    if fetch.standing != NULL:
        standing_rest(fetch.standing)
    else:
        fetch_free(reactor, fetch)


cdef void free_parked(Parked* parked) noexcept nogil:
    fetch_done(NULL, <Fetch*>parked)


cdef void count_asked(Fetch* fetch) noexcept nogil:
    """Counts one fetch request for each partition, even if the partition is read several times while the fetch waits.

    A partition of a standing fetch is counted when it is read, for all requests since it was read before.
    """
    cdef int64_t requests = fetch.standing.requests if fetch.standing != NULL else 1
    cdef FetchItem* item = fetch.first
    while item != NULL:
        if item.partition != NULL:
            atomic_add_relaxed_i64(&item.partition.fetch_requests, requests - item.counted)
        item.counted = requests
        item = item.next


# -- reading --

cdef bint diverges(Log* log, FetchItem* item) noexcept nogil:
    """Return whether the reader's log diverged from ours (KIP-595). Sets the item's error if the epoch is unknown."""
    cdef int32_t epoch = -1
    cdef int64_t end_offset = -1
    log_end_offset_for_epoch(log, item.last_fetched_epoch, &epoch, &end_offset)
    if epoch < 0 or end_offset < 0:
        item.error = ERROR_OFFSET_OUT_OF_RANGE
        return False
    item.diverging_epoch = epoch
    item.diverging_end_offset = end_offset
    return epoch < item.last_fetched_epoch or end_offset < item.fetch_offset


cdef void read_item(Fetch* fetch, FetchItem* item, int64_t bytes_left, bint first) noexcept nogil:
    """Looks up what the partition has for this reader now."""
    item.error = ERROR_NONE
    item.diverging = False
    item.throttled = False
    item.preferred = -1
    item.read.segment = NULL
    item.read.size = 0
    if item.partition == NULL:
        item.error = item.missing_error
    else:
        read_hosted(fetch, item, bytes_left, first)
    if item.error:
        forget_offsets(item)


cdef void read_hosted(Fetch* fetch, FetchItem* item, int64_t bytes_left, bint first) noexcept nogil:
    """Like read_item, for a partition that this broker hosts."""
    cdef Partition* partition = item.partition
    cdef Log* log
    cdef int64_t bytes_max
    cdef int refused = partition_check_leader(partition, item.current_leader_epoch)
    if refused == STORAGE_NOT_LEADER and serves_as_follower(fetch, partition):
        refused = STORAGE_OK
    item.error = storage_error_code(refused)
    if item.error == ERROR_UNKNOWN_TOPIC_OR_PARTITION and fetch.by_id:
        item.error = ERROR_UNKNOWN_TOPIC_ID
    if item.error:
        return
    log = <Log*>atomic_load_pointer(<void**>&partition.log)
    if fetch.replica_id >= 0 and follower_refused(fetch, item, log):
        return
    item.high_watermark = atomic_load_i64(&partition.high_watermark)
    item.last_stable_offset = partition_last_stable_offset(partition)
    item.log_start_offset = log_start_offset(log)
    item.preferred = preferred_replica(fetch, item)
    if item.preferred >= 0:
        return
    if item.last_fetched_epoch >= 0 and item.fetch_offset >= item.log_start_offset and fetch.replica_id < 0:
        item.diverging = diverges(log, item)
    if item.diverging or item.error:
        return
    item.read_limit = item.high_watermark
    if fetch.replica_id >= 0:
        item.read_limit = log_end_offset(log)
    elif fetch.isolation_level == READ_COMMITTED:
        item.read_limit = item.last_stable_offset
    if item.fetch_offset < item.log_start_offset or item.fetch_offset > log_end_offset(log):
        item.error = ERROR_OFFSET_OUT_OF_RANGE
        return
    if item.cold:                       # a job notes what the follower reported, and reads
        return
    item.throttled = is_throttled(fetch, item)
    if item.throttled:
        return
    bytes_max = item.max_bytes if item.max_bytes < bytes_left else bytes_left
    if item.fetch_offset >= item.read_limit or (bytes_max <= 0 and not first):
        return
    read_log(fetch, item, log, bytes_max, first)


cdef bint refuse_other(FetchItem* item) noexcept nogil:
    """That broker has no replica of the partition: the assignment, here or there, is not the newest."""
    item.error = ERROR_NOT_LEADER_OR_FOLLOWER
    if item.current_leader_epoch >= 0:
        item.error = ERROR_UNKNOWN_LEADER_EPOCH
    return True


cdef bint follower_refused(Fetch* fetch, FetchItem* item, Log* log) noexcept nogil:
    """Note what a follower has, once for each request. True: the item has an error.

    It has everything below its fetch offset, if its last epoch agrees with ours up to there. It is noted before the reading, so
    that the response has the high watermark of which this fetch is a part.
    """
    if atomic_load_i32(&item.partition.replicas.count) == 0:    # without the mutex of the log, under which a slow disk may work
        return refuse_other(item)
    if item.fetch_offset < log_start_offset(log):
        item.error = ERROR_OFFSET_OUT_OF_RANGE
        return True
    if item.last_fetched_epoch >= 0:
        item.diverging = diverges(log, item)
        if item.diverging or item.error:
            return False                            # the offsets of the response are filled in
    if item.fetch_offset > log_end_offset(log):
        item.error = ERROR_OFFSET_OUT_OF_RANGE
        return True
    if item.found & FETCHED_BY_OTHER:
        return refuse_other(item)
    if not item.noted:
        note_report(fetch, item)
        if item.error:
            return True
    return False


cdef void fill_report(FollowerFetch* report, const Fetch* fetch, const FetchItem* item) noexcept nogil:
    report.broker_id = fetch.replica_id
    report.leader_epoch = item.current_leader_epoch
    report.end_offset = item.fetch_offset
    report.start_offset = item.start_offset
    report.broker_epoch = fetch.replica_epoch


cdef void note_report(Fetch* fetch, FetchItem* item) noexcept nogil:
    """A partition that another thread appends to is left to a job: a reactor waits for one such partition at most, shortly."""
    cdef FollowerFetch report
    cdef FollowerFetched noted
    fill_report(&report, fetch, item)
    noted = partition_follower_fetched_within(item.partition, &report, 0 if fetch.waited else FOLLOWER_WAIT_NS)
    if noted == FETCHED_NOT_NOW:
        fetch.waited = True
        if fetch.cold_wait.rounds == 0:
            item.cold = True
            fetch.cold_count += 1
        return
    item.noted = True
    item.found = noted
    if noted & FETCHED_BY_OTHER:
        refuse_other(item)
    elif noted & FETCHED_MAY_JOIN:
        isr_candidate_note(item.partition)


cdef void read_log(Fetch* fetch, FetchItem* item, Log* log, int64_t bytes_max, bint first) noexcept nogil:
    """Finds the batches. Data that is not in memory is left to a job, unless jobs have tried often enough."""
    cdef bint wait = fetch.cold_wait.rounds >= COLD_ROUNDS_MAX and first
    cdef int error
    if fetch.cold_wait.rounds:       # Ask for no more than a job has read, or the rest would be cold again in every round.
        bytes_max = min(bytes_max, <int64_t>COLD_BYTES_MAX)
    if wait:
        error = log_read(log, item.fetch_offset, item.read_limit, bytes_max, first, &item.read)
    else:
        error = log_read_cached(log, item.fetch_offset, item.read_limit, bytes_max, first, &item.read)
    if item.read.segment == NULL:
        item.read.size = 0
    elif not wait and not in_page_cache(&item.read):
        segment_release(item.read.segment)
        item.read.segment = NULL
        item.read.size = 0
        error = STORAGE_NOT_CACHED
    if error == STORAGE_NOT_CACHED:
        item.cold = True
        fetch.cold_count += 1
    else:
        item.error = storage_error_code(error)


cdef bint read_all(Fetch* fetch) noexcept nogil:
    """Reads each partition that may have something new. Returns whether the response can be sent at once."""
    cdef FetchItem* item
    cdef int64_t bytes_left = fetch.max_bytes
    cdef bint complete = fetch.error != ERROR_NONE or fetch.count == 0
    if fetch.standing != NULL:
        standing_collect(fetch.standing)
    fetch.bytes = 0
    fetch.cold_count = 0
    fetch.throttle = THROTTLE_NOT_ASKED
    item = fetch.first
    while item != NULL:
        item.cold = False
        read_item(fetch, item, bytes_left, fetch.bytes == 0)
        fetch.bytes += item.read.size
        bytes_left -= item.read.size
        if item.error or item.diverging or item.preferred >= 0:
            complete = True
        item = item.next
    fetch.failed = complete
    if fetch.cold_count and fetch.cold_wait.rounds and fetch.bytes:
        return True                     # The client asks again for what a job did not bring.
    return complete or fetch.bytes >= fetch.min_bytes


cdef int cold_read_start(Reactor* reactor, Fetch* fetch, Connection* connection) noexcept nogil:
    """Submits a job for the cold partitions of the last reading. 1: no memory."""
    cdef ColdRead* work = cold_read_new(fetch.cold_count)
    cdef FollowerFetch report
    cdef FetchItem* item = fetch.first
    if work == NULL:
        return 1
    while item != NULL:
        if item.cold and work.count < fetch.cold_count:
            cold_read_add(work, item.partition, item.fetch_offset, item.read_limit, item.max_bytes)
            if fetch.replica_id >= 0 and not item.noted:
                fill_report(&report, fetch, item)
                cold_read_note(work, &report, &item.found)
                item.noted = True
        item = item.next
    cold_read_submit(reactor, work, &fetch.cold_wait, &fetch.parked, connection)
    return 0


cdef bint waits_for_cold(Reactor* reactor, Fetch* fetch, Connection* connection) noexcept nogil:
    """Starts a job after a reading if it is needed. Returns whether the fetch waits for the job, or may start it only later."""
    if fetch.cold_count == 0 or (fetch.cold_wait.rounds and fetch.bytes):
        return False
    if fetch.failed:                    # The response reports an error and cannot wait; the job reads for the next fetch.
        if not connection.held and job_has_room(reactor, connection, JOB_READ) and (
            cold_read_start(reactor, fetch, connection) == 0
        ):
            cold_read_leave(&fetch.cold_wait)
        return False
    if connection.held:                 # by another request: a connection has one job at a time
        park_until_unheld(&fetch.parked)
        fetch_release_reads(fetch)
        return True
    if cold_read_start(reactor, fetch, connection) == 0:
        fetch_release_reads(fetch)
        return True
    fetch.cold_wait.rounds = COLD_ROUNDS_MAX # No memory for a job: the reactor reads.
    fetch_release_reads(fetch)
    read_all(fetch)
    return False


# -- waiting --

cdef int check_parked(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    """ParkedCheck: responds when min_bytes are available, a partition fails, or max_wait has passed."""
    cdef Fetch* fetch = <Fetch*>parked
    cdef bint complete
    if fetch.cold_wait.read != NULL:
        return 0                        # The job checks again when it ends.
    if fetch.acls_generation != acls_generation(reactor):
        fetch.withholds = True          # The client asks again at once: then its rights are looked up.
        fetch.bytes = 0
        fetch_respond(reactor, &parked.request, fetch)
        return 1
    complete = read_all(fetch)
    if waits_for_cold(reactor, fetch, parked.request.connection):
        return 0
    if not complete and not expired:
        fetch_release_reads(fetch)
        return 0
    fetch_respond(reactor, &parked.request, fetch)
    return 1


cdef int respond_now(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil:
    """Responds to a fetch that should wait but may not, because parked requests hold too much memory.

    Its job goes on and reads for the next fetch. There was room for it if `handle` has asked for room, which it does while
    parked requests hold much. The others, which are too large to wait beside anything, ask here.
    """
    if not park_is_crowded(reactor) and not job_has_room(reactor, request.connection, JOB_READ):
        cold_read_cancel(&fetch.cold_wait)
    elif fetch.cold_wait.read != NULL:
        cold_read_leave(&fetch.cold_wait)
    read_all(fetch)
    fetch_respond(reactor, request, fetch)
    park_cancel(reactor, &fetch.parked)
    return HANDLED


cdef int park_fetch(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil:
    """All partitions are hosted here, because a fetch with an error does not wait.

    What is throttled is not watched: records that are appended to it change nothing, and each would have everything read again.
    """
    cdef Parked* parked = &fetch.parked
    cdef FetchItem* item
    cdef int64_t bytes = (
        <int64_t>sizeof(Fetch) + fetch.capacity * <int64_t>sizeof(FetchItem) + fetch.count * <int64_t>PARKED_WATCH_BYTES
    )
    cdef bint watched = True
    cdef int32_t i
    fetch_release_reads(fetch)
    fetch.rack_brokers_count = 0
    parked_init(parked, request, reactor.now_ns + <int64_t>fetch.max_wait_ms * 1000000, check_parked, free_parked)
    if fetch.standing != NULL:
        standing_mute(fetch.standing)
        return park(reactor, request, parked, watch_set_wait(reactor, &fetch.standing.watches, parked) == 0, False)
    fetch.holds_partitions = True
    for i in range(fetch.count):
        item = &fetch.items[i]
        partition_acquire(item.partition)
        if not item.key.by_id:
            item.key.name = item.partition.topic
    if not park_reserve(reactor, parked, bytes):
        return respond_now(reactor, request, fetch)
    for i in range(fetch.count):
        if not fetch.items[i].throttled:
            watched = watched and parked_watch(reactor, parked, fetch.items[i].partition) == 0
    return park(reactor, request, parked, watched, False)


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef FetchHeader header
    cdef Fetch* fetch
    cdef bint complete
    if read_fetch_header(request, &header):
        request.close_reason = b"Fetch request that does not parse"
        return CLOSE
    if header.partitions_count > PARTITIONS_MAX:
        request.close_reason = b"Fetch request for more than 1000000 partitions"
        return CLOSE
    # It might get a response without what its job reads, and its client would ask again at once.
    if park_is_crowded(reactor) and not job_has_room(reactor, request.connection, JOB_READ):
        return job_hold_back(request.connection, JOB_READ, True)
    fetch = standing_take(reactor, request, &header, response_bytes_max)
    if fetch == NULL:
        fetch = fetch_new(reactor, header.partitions_count)
        if fetch == NULL or fetch_begin(reactor, request, &header, response_bytes_max, &fetch):
            request.close_reason = b"out of memory"
            if fetch != NULL:
                fetch_free(reactor, fetch)
            return CLOSE
        standing_build(reactor, request, fetch)
    if fetch.replica_id >= 0:
        request_count_as(reactor, request, API_FETCH_FOLLOWER)
    count_asked(fetch)
    preferred_begin(reactor, request, &header, fetch)
    complete = read_all(fetch)
    if waits_for_cold(reactor, fetch, request.connection):
        return park_fetch(reactor, request, fetch)
    if complete or fetch.max_wait_ms <= 0:
        fetch_respond(reactor, request, fetch)
        fetch_done(reactor, fetch)
        return HANDLED
    return park_fetch(reactor, request, fetch)


def set_max_bytes(size: int) -> None:
    """Set the largest size of a response in bytes (fetch.max.bytes). Only a first batch may be larger."""
    global response_bytes_max
    response_bytes_max = size


def register(int16_t version_min, int16_t version_max) -> None:
    """Makes the reactors handle Fetch."""
    hot_handler_register(API_KEY, version_min, version_max, handle)
    hot_handler_authorizes(API_KEY)
