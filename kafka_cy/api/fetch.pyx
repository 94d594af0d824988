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
- Large pieces go from the page cache to the socket (sendfile); small ones are copied into the response.
"""
from libc.stdint cimport int16_t, int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from kafka_cy.api.error_codes cimport (
    ERROR_NONE, ERROR_NOT_LEADER_OR_FOLLOWER, ERROR_OFFSET_OUT_OF_RANGE, ERROR_UNKNOWN_TOPIC_ID,
    ERROR_UNKNOWN_TOPIC_OR_PARTITION, storage_error_code,
)
from kafka_cy.api.fetch_partitions cimport fetch_begin
from kafka_cy.api.fetch_request cimport FetchHeader, read_fetch_header
from kafka_cy.api.fetch_response cimport fetch_respond
from kafka_cy.api.fetch_session cimport session_release, topic_release
from kafka_cy.api.parking cimport park, parked_init
from kafka_cy.base.atomics cimport atomic_add_relaxed_i64, atomic_load_i32, atomic_load_i64, atomic_load_pointer
from kafka_cy.network.counters cimport API_FETCH_FOLLOWER
from kafka_cy.network.reactor cimport (
    CLOSE, HANDLED, Parked, Reactor, Request, hot_handler_register, parked_watch, request_count_as,
)
from kafka_cy.storage.log cimport Log, log_end_offset, log_end_offset_for_epoch, log_read, log_start_offset, segment_release
from kafka_cy.storage.partition cimport (
    REACTORS_MAX, Partition, partition_acquire, partition_check_leader, partition_last_stable_offset,
    partition_release,
)

cdef enum:
    API_KEY = 1
    SPARE_CAPACITY_MAX = 64

cdef int32_t response_bytes_max = 57671680      # fetch.max.bytes
cdef Fetch* spare[REACTORS_MAX]                 # one unused allocation per reactor; owner: the reactor
memset(spare, 0, sizeof(spare))


# -- lifetime --

cdef Fetch* fetch_new(Reactor* reactor, int32_t count) noexcept nogil:
    """Room for `count` partitions; only the struct itself is cleared."""
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
    """One fetch request of each partition, however often it is read while it waits."""
    cdef int32_t i
    for i in range(fetch.count):
        if fetch.items[i].partition != NULL:
            atomic_add_relaxed_i64(&fetch.items[i].partition.fetch_requests, 1)


# -- reading --

cdef bint diverges(Log* log, FetchItem* item) noexcept nogil:
    """Whether the reader's log diverged from ours (KIP-595); sets the item's error if the epoch is unknown."""
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
    """Reads what the partition has for this reader now."""
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
    """The same for a partition that is hosted here."""
    cdef Partition* partition = item.partition
    cdef Log* log
    cdef int64_t bytes_max
    item.error = storage_error_code(partition_check_leader(partition, item.current_leader_epoch))
    if item.error == ERROR_UNKNOWN_TOPIC_OR_PARTITION and fetch.by_id:
        item.error = ERROR_UNKNOWN_TOPIC_ID
    if item.error:
        return
    if fetch.replica_id >= 0 and atomic_load_i32(&partition.followers_count) == 0:
        item.error = ERROR_NOT_LEADER_OR_FOLLOWER     # that broker holds no replica of it
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
    item.error = storage_error_code(
        log_read(log, item.fetch_offset, item.read_limit, bytes_max, first, &item.read)
    )
    if item.read.segment == NULL:
        item.read.size = 0


cdef bint read_all(Fetch* fetch) noexcept nogil:
    """Reads each partition. Returns whether the response can be sent at once."""
    cdef FetchItem* item
    cdef int64_t bytes_left = fetch.max_bytes
    cdef bint respond_now = fetch.error != ERROR_NONE or fetch.count == 0
    cdef int32_t i
    fetch.bytes = 0
    for i in range(fetch.count):
        item = &fetch.items[i]
        read_item(fetch, item, bytes_left, fetch.bytes == 0)
        fetch.bytes += item.read.size
        bytes_left -= item.read.size
        if item.error or item.diverging:
            respond_now = True
    return respond_now or fetch.bytes >= fetch.min_bytes


# -- waiting --

cdef int check_parked(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    """ParkedCheck: responds when min_bytes are available, a partition fails, or max_wait has passed."""
    cdef Fetch* fetch = <Fetch*>parked
    if not read_all(fetch) and not expired:
        release_reads(fetch)
        return 0
    fetch_respond(reactor, &parked.request, fetch)
    return 1


cdef int park_fetch(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil:
    """Each partition is hosted here: a fetch with an error does not wait."""
    cdef Parked* parked = &fetch.parked
    cdef FetchItem* item
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
    for i in range(fetch.count):
        watched = watched and parked_watch(reactor, parked, fetch.items[i].partition) == 0
    return park(reactor, request, parked, watched, False)


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef FetchHeader header
    cdef Fetch* fetch
    if read_fetch_header(request, &header):
        request.close_reason = b"Fetch request that does not parse"
        return CLOSE
    fetch = fetch_new(reactor, header.partitions_count)
    if fetch == NULL or fetch_begin(reactor, request, &header, response_bytes_max, &fetch):
        request.close_reason = b"out of memory"
        if fetch != NULL:
            fetch_free(reactor, fetch)
        return CLOSE
    if fetch.replica_id >= 0:
        request_count_as(reactor, request, API_FETCH_FOLLOWER)
    count_asked(fetch)
    if read_all(fetch) or fetch.max_wait_ms <= 0:
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
