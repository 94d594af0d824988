"""Fetch (key 1), versions 4-18.

- v4: isolation level, last stable offset, aborted transactions (KIP-98). v5: log start offset (KIP-107).
- v7: fetch sessions (KIP-227, see fetch_session). v9: current leader epoch (KIP-320). v10: zstd (KIP-110).
- v11: rack id, preferred read replica (KIP-392; always -1 here). v12: flexible; last fetched epoch, diverging epoch
  (KIP-595), current leader. v13: topics by id (KIP-516). v14: tiered storage. v15: replica state tag (KIP-903).
- v16: node endpoints (KIP-951). v17: replica directory id (KIP-853). v18: high watermark of a KRaft follower (KIP-1166).
- The first batch is sent even when it is larger than every limit (KIP-74); a fetch offset inside a batch gives the whole
  batch. Records are never null. An error tells no offsets (-1), as in Kafka: clients ask ListOffsets then.
- Consumers read up to the high watermark, with read_committed up to the last stable offset, and only those bytes count for
  min_bytes. A replica (replica_id >= 0) reads up to the log end offset.
- Large pieces go from the page cache to the socket (sendfile), small ones are copied into the answer.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_add_relaxed_i64, atomic_load_i32, atomic_load_i64, atomic_load_pointer, atomic_store_i64,
)
from kafka_cy.api.error_codes cimport *
from kafka_cy.api.fetch_request cimport (
    AskedPartition, FetchHeader, read_asked_partition, read_fetch_header, walk_asked, walk_forgotten,
)
from kafka_cy.api.fetch_session cimport (
    FetchSession, SessionPartition, SessionTopic, session_acquire, session_create, session_find_topic, session_forget,
    session_lock, session_move_last, session_next_epoch, session_put, session_release, session_remove, session_topic,
    session_unlock, topic_release,
)
from kafka_cy.api.leaders cimport (
    RESPONSE_BYTES_MAX, TopicKey, find_topic, leaders_add, same_topic, write_response_tags, write_topic_key,
)
from kafka_cy.api.named_partitions cimport NamedPartitions, named_add, named_of
from kafka_cy.api.parking cimport park, parked_init
from kafka_cy.api.topic_walk cimport TopicWalk, read_again, walk_next
from kafka_cy.network.counters cimport API_FETCH_FOLLOWER
from kafka_cy.network.metadata_image cimport PartitionImage, TopicImage, topic_partition
from kafka_cy.network.reactor cimport (
    CLOSE, HANDLED, Parked, Reactor, Request, hot_handler_register, parked_watch, request_count_as, request_error,
    response_add_file, response_begin, response_send,
)
from kafka_cy.network.tracing cimport trace_fetched
from kafka_cy.records.wire cimport (
    Reader, Writer, read_int32, write_array_length, write_int16, write_int32, write_int64, write_int8, write_no_tags,
    write_uvarint, writer_init, writer_reserve,
)
from kafka_cy.storage.log cimport (
    Log, log_aborted_transactions, log_end_offset, log_end_offset_for_epoch, log_read, log_start_offset,
    segment_read, segment_release,
)
from kafka_cy.storage.partition cimport (
    REACTORS_MAX, Partition, partition_acquire, partition_check_leader, partition_last_stable_offset,
    partition_release,
)

cdef enum:
    API_KEY = 1
    VERSION_MIN = 4
    VERSION_MAX = 18
    READ_COMMITTED = 1
    COPIED_BYTES_MAX = 16384        # above, sendfile costs less than the copy
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
    """Gives back all that the fetch holds."""
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


# -- what is asked --

cdef void find_partition(FetchItem* item, TopicImage* topic) noexcept nogil:
    """What the metadata says of the partition; `topic` is its topic, NULL if there is none."""
    cdef PartitionImage* known = topic_partition(topic, item.index) if topic != NULL else NULL
    item.partition = NULL
    item.leader = -1
    item.leader_epoch = -1
    item.missing_error = ERROR_UNKNOWN_TOPIC_OR_PARTITION
    if topic == NULL and item.key.by_id:
        item.missing_error = ERROR_UNKNOWN_TOPIC_ID
    if known == NULL:
        return
    item.leader = known.leader
    item.leader_epoch = known.leader_epoch
    item.partition = known.partition
    item.missing_error = ERROR_NOT_LEADER_OR_FOLLOWER


cdef FetchItem* add_item(Fetch* fetch, TopicKey* key, AskedPartition* asked) noexcept nogil:
    cdef FetchItem* item = &fetch.items[fetch.count]
    memset(item, 0, sizeof(FetchItem))
    item.key = key[0]
    if key.by_id:
        memcpy(item.topic_id, key.topic_id, 16)
        item.key.topic_id = item.topic_id
    item.index = asked.index
    item.session_entry = -1
    item.current_leader_epoch = asked.current_leader_epoch
    item.last_fetched_epoch = asked.last_fetched_epoch
    item.fetch_offset = asked.fetch_offset
    item.max_bytes = asked.max_bytes
    fetch.count += 1
    return item


cdef int items_of_request(Reactor* reactor, Request* request, FetchHeader* header, Fetch* fetch) noexcept nogil:
    """A full fetch: the partitions that the request names, of two mentions the later one. 1 without memory."""
    cdef Reader r
    cdef TopicWalk walk
    cdef AskedPartition asked
    cdef NamedPartitions* named = named_of(reactor.id)
    cdef TopicKey* key = NULL
    cdef TopicImage* topic = NULL
    cdef const uint8_t* at
    cdef int32_t topic_number = -1
    cdef int32_t i
    read_again(&r, request, header.topics)
    walk_asked(&walk, &r, fetch.version)
    while walk_next(&walk):
        at = walk.r.position
        read_asked_partition(&walk.r, fetch.version, &asked)
        if named_add(named, &walk.key, asked.index, at):
            return 1
    for i in range(named.partitions_count):
        read_again(&r, request, named.partitions[i].at)
        read_asked_partition(&r, fetch.version, &asked)
        if named.partitions[i].topic != topic_number:       # neighbours are mostly of one topic
            topic_number = named.partitions[i].topic
            key = &named.topics[topic_number].key
            topic = find_topic(reactor.image, key)
        find_partition(add_item(fetch, key, &asked), topic)
    return 0


cdef int update_session(Request* request, FetchHeader* header, Fetch* fetch, FetchSession* session) noexcept nogil:
    """An incremental fetch: what changed since the last one. 1 without memory. The session's lock is held."""
    cdef Reader r
    cdef TopicWalk walk
    cdef AskedPartition asked
    cdef SessionPartition* partition
    cdef SessionTopic* topic = NULL
    cdef int32_t index
    read_again(&r, request, header.topics)
    walk_asked(&walk, &r, fetch.version)
    while walk_next(&walk):
        read_asked_partition(&walk.r, fetch.version, &asked)
        if walk.first_of_topic:
            topic = session_topic(session, &walk.key)
        partition = session_put(session, topic, asked.index) if topic != NULL else NULL
        if partition == NULL:
            return 1
        session_set(partition, &asked)
    read_again(&r, request, header.forgotten)
    walk_forgotten(&walk, &r, fetch.version)
    while walk_next(&walk):
        if walk.first_of_topic:
            topic = session_find_topic(session, &walk.key)
        index = read_int32(&walk.r)
        if topic != NULL and session_forget(session, topic, index):
            topic = NULL
    return 0


