"""Fetch (key 1).

- v4: isolation level, last stable offset, aborted transactions (KIP-98). v5: log start offset (KIP-107).
- v7: fetch sessions (KIP-227, see fetch_session). v9: current leader epoch (KIP-320). v10: zstd (KIP-110).
- v11: rack id, preferred read replica (KIP-392; always -1 here). v12: flexible; last fetched epoch, diverging epoch
  (KIP-595), current leader. v13: topics by id (KIP-516). v14: tiered storage. v15: replica state tag (KIP-903).
- v16: node endpoints (KIP-951). v17: replica directory id (KIP-853). v18: high watermark of a KRaft follower (KIP-1166).
- The first batch is sent even when it is larger than every limit (KIP-74); a fetch offset inside a batch gives the whole
  batch. Records are never null. With an error the offsets are -1, as in Kafka: clients ask ListOffsets then.
- Consumers read up to the high watermark, with read_committed up to the last stable offset, and only those bytes count for
  min_bytes. A replica (replica_id >= 0) reads up to the log end offset.
- Data that is not in memory is read by a job first (see fetch_cold.pyx).
- Large pieces go from the page cache to the socket (sendfile); small ones are copied into the response.
"""
from libc.stdint cimport int16_t, int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from kafka_cy.api.error_codes cimport (
    ERROR_NONE, ERROR_NOT_LEADER_OR_FOLLOWER, ERROR_OFFSET_OUT_OF_RANGE, ERROR_UNKNOWN_TOPIC_ID,
    ERROR_UNKNOWN_TOPIC_OR_PARTITION, storage_error_code,
)
from kafka_cy.api.fetch_cold cimport (
    COLD_BYTES_MAX, COLD_ROUNDS_MAX, cold_read_cancel, cold_read_leave, cold_read_start, in_page_cache,
)
from kafka_cy.api.fetch_partitions cimport fetch_begin
from kafka_cy.api.fetch_request cimport FetchHeader, read_fetch_header
from kafka_cy.api.fetch_response cimport fetch_respond
from kafka_cy.api.fetch_session cimport session_release, topic_release
from kafka_cy.api.parking cimport park, parked_init
from kafka_cy.base.atomics cimport atomic_add_relaxed_i64, atomic_load_i32, atomic_load_i64, atomic_load_pointer
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.counters cimport API_FETCH_FOLLOWER
from kafka_cy.network.jobs cimport JOB_READ, job_has_room, job_hold_back
from kafka_cy.network.dispatch cimport (
    CLOSE, HANDLED, PARKED_WATCH_BYTES, Parked, Reactor, Request, hot_handler_register, park_cancel, park_is_crowded,
    park_reserve, parked_watch, request_count_as,
)
from kafka_cy.storage.log cimport (
    Log, log_end_offset, log_end_offset_for_epoch, log_read, log_read_cached, log_start_offset, segment_release,
)
from kafka_cy.storage.partition cimport (
    REACTORS_MAX, Partition, partition_acquire, partition_check_leader, partition_last_stable_offset,
    partition_release,
)
from kafka_cy.storage.storage_error cimport STORAGE_NOT_CACHED

cdef enum:
    API_KEY = 1
    SPARE_CAPACITY_MAX = 64
    PARTITIONS_MAX = 1000000        # of one request: each takes some 300 bytes while it is handled

cdef int32_t response_bytes_max = 57671680      # fetch.max.bytes
cdef Fetch* spare[REACTORS_MAX]                 # one unused allocation for each reactor, which owns it
memset(spare, 0, sizeof(spare))


# -- lifetime --

cdef Fetch* fetch_new(Reactor* reactor, int32_t count) noexcept nogil:
    """Allocates a fetch with room for `count` partitions. Only the struct itself is cleared. NULL: no memory."""
    cdef Fetch* fetch = spare[reactor.id]
    cdef int32_t capacity = count if count > 4 else 4
    if fetch != NULL and fetch.capacity >= count:
        spare[reactor.id] = NULL
        capacity = fetch.capacity
    else:
        fetch = <Fetch*>malloc(sizeof(Fetch) + sizeof(FetchItem) * <size_t>capacity)
        if fetch == NULL:
            return NULL
    memset(fetch, 0, sizeof(Fetch))
    fetch.capacity = capacity
    fetch.items = <FetchItem*>(fetch + 1)
    return fetch


