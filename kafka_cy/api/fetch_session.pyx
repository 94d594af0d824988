"""The bounded cache of fetch sessions (KIP-227) of the whole broker.

A session id carries its slot (id modulo the number of slots), so finding one is a look-up. A new session in a full cache
takes the place of one that was idle for two minutes, else of an older (two minutes) session that is not larger than
itself; else it is refused and the client goes on with full requests (session id 0).

Within a session partitions stand in a hash table (topic, index) and in a list, which is the order of answering: one that
was answered with data moves to the end, so that no partition starves behind a busy one.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from kafka_cy.api.leaders cimport TopicKey, hash_of_partition, hash_of_topic
from kafka_cy.base.posix cimport (
    getrandom, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
)

cdef enum:
    SLOTS_DEFAULT = 1000            # max.incremental.fetch.session.cache.slots
    EVICTION_MS = 120000            # min.incremental.fetch.session.eviction.ms
    NONE = -1
    DELETED = -2


# Purpose: all sessions. Threads: any, under `mutex`. Limits: `slots` sessions.
cdef struct SessionCache:
    pthread_mutex_t mutex
    int32_t slots
    int32_t count
    FetchSession** sessions
    int64_t evictions
    int64_t partitions              # in all sessions


cdef SessionCache cache
memset(&cache, 0, sizeof(cache))
pthread_mutex_init(&cache.mutex, NULL)
cache.slots = SLOTS_DEFAULT


cdef void sessions_lock() noexcept nogil:
    pthread_mutex_lock(&cache.mutex)


cdef void sessions_unlock() noexcept nogil:
    pthread_mutex_unlock(&cache.mutex)


cdef FetchSession* session_find(int32_t session_id) noexcept nogil:
    cdef FetchSession* session
    if session_id <= 0 or cache.sessions == NULL:
        return NULL
    session = cache.sessions[session_id % cache.slots]
    return session if session != NULL and session.id == session_id else NULL


cdef int32_t worst_session(int32_t size, int64_t now_ms) noexcept nogil:
    """The slot to take for a session of `size` partitions; NONE when nobody has to go."""
    cdef FetchSession* session
    cdef int32_t idle = NONE
    cdef int32_t smallest = NONE
    cdef int32_t i
    for i in range(cache.slots):
        session = cache.sessions[i]
        if idle == NONE or session.used_ms < cache.sessions[idle].used_ms:
            idle = i
        if now_ms - session.created_ms > EVICTION_MS:
            if smallest == NONE or session.count < cache.sessions[smallest].count:
                smallest = i
    if idle != NONE and now_ms - cache.sessions[idle].used_ms > EVICTION_MS:
        return idle
    if smallest != NONE and cache.sessions[smallest].count <= size:
        return smallest
    return NONE


cdef int32_t free_slot(int32_t size, int64_t now_ms) noexcept nogil:
    cdef uint32_t start = 0
    cdef int32_t i, slot
    if cache.slots == 0:
        return NONE                 # sessions are switched off
    if cache.sessions == NULL:
        cache.sessions = <FetchSession**>calloc(<size_t>cache.slots, sizeof(FetchSession*))
        if cache.sessions == NULL:
            return NONE
    if cache.count >= cache.slots:
        slot = worst_session(size, now_ms)
        if slot != NONE:
            cache.evictions += 1
            session_remove(cache.sessions[slot])
        return slot
    getrandom(&start, sizeof(start), 0)
    for i in range(cache.slots):
        slot = <int32_t>((start + <uint32_t>i) % <uint32_t>cache.slots)
        if cache.sessions[slot] == NULL:
            return slot
    return NONE


cdef int32_t new_id(int32_t slot) noexcept nogil:
    """A random positive id that belongs to the slot; ids are not to be guessed by mistake."""
    cdef uint32_t random = 0
    cdef int64_t rounds = 0x7fffffff // cache.slots - 1
    getrandom(&random, sizeof(random), 0)
    if rounds <= 0:
        rounds = 1
    return <int32_t>((1 + random % rounds) * cache.slots + slot)


cdef FetchSession* session_create(bint by_id, int32_t size, int64_t now_ms) noexcept nogil:
    cdef FetchSession* session
    cdef int32_t slot
    if size <= 0:
        return NULL
    slot = free_slot(size, now_ms)
    if slot == NONE:
        return NULL
    session = <FetchSession*>calloc(1, sizeof(FetchSession))
    if session == NULL:
        return NULL
    session.references = 1
    session.id = new_id(slot)
    session.epoch = 1
    session.by_id = by_id
    session.created_ms = now_ms
    session.used_ms = now_ms
    session.first = NONE
    session.last = NONE
    session.first_free = NONE
    cache.sessions[slot] = session
    cache.count += 1
    return session


cdef void session_remove(FetchSession* session) noexcept nogil:
    cdef int32_t slot = session.id % cache.slots
    if cache.sessions[slot] != session:
        return                      # already evicted
    cache.sessions[slot] = NULL
    cache.count -= 1
    cache.partitions -= session.count
    session_release(session)


cdef void topic_release(SessionTopic* topic) noexcept nogil:
    topic.references -= 1
    if topic.references == 0:
        free(topic)


cdef void session_release(FetchSession* session) noexcept nogil:
    cdef int32_t entry
    session.references -= 1
    if session.references > 0:
        return
    entry = session.first
    while entry != NONE:
        topic_release(session.partitions[entry].topic)
        entry = session.partitions[entry].next
    free(session.partitions)
    free(session.table)
    free(session)


# -- the partitions of one session --

cdef uint32_t hash_of(TopicKey* key, int32_t index) noexcept nogil:
    return hash_of_partition(hash_of_topic(key), index)


cdef bint topic_matches(SessionTopic* topic, TopicKey* key) noexcept nogil:
    if topic.by_id != key.by_id:
        return False
    if key.by_id:
        return memcmp(topic.topic_id, key.topic_id, 16) == 0
    return topic.name_size == key.name_size and memcmp(topic.name, key.name, <size_t>key.name_size) == 0


cdef int64_t find_place(FetchSession* session, TopicKey* key, int32_t index, uint32_t hash) noexcept nogil:
    """The table position of a partition; -1 not there."""
    cdef uint32_t place
    cdef int32_t entry
    cdef SessionPartition* partition
    if session.table_size == 0:
        return -1
    place = hash & (session.table_size - 1)
    while session.table[place] != NONE:
        entry = session.table[place]
        if entry != DELETED:
            partition = &session.partitions[entry]
            if partition.hash == hash and partition.index == index and topic_matches(partition.topic, key):
                return place
        place = (place + 1) & (session.table_size - 1)
    return -1


cdef void table_insert(FetchSession* session, int32_t entry) noexcept nogil:
    cdef uint32_t place = session.partitions[entry].hash & (session.table_size - 1)
    while session.table[place] >= 0:
        place = (place + 1) & (session.table_size - 1)
    if session.table[place] == NONE:
        session.table_used += 1
    session.table[place] = entry


cdef int table_room(FetchSession* session) noexcept nogil:
    """Keeps the table at most half full; 1 without memory."""
    cdef uint32_t size = 16
    cdef int32_t* table
    cdef int32_t entry
    cdef uint32_t i
    if session.table_size and (session.table_used + 1) * 2 <= session.table_size:
        return 0
    while size < <uint32_t>(session.count + 1) * 4:
        size *= 2
    table = <int32_t*>malloc(size * sizeof(int32_t))
    if table == NULL:
        return 1
    for i in range(size):
        table[i] = NONE
    free(session.table)
    session.table = table
    session.table_size = size
    session.table_used = 0
    entry = session.first
    while entry != NONE:
        table_insert(session, entry)
        entry = session.partitions[entry].next
    return 0


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


cdef SessionTopic* topic_for(FetchSession* session, TopicKey* key) noexcept nogil:
    """The topic of the last partition when it is the same one, else a new copy of the key."""
    cdef SessionTopic* topic
    cdef int32_t name_size = 0 if key.by_id else key.name_size
    if session.last != NONE:
        topic = session.partitions[session.last].topic
        if topic_matches(topic, key):
            topic.references += 1
            return topic
    topic = <SessionTopic*>malloc(sizeof(SessionTopic) + <size_t>name_size + 1)
    if topic == NULL:
        return NULL
    topic.references = 1
    topic.by_id = key.by_id
    topic.name = <char*>(topic + 1)
    topic.name_size = name_size
    if key.by_id:
        memcpy(topic.topic_id, key.topic_id, 16)
    else:
        memcpy(topic.name, key.name, <size_t>name_size)
    return topic


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


cdef SessionPartition* session_put(FetchSession* session, TopicKey* key, int32_t index) noexcept nogil:
    cdef uint32_t hash = hash_of(key, index)
    cdef int64_t place = find_place(session, key, index, hash)
    cdef SessionPartition* partition
    cdef SessionTopic* topic
    cdef int32_t entry
    if place >= 0:
        return &session.partitions[session.table[place]]
    if table_room(session):
        return NULL
    topic = topic_for(session, key)
    if topic == NULL:
        return NULL
    entry = take_entry(session)
    if entry == NONE:
        topic_release(topic)
        return NULL
    partition = &session.partitions[entry]
    partition.topic = topic
    partition.index = index
    partition.hash = hash
    partition.high_watermark = -1
    partition.log_start_offset = -1
    link_last(session, entry)
    table_insert(session, entry)
    session.count += 1
    cache.partitions += 1
    return partition


cdef void session_forget(FetchSession* session, TopicKey* key, int32_t index) noexcept nogil:
    cdef int64_t place = find_place(session, key, index, hash_of(key, index))
    cdef int32_t entry
    if place < 0:
        return
    entry = session.table[place]
    session.table[place] = DELETED
    unlink_entry(session, entry)
    topic_release(session.partitions[entry].topic)
    session.partitions[entry].topic = NULL
    session.partitions[entry].next = session.first_free
    session.first_free = entry
    session.count -= 1
    cache.partitions -= 1


cdef void session_move_last(FetchSession* session, int32_t entry) noexcept nogil:
    if session.last == entry:
        return
    unlink_entry(session, entry)
    link_last(session, entry)


def set_slots(slots: int) -> None:
    """How many sessions there may be (max.incremental.fetch.session.cache.slots); before the server starts."""
    cdef int32_t count, i
    if not 0 <= slots < 1 << 24:
        raise ValueError(f"fetch session slots: {slots} must be between 0 (no sessions) and 16777215")
    count = slots
    with nogil:
        sessions_lock()
        for i in range(cache.slots if cache.sessions != NULL else 0):
            if cache.sessions[i] != NULL:
                session_remove(cache.sessions[i])
        free(cache.sessions)
        cache.sessions = NULL
        cache.slots = count
        sessions_unlock()


def counters() -> dict[str, int]:
    """sessions, partitions in them and evictions so far."""
    cdef int64_t sessions, partitions, evictions
    with nogil:
        sessions_lock()
        sessions = cache.count
        partitions = cache.partitions
        evictions = cache.evictions
        sessions_unlock()
    return {"sessions": sessions, "partitions": partitions, "evictions": evictions}
