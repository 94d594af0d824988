"""The bounded cache of fetch sessions (KIP-227) of the whole broker, and what one session holds.

As Kafka's FetchSessionCacheShard: the slots are spread over shards, each with a lock that is held for a look-up only. A
session has a lock of its own, so a request with many changes holds up nobody but the other requests of its session.

A session id carries its slot (id modulo the number of slots), and the slot its shard, so finding a session is one
look-up. A new session in a full cache takes the place of a session that was idle for two minutes, else of an older (two
minutes) session that is not larger; else it is refused and the client goes on with full requests (session id 0).

Within a session, partitions stand in a hash table (topic, index) and in a list, which is the order of the response: a
partition that was answered with data moves to the end, so that no partition starves behind a busy one.

Locks: a session's lock, then a shard's; never two sessions or two shards.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from kafka_cy.api.leaders cimport TopicKey, hash_of_topic
from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_add_i64, atomic_load_i32, atomic_load_relaxed_i64, atomic_store_i32, atomic_sub_i32,
)
from kafka_cy.base.hash cimport hash_of_pair
from kafka_cy.base.hash_table cimport (
    hash_table_free, hash_table_insert, hash_table_next, hash_table_remove, hash_table_renumber, hash_table_reserve,
    hash_table_start,
)
from kafka_cy.base.posix cimport (
    getrandom, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
    read, write,
)

cdef enum:
    SLOTS_DEFAULT = 1000            # max.incremental.fetch.session.cache.slots
    SHARDS_MAX = 8                  # as in Kafka; fewer when there are fewer slots
    EVICTION_MS = 120000            # min.incremental.fetch.session.eviction.ms
    EXAMINED_MAX = 128              # sessions that a new one is compared with in a full shard, in turn
    NONE = -1


# Every `shards_count`th slot. Threads: any, under `mutex`.
cdef struct CacheShard:
    pthread_mutex_t mutex
    int32_t count                   # of sessions
    int32_t hand                    # the slot at which the next search for a session to evict begins
    int64_t evictions


# Purpose: all sessions. Threads: any; a slot is guarded by its shard's mutex. Limits: `slots` sessions.
cdef struct SessionCache:
    int32_t slots
    int32_t shards_count
    int64_t turn                    # atomic: new sessions go round the shards
    FetchSession** sessions         # by slot
    CacheShard shards[SHARDS_MAX]


cdef SessionCache cache


cdef int cache_init(int32_t slots) noexcept nogil:
    """An empty cache. -1 without memory: there are no slots then."""
    cache.slots = slots
    cache.shards_count = SHARDS_MAX if slots > SHARDS_MAX else slots
    free(cache.sessions)
    cache.sessions = NULL
    if slots > 0:
        cache.sessions = <FetchSession**>calloc(<size_t>slots, sizeof(FetchSession*))
        if cache.sessions == NULL:
            cache.slots = 0
            return -1
    return 0


cdef CacheShard* shard_of(int32_t slot) noexcept nogil:
    return &cache.shards[slot % cache.shards_count]


cdef FetchSession* session_acquire(int32_t session_id) noexcept nogil:
    cdef FetchSession* session
    cdef CacheShard* cache_shard
    cdef int32_t slot
    if session_id <= 0 or cache.slots == 0:
        return NULL
    slot = session_id % cache.slots
    cache_shard = shard_of(slot)
    pthread_mutex_lock(&cache_shard.mutex)
    session = cache.sessions[slot]
    if session != NULL and session.id != session_id:
        session = NULL
    if session != NULL:
        atomic_add_i32(&session.references, 1)
    pthread_mutex_unlock(&cache_shard.mutex)
    return session


cdef int32_t free_slot(int32_t shard) noexcept nogil:
    """A slot of the shard without a session. There is one. The shard's mutex is held."""
    cdef uint32_t random = 0
    cdef int32_t slot
    getrandom(&random, sizeof(random), 0)
    slot = shard + <int32_t>(random % <uint32_t>slots_of(shard)) * cache.shards_count
    while cache.sessions[slot] != NULL:
        slot = next_slot(slot)
    return slot


