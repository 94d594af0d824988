"""What one fetch session (KIP-227) holds: the partitions that a consumer is interested in.

Partitions stand in a hash table (topic, index) and in a list, which is the order of the response: a partition that was
sent with data moves to the end, so that no partition starves behind a busy one.

Locks: a session's lock, then a shard's of the cache; never two sessions or two shards.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy

from kafka_cy.api.topic_key cimport TopicKey, hash_of_topic
from kafka_cy.base.atomics cimport atomic_store_i32, atomic_sub_i32
from kafka_cy.base.hash cimport hash_of_pair
from kafka_cy.base.hash_table cimport (
    hash_table_free, hash_table_insert, hash_table_next, hash_table_remove, hash_table_renumber, hash_table_reserve,
    hash_table_start,
)
from kafka_cy.base.posix cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
)

cdef enum:
    NONE = -1


cdef FetchSession* session_new(bint by_id, int64_t now_ms) noexcept nogil:
    cdef FetchSession* session = <FetchSession*>calloc(1, sizeof(FetchSession))
    if session == NULL:
        return NULL
    pthread_mutex_init(&session.mutex, NULL)
    session.references = 1
    session.epoch = 1
    session.by_id = by_id
    session.created_ms = now_ms
    session.used_ms = now_ms
    session.first = NONE
    session.last = NONE
    session.first_free = NONE
    return session


cdef void topic_release(SessionTopic* topic) noexcept nogil:
    if atomic_sub_i32(&topic.references, 1) == 0:
        free(topic)


cdef void session_release(FetchSession* session) noexcept nogil:
    cdef int32_t i
    if atomic_sub_i32(&session.references, 1) > 0:
        return
    for i in range(session.topics_count):
        topic_release(session.topics[i])
    free(session.partitions)
    free(session.topics)
    hash_table_free(&session.partitions_table)
    hash_table_free(&session.topics_table)
    pthread_mutex_destroy(&session.mutex)
    free(session)


cdef void session_lock(FetchSession* session) noexcept nogil:
    pthread_mutex_lock(&session.mutex)


cdef void session_unlock(FetchSession* session) noexcept nogil:
    pthread_mutex_unlock(&session.mutex)


# -- the topics of one session --

cdef bint topic_matches(SessionTopic* topic, TopicKey* key) noexcept nogil:
    if topic.by_id != key.by_id:
        return False
    if key.by_id:
        return memcmp(topic.topic_id, key.topic_id, 16) == 0
    return topic.name_size == key.name_size and memcmp(topic.name, key.name, <size_t>key.name_size) == 0


cdef SessionTopic* find_topic(FetchSession* session, TopicKey* key, uint32_t hash) noexcept nogil:
    cdef uint32_t place = hash_table_start(&session.topics_table, hash)
    cdef int32_t found = hash_table_next(&session.topics_table, hash, &place)
    while found >= 0:
        if topic_matches(session.topics[found], key):
            return session.topics[found]
        found = hash_table_next(&session.topics_table, hash, &place)
    return NULL


cdef SessionTopic* session_find_topic(FetchSession* session, TopicKey* key) noexcept nogil:
    return find_topic(session, key, hash_of_topic(key))


cdef SessionTopic* topic_new(TopicKey* key, uint32_t hash) noexcept nogil:
    cdef int32_t name_size = 0 if key.by_id else key.name_size
    cdef SessionTopic* topic = <SessionTopic*>malloc(sizeof(SessionTopic) + <size_t>name_size + 1)
    if topic == NULL:
        return NULL
    topic.references = 1            # the session's
    topic.partitions_count = 0
    topic.hash = hash
    topic.by_id = key.by_id
    topic.name = <char*>(topic + 1)
    topic.name_size = name_size
    if key.by_id:
        memcpy(topic.topic_id, key.topic_id, 16)
    else:
        memcpy(topic.name, key.name, <size_t>name_size)
    return topic


cdef SessionTopic* session_topic(FetchSession* session, TopicKey* key) noexcept nogil:
    cdef uint32_t hash = hash_of_topic(key)
    cdef SessionTopic* topic = find_topic(session, key, hash)
    cdef int32_t capacity
    cdef SessionTopic** grown
    if topic != NULL:
        return topic
    if session.topics_count == session.topics_capacity:
        capacity = session.topics_capacity * 2 + 2
        grown = <SessionTopic**>realloc(session.topics, <size_t>capacity * sizeof(SessionTopic*))
        if grown == NULL:
            return NULL
        session.topics = grown
        session.topics_capacity = capacity
    if hash_table_reserve(&session.topics_table, <uint32_t>session.topics_count + 1) < 0:
        return NULL
    topic = topic_new(key, hash)
    if topic == NULL:
        return NULL
    topic.number = session.topics_count
    session.topics[topic.number] = topic
    hash_table_insert(&session.topics_table, hash, topic.number)
    session.topics_count += 1
    return topic


cdef void remove_topic(FetchSession* session, SessionTopic* topic) noexcept nogil:
    """The last topic takes its place."""
    cdef SessionTopic* last = session.topics[session.topics_count - 1]
    hash_table_remove(&session.topics_table, topic.hash, topic.number)
    session.topics_count -= 1
    if last != topic:
        hash_table_renumber(&session.topics_table, last.hash, last.number, topic.number)
        last.number = topic.number
        session.topics[last.number] = last
    topic_release(topic)


# -- the partitions of one session --

cdef int32_t find_entry(FetchSession* session, SessionTopic* topic, int32_t index, uint32_t hash) noexcept nogil:
    """The entry of a partition; NONE when it is not there."""
    cdef uint32_t place = hash_table_start(&session.partitions_table, hash)
    cdef int32_t found = hash_table_next(&session.partitions_table, hash, &place)
    while found >= 0:
        if session.partitions[found].topic == topic and session.partitions[found].index == index:
            return found
        found = hash_table_next(&session.partitions_table, hash, &place)
    return NONE


cdef int32_t take_entry(FetchSession* session) noexcept nogil:
    cdef int32_t entry = session.first_free
    cdef int32_t capacity, i
    cdef SessionPartition* grown
    if entry != NONE:
        session.first_free = session.partitions[entry].next
        return entry
    capacity = session.capacity * 2 if session.capacity else 8
    grown = <SessionPartition*>realloc(session.partitions, <size_t>capacity * sizeof(SessionPartition))
    if grown == NULL:
        return NONE
    session.partitions = grown
    for i in range(capacity - 1, session.capacity, -1):
        grown[i].topic = NULL
        grown[i].next = session.first_free
        session.first_free = i
    entry = session.capacity
    session.capacity = capacity
    return entry


cdef void link_last(FetchSession* session, int32_t entry) noexcept nogil:
    cdef SessionPartition* partition = &session.partitions[entry]
    partition.next = NONE
    partition.previous = session.last
    if session.last != NONE:
        session.partitions[session.last].next = entry
    else:
        session.first = entry
    session.last = entry


cdef void unlink_entry(FetchSession* session, int32_t entry) noexcept nogil:
    cdef SessionPartition* partition = &session.partitions[entry]
    if partition.previous != NONE:
        session.partitions[partition.previous].next = partition.next
    else:
        session.first = partition.next
    if partition.next != NONE:
        session.partitions[partition.next].previous = partition.previous
    else:
        session.last = partition.previous


cdef SessionPartition* session_put(FetchSession* session, SessionTopic* topic, int32_t index) noexcept nogil:
    cdef uint32_t hash = hash_of_pair(topic.hash, <uint32_t>index)
    cdef int32_t entry = find_entry(session, topic, index, hash)
    cdef SessionPartition* partition
    if entry != NONE:
        return &session.partitions[entry]
    if hash_table_reserve(&session.partitions_table, <uint32_t>session.count + 1) < 0:
        return NULL
    entry = take_entry(session)
    if entry == NONE:
        return NULL
    partition = &session.partitions[entry]
    partition.topic = topic
    partition.index = index
    partition.hash = hash
    partition.high_watermark = -1
    partition.log_start_offset = -1
    topic.partitions_count += 1
    link_last(session, entry)
    hash_table_insert(&session.partitions_table, hash, entry)
    atomic_store_i32(&session.count, session.count + 1)
    return partition


cdef bint session_forget(FetchSession* session, SessionTopic* topic, int32_t index) noexcept nogil:
    cdef uint32_t hash = hash_of_pair(topic.hash, <uint32_t>index)
    cdef int32_t entry = find_entry(session, topic, index, hash)
    if entry == NONE:
        return False
    hash_table_remove(&session.partitions_table, hash, entry)
    unlink_entry(session, entry)
    session.partitions[entry].topic = NULL
    session.partitions[entry].next = session.first_free
    session.first_free = entry
    atomic_store_i32(&session.count, session.count - 1)
    topic.partitions_count -= 1
    if topic.partitions_count > 0:
        return False
    remove_topic(session, topic)
    return True


cdef void session_move_last(FetchSession* session, int32_t entry) noexcept nogil:
    if session.last == entry:
        return
    unlink_entry(session, entry)
    link_last(session, entry)