cdef void release_reads(Fetch* fetch) noexcept nogil:
    cdef int32_t i
    for i in range(fetch.count):
        if fetch.items[i].read.segment != NULL:
            segment_release(fetch.items[i].read.segment)
            fetch.items[i].read.segment = NULL


cdef void fetch_clear(Fetch* fetch) noexcept nogil:
    """Releases everything that the fetch holds."""
    cdef int32_t i
    cold_read_cancel(fetch)
    release_reads(fetch)
    for i in range(fetch.count):
        if fetch.items[i].session_topic != NULL:
            topic_release(fetch.items[i].session_topic)
        if fetch.holds_partitions:
            partition_release(fetch.items[i].partition)
    if fetch.session != NULL:
        session_release(fetch.session)
    fetch.session = NULL
    fetch.count = 0


cdef void fetch_free(Reactor* reactor, Fetch* fetch) noexcept nogil:
    fetch_clear(fetch)
    if reactor != NULL and spare[reactor.id] == NULL and fetch.capacity <= SPARE_CAPACITY_MAX:
        spare[reactor.id] = fetch
    else:
        free(fetch)


cdef void free_parked(Parked* parked) noexcept nogil:
    fetch_free(NULL, <Fetch*>parked)


cdef void count_asked(Fetch* fetch) noexcept nogil:
    """Counts one fetch request for each partition, even if the partition is read several times while the fetch waits."""
    cdef int32_t i
    for i in range(fetch.count):
        if fetch.items[i].partition != NULL:
            atomic_add_relaxed_i64(&fetch.items[i].partition.fetch_requests, 1)


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
    item.error = storage_error_code(partition_check_leader(partition, item.current_leader_epoch))
    if item.error == ERROR_UNKNOWN_TOPIC_OR_PARTITION and fetch.by_id:
        item.error = ERROR_UNKNOWN_TOPIC_ID
    if item.error:
        return
    if fetch.replica_id >= 0 and atomic_load_i32(&partition.followers_count) == 0:
        item.error = ERROR_NOT_LEADER_OR_FOLLOWER     # that broker has no replica of it
        return
    log = <Log*>atomic_load_pointer(<void**>&partition.log)
    item.high_watermark = atomic_load_i64(&partition.high_watermark)
    item.last_stable_offset = partition_last_stable_offset(partition)
    item.log_start_offset = log_start_offset(log)
    if item.last_fetched_epoch >= 0:
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
    bytes_max = item.max_bytes if item.max_bytes < bytes_left else bytes_left
    if item.fetch_offset >= item.read_limit or (bytes_max <= 0 and not first):
        return
    read_log(fetch, item, log, bytes_max, first)


cdef void read_log(Fetch* fetch, FetchItem* item, Log* log, int64_t bytes_max, bint first) noexcept nogil:
    """Finds the batches. Data that is not in memory is left to a job, unless jobs have tried often enough."""
    cdef bint wait = fetch.cold_rounds >= COLD_ROUNDS_MAX and first
    cdef int error
    if fetch.cold_rounds:       # Ask for no more than a job has read, or the rest would be cold again in every round.
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
    """Reads each partition. Returns whether the response can be sent at once."""
    cdef FetchItem* item
    cdef int64_t bytes_left = fetch.max_bytes
    cdef bint complete = fetch.error != ERROR_NONE or fetch.count == 0
    cdef int32_t i
    fetch.bytes = 0
    fetch.cold_count = 0
    for i in range(fetch.count):
        item = &fetch.items[i]
        item.cold = False
        read_item(fetch, item, bytes_left, fetch.bytes == 0)
        fetch.bytes += item.read.size
        bytes_left -= item.read.size
        if item.error or item.diverging:
            complete = True
    fetch.failed = complete
    if fetch.cold_count and fetch.cold_rounds and fetch.bytes:
        return True                     # The client asks again for what a job did not bring.
    return complete or fetch.bytes >= fetch.min_bytes