cdef void session_set(SessionPartition* partition, AskedPartition* asked) noexcept nogil:
    partition.current_leader_epoch = asked.current_leader_epoch
    partition.last_fetched_epoch = asked.last_fetched_epoch
    partition.fetch_offset = asked.fetch_offset
    partition.max_bytes = asked.max_bytes


cdef void items_of_session(Reactor* reactor, Fetch* fetch, FetchSession* session) noexcept nogil:
    """All partitions of the session, in its order. The session's lock is held."""
    cdef SessionPartition* partition
    cdef AskedPartition asked
    cdef TopicKey key
    cdef SessionTopic* current = NULL
    cdef TopicImage* topic = NULL
    cdef FetchItem* item
    cdef int32_t entry = session.first
    while entry != -1:
        partition = &session.partitions[entry]
        if partition.topic != current:                # neighbours are mostly of one topic
            current = partition.topic
            key.by_id = current.by_id
            key.topic_id = current.topic_id
            key.name = current.name
            key.name_size = current.name_size
            topic = find_topic(reactor.image, &key)
        asked.index = partition.index
        asked.current_leader_epoch = partition.current_leader_epoch
        asked.last_fetched_epoch = partition.last_fetched_epoch
        asked.fetch_offset = partition.fetch_offset
        asked.max_bytes = partition.max_bytes
        item = add_item(fetch, &key, &asked)
        item.session_entry = entry
        find_partition(item, topic)
        if item.partition != NULL and not key.by_id:
            item.key.name = item.partition.topic
        elif not key.by_id:
            item.session_topic = current          # another request may change the session meanwhile
            atomic_add_i32(&item.session_topic.references, 1)
        entry = partition.next


