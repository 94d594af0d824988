"""What one fetch session (KIP-227) contains: the partitions that a consumer is interested in.

Partitions are in a hash table (topic, index) and in a list, which is the order of the response. A partition that was sent
with data moves to the end, so that no partition starves behind a busy one.

All memory of a session is counted before it is allocated, in the session and in the sum of all sessions.

Locks: a session's lock, then a shard's of the cache; never two sessions or two shards. Nobody waits for a session's lock.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy

from kafka_cy.api.topic_key cimport TopicKey, hash_of_topic
from kafka_cy.base.atomics cimport (
    atomic_add_i64, atomic_load_relaxed_i64, atomic_store_i32, atomic_sub_i32, atomic_sub_i64,
)
from kafka_cy.base.hash cimport hash_of_pair
from kafka_cy.base.hash_table cimport (
    TABLE_SLOTS_MIN, HashSlot, HashTable, hash_table_free, hash_table_insert, hash_table_next, hash_table_remove,
    hash_table_renumber, hash_table_reserve, hash_table_start,
)
from kafka_cy.base.posix cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_trylock, pthread_mutex_unlock,
)
from kafka_cy.network.jobs cimport JOB_DECOMPRESS, Job, job_submit
from kafka_cy.network.principal cimport Principal, principal_ref, principal_unref
from kafka_cy.records.compression cimport Codecs

cdef enum:
    NONE = -1
    MALLOC_BYTES = 16               # what malloc adds to a small allocation
    FREED_AT_ONCE_BYTES = 262144    # freeing more than this takes too long for a reactor


# Purpose: the limits, and the memory of all sessions. Threads: `bytes` is atomic; the limits are set while no request is
# handled.
cdef struct SessionMemory:
    int64_t bytes
    int64_t bytes_max
    int32_t partitions_max          # of one session


cdef SessionMemory memory
memory.bytes = 0
memory.bytes_max = 268435456        # kafkacy.fetch.session.cache.max.bytes
memory.partitions_max = 100000      # kafkacy.fetch.session.max.partitions


cdef void session_set_limits(int32_t partitions_max, int64_t bytes_max) noexcept nogil:
    memory.partitions_max = partitions_max
    memory.bytes_max = bytes_max


cdef int64_t sessions_bytes() noexcept nogil:
    return atomic_load_relaxed_i64(&memory.bytes)


cdef bint charge(FetchSession* session, int64_t bytes) noexcept nogil:
    """Counts memory that is about to be allocated. False: that would exceed a limit, and nothing is counted."""
    if session.bytes + bytes > memory.bytes_max >> 2:
        return False
    if atomic_add_i64(&memory.bytes, bytes) > memory.bytes_max:
        atomic_sub_i64(&memory.bytes, bytes)
        return False
    session.bytes += bytes
    return True


cdef bint standing_charge(int64_t bytes) noexcept nogil:
    if bytes > memory.bytes_max >> 2:
        return False
    if atomic_add_i64(&memory.bytes, bytes) > memory.bytes_max >> 1:
        atomic_sub_i64(&memory.bytes, bytes)
        return False
    return True


cdef void standing_uncharge(int64_t bytes) noexcept nogil:
    atomic_sub_i64(&memory.bytes, bytes)


cdef void uncharge(FetchSession* session, int64_t bytes) noexcept nogil:
    session.bytes -= bytes
    atomic_sub_i64(&memory.bytes, bytes)


cdef int64_t table_bytes(const HashTable* table, int64_t count) noexcept nogil:
    """Return by how many bytes a table grows if it gets room for `count` items."""
    cdef int64_t before = <int64_t>table.mask + 1 if table.slots != NULL else 0
    cdef int64_t slots = before if before else TABLE_SLOTS_MIN
    while slots < 2 * count:
        slots *= 2
    return (slots - before) * <int64_t>sizeof(HashSlot)


cdef int reserve_table(FetchSession* session, HashTable* table, int32_t count) noexcept nogil:
    """Gives a table room for `count` items. 1: beyond a limit, or no memory."""
    cdef int64_t bytes
    if table.slots != NULL and <uint32_t>count <= (table.mask + 1) >> 1:
        return 0
    bytes = table_bytes(table, count)
    if not charge(session, bytes):
        return 1
    if hash_table_reserve(table, <uint32_t>count) < 0:
        uncharge(session, bytes)
        return 1
    return 0


cdef int reserve_partitions(FetchSession* session, int32_t capacity) noexcept nogil:
    """Gives the array room for `capacity` partitions, which is more than it has. 1: beyond a limit, or no memory."""
    cdef int64_t bytes = <int64_t>(capacity - session.capacity) * <int64_t>sizeof(SessionPartition)
    cdef SessionPartition* grown
    cdef int32_t i
    if not charge(session, bytes):
        return 1
    grown = <SessionPartition*>realloc(session.partitions, <size_t>capacity * sizeof(SessionPartition))
    if grown == NULL:
        uncharge(session, bytes)
        return 1
    session.partitions = grown
    for i in range(capacity - 1, session.capacity - 1, -1):
        grown[i].topic = NULL
        grown[i].next = session.first_free
        session.first_free = i
    session.capacity = capacity
    return 0


cdef int64_t principal_bytes(const Principal* principal) noexcept nogil:
    """It may outlive its connection. Each session of a connection counts it."""
    return <int64_t>sizeof(Principal) + principal.size + MALLOC_BYTES if principal != NULL else 0


cdef FetchSession* session_new(Principal* principal, bint by_id, int32_t count, int64_t now_ms) noexcept nogil:
    cdef FetchSession* session
    if count > memory.partitions_max:
        return NULL
    session = <FetchSession*>calloc(1, sizeof(FetchSession))
    if session == NULL:
        return NULL
    pthread_mutex_init(&session.mutex, NULL)
    session.references = 1
    session.epoch = 1
    session.by_id = by_id
    session.principal = principal_ref(principal)
    session.created_ms = now_ms
    session.used_ms = now_ms
    session.first = NONE
    session.last = NONE
    session.first_free = NONE
    if (
        not charge(session, <int64_t>sizeof(FetchSession) + MALLOC_BYTES + principal_bytes(principal))
        or reserve_partitions(session, count)
        or reserve_table(session, &session.partitions_table, count)
    ):
        session_release(session)
        return NULL
    return session


cdef void topic_release(SessionTopic* topic) noexcept nogil:
    if atomic_sub_i32(&topic.references, 1) == 0:
        free(topic)


cdef void free_session(FetchSession* session) noexcept nogil:
    cdef int64_t bytes = session.bytes
    cdef int32_t i
    for i in range(session.topics_count):
        topic_release(session.topics[i])
    free(session.partitions)
    free(session.topics)
    hash_table_free(&session.partitions_table)
    hash_table_free(&session.topics_table)
    principal_unref(session.principal)
    pthread_mutex_destroy(&session.mutex)
    free(session)
    atomic_sub_i64(&memory.bytes, bytes)


cdef void free_in_job(Job* job, Codecs* codecs) noexcept nogil:
    """JobRun."""
    free_session(<FetchSession*>job)


cdef void session_release(FetchSession* session) noexcept nogil:
    if atomic_sub_i32(&session.references, 1) > 0:
        return
    if session.bytes <= FREED_AT_ONCE_BYTES:
        free_session(session)
        return
    session.job.kind = JOB_DECOMPRESS   # these threads do not wait for disks
    session.job.run = free_in_job
    session.job.done = NULL
    session.job.bytes = 0
    job_submit(NULL, NULL, &session.job)


cdef bint session_trylock(FetchSession* session) noexcept nogil:
    return pthread_mutex_trylock(&session.mutex) == 0


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


cdef int64_t topic_bytes(int32_t name_size) noexcept nogil:
    return <int64_t>sizeof(SessionTopic) + name_size + 1 + MALLOC_BYTES


cdef SessionTopic* topic_new(FetchSession* session, TopicKey* key, uint32_t hash) noexcept nogil:
    cdef int32_t name_size = 0 if key.by_id else key.name_size
    cdef SessionTopic* topic
    if not charge(session, topic_bytes(name_size)):
        return NULL
    topic = <SessionTopic*>malloc(sizeof(SessionTopic) + <size_t>name_size + 1)
    if topic == NULL:
        uncharge(session, topic_bytes(name_size))
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


cdef int reserve_topic(FetchSession* session) noexcept nogil:
    """Gives the array of topics room for one more. 1: beyond a limit, or no memory."""
    cdef int32_t capacity = session.topics_capacity * 2 + 2
    cdef int64_t bytes = <int64_t>(capacity - session.topics_capacity) * <int64_t>sizeof(SessionTopic*)
    cdef SessionTopic** grown
    if session.topics_count < session.topics_capacity:
        return 0
    if not charge(session, bytes):
        return 1
    grown = <SessionTopic**>realloc(session.topics, <size_t>capacity * sizeof(SessionTopic*))
    if grown == NULL:
        uncharge(session, bytes)
        return 1
    session.topics = grown
    session.topics_capacity = capacity
    return 0


cdef SessionTopic* session_topic(FetchSession* session, TopicKey* key) noexcept nogil:
    cdef uint32_t hash = hash_of_topic(key)
    cdef SessionTopic* topic = find_topic(session, key, hash)
    if topic != NULL:
        return topic
    if reserve_topic(session) or reserve_table(session, &session.topics_table, session.topics_count + 1):
        return NULL
    topic = topic_new(session, key, hash)
    if topic == NULL:
        return NULL
    topic.number = session.topics_count
    session.topics[topic.number] = topic
    hash_table_insert(&session.topics_table, hash, topic.number)
    session.topics_count += 1
    return topic


cdef void remove_topic(FetchSession* session, SessionTopic* topic) noexcept nogil:
    """The last topic moves to its place."""
    cdef SessionTopic* last = session.topics[session.topics_count - 1]
    hash_table_remove(&session.topics_table, topic.hash, topic.number)
    session.topics_count -= 1
    if last != topic:
        hash_table_renumber(&session.topics_table, last.hash, last.number, topic.number)
        last.number = topic.number
        session.topics[last.number] = last
    uncharge(session, topic_bytes(topic.name_size))
    topic_release(topic)


# -- the partitions of one session --

cdef int32_t find_entry(FetchSession* session, SessionTopic* topic, int32_t index, uint32_t hash) noexcept nogil:
    """Return the entry of a partition; NONE: the session does not contain it."""
    cdef uint32_t place = hash_table_start(&session.partitions_table, hash)
    cdef int32_t found = hash_table_next(&session.partitions_table, hash, &place)
    while found >= 0:
        if session.partitions[found].topic == topic and session.partitions[found].index == index:
            return found
        found = hash_table_next(&session.partitions_table, hash, &place)
    return NONE


cdef SessionPartition* session_find(FetchSession* session, SessionTopic* topic, int32_t index) noexcept nogil:
    cdef int32_t entry = find_entry(session, topic, index, hash_of_pair(topic.hash, <uint32_t>index))
    return &session.partitions[entry] if entry != NONE else NULL


cdef int32_t take_entry(FetchSession* session) noexcept nogil:
    """Return a free entry; NONE: beyond a limit, or no memory."""
    cdef int32_t entry
    if session.first_free == NONE and reserve_partitions(session, session.capacity + (session.capacity >> 1) + 8):
        return NONE
    entry = session.first_free
    session.first_free = session.partitions[entry].next
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
    if session.count >= memory.partitions_max:
        return NULL
    if reserve_table(session, &session.partitions_table, session.count + 1):
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