cdef bint waits_for_cold(Reactor* reactor, Fetch* fetch, Connection* connection) noexcept nogil:
    """Starts a job after a reading if it is needed. Returns whether the fetch waits for the job."""
    if fetch.cold_count == 0 or (fetch.cold_rounds and fetch.bytes):
        return False
    if fetch.failed:                    # The response reports an error and cannot wait; the job reads for the next fetch.
        if job_has_room(reactor, connection, JOB_READ) and cold_read_start(reactor, fetch, connection) == 0:
            cold_read_leave(fetch)
        return False
    if cold_read_start(reactor, fetch, connection) == 0:
        release_reads(fetch)
        return True
    fetch.cold_rounds = COLD_ROUNDS_MAX # No memory for a job: the reactor reads.
    release_reads(fetch)
    read_all(fetch)
    return False


# -- waiting --

cdef int check_parked(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    """ParkedCheck: responds when min_bytes are available, a partition fails, or max_wait has passed."""
    cdef Fetch* fetch = <Fetch*>parked
    cdef bint complete
    if fetch.cold_read != NULL:
        return 0                        # The job checks again when it ends.
    complete = read_all(fetch)
    if waits_for_cold(reactor, fetch, parked.request.connection):
        return 0
    if not complete and not expired:
        release_reads(fetch)
        return 0
    fetch_respond(reactor, &parked.request, fetch)
    return 1


cdef int respond_now(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil:
    """Responds to a fetch that should wait but may not, because parked requests hold too much memory.

    Its job goes on and reads for the next fetch. There was room for it if `handle` has asked for room, which it does while
    parked requests hold much. The others, which are too large to wait beside anything, ask here.
    """
    if not park_is_crowded(reactor) and not job_has_room(reactor, request.connection, JOB_READ):
        cold_read_cancel(fetch)
    elif fetch.cold_read != NULL:
        cold_read_leave(fetch)
    read_all(fetch)
    fetch_respond(reactor, request, fetch)
    park_cancel(reactor, &fetch.parked)
    return HANDLED


cdef int park_fetch(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil:
    """All partitions are hosted here, because a fetch with an error does not wait."""
    cdef Parked* parked = &fetch.parked
    cdef FetchItem* item
    cdef int64_t bytes = (
        <int64_t>sizeof(Fetch) + fetch.capacity * <int64_t>sizeof(FetchItem) + fetch.count * <int64_t>PARKED_WATCH_BYTES
    )
    cdef bint watched = True
    cdef int32_t i
    release_reads(fetch)
    parked_init(parked, request, reactor.now_ns + <int64_t>fetch.max_wait_ms * 1000000, check_parked, free_parked)
    fetch.holds_partitions = True
    for i in range(fetch.count):
        item = &fetch.items[i]
        partition_acquire(item.partition)
        if not item.key.by_id:
            item.key.name = item.partition.topic
    if not park_reserve(reactor, parked, bytes):
        return respond_now(reactor, request, fetch)
    for i in range(fetch.count):
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
    fetch = fetch_new(reactor, header.partitions_count)
    if fetch == NULL or fetch_begin(reactor, request, &header, response_bytes_max, &fetch):
        request.close_reason = b"out of memory"
        if fetch != NULL:
            fetch_free(reactor, fetch)
        return CLOSE
    if fetch.replica_id >= 0:
        request_count_as(reactor, request, API_FETCH_FOLLOWER)
    count_asked(fetch)
    complete = read_all(fetch)
    if waits_for_cold(reactor, fetch, request.connection):
        return park_fetch(reactor, request, fetch)
    if complete or fetch.max_wait_ms <= 0:
        fetch_respond(reactor, request, fetch)
        fetch_free(reactor, fetch)
        return HANDLED
    return park_fetch(reactor, request, fetch)


def set_max_bytes(size: int) -> None:
    """Set the largest size of a response in bytes (fetch.max.bytes). Only a first batch may be larger."""
    global response_bytes_max
    response_bytes_max = size


def register(int16_t version_min, int16_t version_max) -> None:
    """Makes the reactors handle Fetch."""
    hot_handler_register(API_KEY, version_min, version_max, handle)