cdef int make_room(Fetch** made, int32_t count) noexcept nogil:
    """For `count` partitions in a fetch that has none yet; 1 without memory."""
    cdef Fetch* larger
    if count <= made[0].capacity:
        return 0
    larger = <Fetch*>malloc(sizeof(Fetch) + sizeof(FetchItem) * <size_t>count)
    if larger == NULL:
        return 1
    memcpy(larger, made[0], sizeof(Fetch))
    larger.capacity = count
    larger.items = <FetchItem*>(larger + 1)
    free(made[0])
    made[0] = larger
    return 0


cdef int continue_session(
    Reactor* reactor, Request* request, FetchHeader* header, Fetch** made, FetchSession* session
) noexcept nogil:
    """Updates the session and lists its partitions; 1 without memory. The session's lock is held."""
    if session.epoch != header.session_epoch:
        made[0].error = ERROR_INVALID_FETCH_SESSION_EPOCH
        return 0
    if session.by_id != made[0].by_id:
        made[0].error = ERROR_FETCH_SESSION_TOPIC_ID_ERROR
        return 0
    if update_session(request, header, made[0], session):
        return 1
    if session.count == 0:
        return 0
    session.epoch = session_next_epoch(session.epoch)
    atomic_store_i64(&session.used_ms, reactor.now_ms)
    if make_room(made, session.count):
        return 1
    atomic_add_i32(&session.references, 1)
    made[0].session = session
    made[0].session_epoch_next = session.epoch
    items_of_session(reactor, made[0], session)
    return 0


cdef int begin_incremental(Reactor* reactor, Request* request, FetchHeader* header, Fetch** made) noexcept nogil:
    """Finds the session and goes on with it; 1 without memory. A session that holds nothing any more ends."""
    cdef FetchSession* session = session_acquire(header.session_id)
    cdef int failed
    cdef bint empty
    if session == NULL:
        made[0].error = ERROR_FETCH_SESSION_ID_NOT_FOUND
        return 0
    session_lock(session)
    failed = continue_session(reactor, request, header, made, session)
    empty = session.count == 0
    session_unlock(session)
    if empty:
        session_remove(session)
    session_release(session)
    return failed


cdef int begin(Reactor* reactor, Request* request, FetchHeader* header, Fetch** made) noexcept nogil:
    """Fills the fetch from the request and its session; 1 without memory."""
    cdef Fetch* fetch = made[0]
    cdef FetchSession* session
    fetch.version = request.api_version
    fetch.flexible = request.api_version >= 12
    fetch.by_id = request.api_version >= 13
    fetch.replica_id = header.replica_id
    fetch.max_wait_ms = header.max_wait_ms
    fetch.max_bytes = header.max_bytes if header.max_bytes < response_bytes_max else response_bytes_max
    fetch.min_bytes = header.min_bytes if header.min_bytes < fetch.max_bytes else fetch.max_bytes
    fetch.isolation_level = header.isolation_level
    fetch.session_id = header.session_id
    fetch.session_epoch = header.session_epoch
    if header.session_epoch > 0 or header.session_epoch < -1:
        return begin_incremental(reactor, request, header, made)
    if header.session_id != 0:
        session = session_acquire(header.session_id)
        if session != NULL:
            session_remove(session)
            session_release(session)
    fetch.create_session = header.session_epoch == 0
    return items_of_request(reactor, request, header, fetch)