cdef int32_t slots_of(int32_t shard) noexcept nogil:
    return (cache.slots - shard + cache.shards_count - 1) // cache.shards_count


cdef int32_t next_slot(int32_t slot) noexcept nogil:
    """The next slot of the same shard; after the last comes the first."""
    return slot + cache.shards_count if slot + cache.shards_count < cache.slots else slot % cache.shards_count


cdef int32_t worst_session(int32_t shard, int32_t size, int64_t now_ms) noexcept nogil:
    """The slot to take for a session of `size` partitions; NONE when no session has to go. The shard's mutex is held."""
    cdef FetchSession* session
    cdef int32_t idle = NONE
    cdef int32_t smallest = NONE
    cdef int32_t slot = cache.shards[shard].hand
    cdef int64_t used_ms, idle_ms = 0
    cdef int32_t count, smallest_count = 0
    cdef int32_t i
    for i in range(min(slots_of(shard), <int32_t>EXAMINED_MAX)):  # no-cython-lint
        session = cache.sessions[slot]
        used_ms = atomic_load_relaxed_i64(&session.used_ms)
        if idle == NONE or used_ms < idle_ms:
            idle = slot
            idle_ms = used_ms
        if now_ms - session.created_ms > EVICTION_MS:
            count = atomic_load_i32(&session.count)
            if smallest == NONE or count < smallest_count:
                smallest = slot
                smallest_count = count
        slot = next_slot(slot)
    cache.shards[shard].hand = slot
    if idle != NONE and now_ms - idle_ms > EVICTION_MS:
        return idle
    if smallest != NONE and smallest_count <= size:
        return smallest
    return NONE


cdef int32_t new_id(int32_t slot) noexcept nogil:
    """A random positive id that belongs to the slot, so that a mistaken id is not another session's."""
    cdef uint32_t random = 0
    cdef int64_t rounds = 0x7fffffff // cache.slots - 1
    getrandom(&random, sizeof(random), 0)
    if rounds <= 0:
        rounds = 1
    return <int32_t>((1 + random % rounds) * cache.slots + slot)


cdef bint enter_shard(int32_t shard, FetchSession* session, bint evict, int32_t size) noexcept nogil:
    """Gives the session a slot of the shard, if one is free or `evict` finds one."""
    cdef CacheShard* cache_shard = &cache.shards[shard]
    cdef FetchSession* evicted = NULL
    cdef int32_t slot = NONE
    pthread_mutex_lock(&cache_shard.mutex)
    if cache_shard.count < slots_of(shard):
        slot = free_slot(shard)
        cache_shard.count += 1
    elif evict:
        slot = worst_session(shard, size, session.created_ms)
        if slot != NONE:
            evicted = cache.sessions[slot]
            cache_shard.evictions += 1
    if slot != NONE:
        session.id = new_id(slot)
        cache.sessions[slot] = session
    pthread_mutex_unlock(&cache_shard.mutex)
    if evicted != NULL:
        session_release(evicted)
    return slot != NONE


cdef bint enter_cache(FetchSession* session, int32_t size) noexcept nogil:
    """A free slot of any shard, else an evicted session's."""
    cdef int32_t start, i
    cdef int evict
    if cache.slots == 0:
        return False                # sessions are switched off
    start = <int32_t>(atomic_add_i64(&cache.turn, 1) % cache.shards_count)
    for evict in range(2):
        for i in range(cache.shards_count):
            if enter_shard((start + i) % cache.shards_count, session, evict, size):
                return True
    return False


cdef FetchSession* session_create(bint by_id, int32_t size, int64_t now_ms) noexcept nogil:
    cdef FetchSession* session
    if size <= 0:
        return NULL
    session = <FetchSession*>calloc(1, sizeof(FetchSession))
    if session == NULL:
        return NULL
    pthread_mutex_init(&session.mutex, NULL)
    session.references = 2          # the cache's and the caller's
    session.epoch = 1
    session.by_id = by_id
    session.created_ms = now_ms
    session.used_ms = now_ms
    session.first = NONE
    session.last = NONE
    session.first_free = NONE
    if not enter_cache(session, size):
        session.references = 1
        session_release(session)
        return NULL
    return session


