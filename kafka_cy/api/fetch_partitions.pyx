"""The partitions that a fetch is about.

A full fetch is about the partitions that the request names. An incremental fetch (KIP-227) changes its session by what the
request names, and is about all partitions of the session.
"""
from libc.stdint cimport int32_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from kafka_cy.api.error_codes cimport (
    ERROR_FETCH_SESSION_ID_NOT_FOUND, ERROR_FETCH_SESSION_TOPIC_ID_ERROR, ERROR_INVALID_FETCH_SESSION_EPOCH,
    ERROR_NOT_LEADER_OR_FOLLOWER, ERROR_UNKNOWN_TOPIC_ID, ERROR_UNKNOWN_TOPIC_OR_PARTITION,
)
from kafka_cy.api.fetch cimport FetchItem
from kafka_cy.api.fetch_request cimport AskedPartition, read_asked_partition, walk_asked, walk_forgotten
from kafka_cy.api.fetch_session cimport (
    FetchSession, SessionPartition, SessionTopic, session_find_topic, session_forget, session_lock, session_next_epoch,
    session_put, session_release, session_set, session_topic, session_unlock,
)
from kafka_cy.api.fetch_session_cache cimport session_acquire, session_remove
from kafka_cy.api.topic_key cimport TopicKey, find_topic
from kafka_cy.api.named_partitions cimport NamedPartitions, named_add, named_of
from kafka_cy.api.topic_walk cimport TopicWalk, read_again, walk_next
from kafka_cy.base.atomics cimport atomic_add_i32, atomic_store_i64
from kafka_cy.network.metadata_image cimport PartitionImage, TopicImage, topic_partition
from kafka_cy.records.wire cimport Reader, read_int32


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


cdef int fetch_begin(
    Reactor* reactor, Request* request, FetchHeader* header, int32_t response_bytes_max, Fetch** made
) noexcept nogil:
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