cdef void count_asked(Fetch* fetch) noexcept nogil:
    """One fetch request of each partition, however often it is looked at while it waits."""
    cdef int32_t i
    for i in range(fetch.count):
        if fetch.items[i].partition != NULL:
            atomic_add_relaxed_i64(&fetch.items[i].partition.fetch_requests, 1)


# -- looking --

cdef bint diverges(Log* log, FetchItem* item) noexcept nogil:
    """The reader's log took another way than ours (KIP-595); sets the error where that cannot be told."""
    cdef int32_t epoch = -1
    cdef int64_t end_offset = -1
    log_end_offset_for_epoch(log, item.last_fetched_epoch, &epoch, &end_offset)
    if epoch < 0 or end_offset < 0:
        item.error = ERROR_OFFSET_OUT_OF_RANGE
        return False
    item.diverging_epoch = epoch
    item.diverging_end_offset = end_offset
    return epoch < item.last_fetched_epoch or end_offset < item.fetch_offset


cdef void forget_offsets(FetchItem* item) noexcept nogil:
    item.high_watermark = -1
    item.last_stable_offset = -1
    item.log_start_offset = -1


cdef void look(Fetch* fetch, FetchItem* item, int64_t bytes_left, bint first) noexcept nogil:
    """What the partition has for this reader now."""
    item.error = ERROR_NONE
    item.diverging = False
    item.read.segment = NULL
    item.read.size = 0
    if item.partition == NULL:
        item.error = item.missing_error
    else:
        look_inside(fetch, item, bytes_left, first)
    if item.error:
        forget_offsets(item)


cdef void look_inside(Fetch* fetch, FetchItem* item, int64_t bytes_left, bint first) noexcept nogil:
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


cdef bint look_at_all(Fetch* fetch) noexcept nogil:
    """Looks at each partition; whether there is enough to answer at once."""
    cdef FetchItem* item
    cdef int64_t bytes_left = fetch.max_bytes
    cdef bint answer_now = fetch.error != ERROR_NONE or fetch.count == 0
    cdef int32_t i
    fetch.bytes = 0
    for i in range(fetch.count):
        item = &fetch.items[i]
        look(fetch, item, bytes_left, fetch.bytes == 0)
        fetch.bytes += item.read.size
        bytes_left -= item.read.size
        if item.error or item.diverging:
            answer_now = True
    return answer_now or fetch.bytes >= fetch.min_bytes


# -- answering --

include "fetch_answer.pxi"


# -- waiting --

cdef int check_parked(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    """ParkedCheck: answers when min_bytes are there, a partition fails, or max_wait has passed."""
    cdef Fetch* fetch = <Fetch*>parked
    if not look_at_all(fetch) and not expired:
        release_reads(fetch)
        return 0
    respond(reactor, &parked.request, fetch)
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
    if fetch == NULL or begin(reactor, request, &header, &fetch):
        request.close_reason = b"out of memory"
        if fetch != NULL:
            fetch_free(reactor, fetch)
        return CLOSE
    if fetch.replica_id >= 0:
        request_count_as(reactor, request, API_FETCH_FOLLOWER)
    count_asked(fetch)
    if look_at_all(fetch) or fetch.max_wait_ms <= 0:
        respond(reactor, request, fetch)
        fetch_free(reactor, fetch)
        return HANDLED
    return park_fetch(reactor, request, fetch)


def set_max_bytes(size: int) -> None:
    """The most that one answer holds (fetch.max.bytes), except for a first batch that is larger; in bytes."""
    global response_bytes_max
    response_bytes_max = size


def register() -> None:
    """Makes reactors answer Fetch."""
    hot_handler_register(API_KEY, VERSION_MIN, VERSION_MAX, handle)