cdef void session_remove(FetchSession* session) noexcept nogil:
    cdef int32_t slot
    cdef CacheShard* cache_shard
    cdef bint found
    if cache.slots == 0:
        return                      # all sessions are gone already
    slot = session.id % cache.slots
    cache_shard = shard_of(slot)
    pthread_mutex_lock(&cache_shard.mutex)
    found = cache.sessions[slot] == session
    if found:                       # else it is evicted already
        cache.sessions[slot] = NULL
        cache_shard.count -= 1
    pthread_mutex_unlock(&cache_shard.mutex)
    if found:
        session_release(session)


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


def set_slots(slots: int) -> None:
    """How many sessions there may be (max.incremental.fetch.session.cache.slots), while no request is worked on.

    All sessions are forgotten. ValueError; MemoryError: there are no slots then.
    """
    cdef int32_t slot, count
    cdef int failed
    if not 0 <= slots < 1 << 24:
        raise ValueError(f"fetch session slots: {slots} must be between 0 (no sessions) and 16777215")
    count = slots
    with nogil:
        for slot in range(cache.slots):
            if cache.sessions[slot] != NULL:
                session_remove(cache.sessions[slot])
        failed = cache_init(count)
    if failed:
        raise MemoryError


cdef void shard_count(int32_t shard, int64_t* sessions, int64_t* partitions, int64_t* evictions) noexcept nogil:
    """Adds what the shard has."""
    cdef CacheShard* cache_shard = &cache.shards[shard]
    cdef int32_t slot = shard
    pthread_mutex_lock(&cache_shard.mutex)
    sessions[0] += cache_shard.count
    evictions[0] += cache_shard.evictions
    while slot < cache.slots:
        if cache.sessions[slot] != NULL:
            partitions[0] += atomic_load_i32(&cache.sessions[slot].count)
        slot += cache.shards_count
    pthread_mutex_unlock(&cache_shard.mutex)


def counters() -> dict[str, int]:
    """sessions, partitions in them and evictions so far."""
    cdef int64_t sessions = 0
    cdef int64_t partitions = 0
    cdef int64_t evictions = 0
    cdef int32_t shard
    with nogil:
        for shard in range(cache.shards_count):
            shard_count(shard, &sessions, &partitions, &evictions)
    return {"sessions": sessions, "partitions": partitions, "evictions": evictions}


cdef int session_probes(int32_t session_id, int32_t* partitions, int64_t* probes) noexcept nogil:
    cdef FetchSession* session = session_acquire(session_id)
    if session == NULL:
        return -1
    session_lock(session)
    partitions[0] = session.count
    probes[0] = session.partitions_table.probes + session.topics_table.probes
    session_unlock(session)
    session_release(session)
    return 0


def probes(int32_t session_id) -> tuple[int, int]:
    """How many partitions a session holds, and how many slots of its tables were looked at to note them. For tests."""
    cdef int32_t partitions = 0
    cdef int64_t count = 0
    cdef int failed
    with nogil:
        failed = session_probes(session_id, &partitions, &count)
    if failed:
        raise KeyError(session_id)
    return partitions, count


cdef int session_hold(int32_t session_id, int held_fd, int end_fd) noexcept nogil:
    cdef FetchSession* session = session_acquire(session_id)
    cdef char byte = 0
    if session == NULL:
        return -1
    session_lock(session)
    if write(held_fd, &byte, 1) == 1:
        read(end_fd, &byte, 1)
    session_unlock(session)
    session_release(session)
    return 0


def hold(int32_t session_id, int held_fd, int end_fd) -> None:
    """Take a session's lock as a long request would, write a byte to `held_fd`, and wait for one from `end_fd`.

    For tests. KeyError when there is no such session.
    """
    cdef int failed
    with nogil:
        failed = session_hold(session_id, held_fd, end_fd)
    if failed:
        raise KeyError(session_id)


cdef void shards_init() noexcept nogil:
    cdef int32_t shard
    memset(&cache, 0, sizeof(cache))
    for shard in range(SHARDS_MAX):
        pthread_mutex_init(&cache.shards[shard].mutex, NULL)


shards_init()
set_slots(SLOTS_DEFAULT)
