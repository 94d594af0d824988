"""The bounded cache of the fetch sessions (KIP-227) of the whole broker.

As in Kafka's FetchSessionCacheShard, the slots are spread over shards, each with a lock that is held for a look-up, or for
an examination of EXAMINED_MAX sessions. Reactors wait for it. A session has a lock of its own, for which nobody waits.

A session id contains its slot (id modulo the number of slots), and the slot its shard, so one look-up finds a session. A
new session in a full cache takes the place of a session that was idle for two minutes, else of an older (two minutes)
session that is not larger; else it is refused and the client goes on with full requests (session id 0).

A session that would exceed a limit of partitions or memory (see fetch_session.pxd) is refused in the same way. One that
would exceed it by growing ends, and its client gets FETCH_SESSION_ID_NOT_FOUND, as if it had been evicted: it goes on with
full requests. Apache Kafka limits the number of sessions only.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from kafka_cy.api.fetch_session cimport (
    FetchSession, session_release, session_set_limits, session_trylock, session_unlock, sessions_bytes,
)
from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_add_i64, atomic_load_i32, atomic_load_relaxed_i64,
)
from kafka_cy.base.posix cimport (
    getrandom, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock, read, write,
)

cdef enum:
    SLOTS_DEFAULT = 1000            # max.incremental.fetch.session.cache.slots
    SHARDS_MAX = 8                  # as in Kafka; fewer when there are fewer slots
    EVICTION_MS = 120000            # min.incremental.fetch.session.eviction.ms
    EXAMINED_MAX = 128              # sessions that are examined while a shard's lock is held; the next search goes on there
    EVICTED_MAX = 16                # sessions that are evicted at once for their memory
    NONE = -1


# Every `shards_count`th slot. Threads: any, under `mutex`.
cdef struct CacheShard:
    pthread_mutex_t mutex
    int32_t count                   # of sessions
    int32_t first_free              # slots without a session are linked in next_free
    int32_t hand                    # the slot at which the next search for a session to evict begins
    int64_t evictions


# Purpose: all sessions. Threads: any; a slot is guarded by its shard's mutex. Limits: `slots` sessions.
cdef struct SessionCache:
    int32_t slots
    int32_t shards_count
    int64_t turn                    # atomic: new sessions go round the shards
    int64_t refused                 # atomic: how often a limit did not allow a session
    FetchSession** sessions         # by slot
    int32_t* next_free              # by slot; NONE: no further one
    CacheShard shards[SHARDS_MAX]


cdef SessionCache cache


cdef int cache_init(int32_t slots) noexcept nogil:
    """Makes an empty cache. -1 without memory: there are no slots then."""
    cdef int32_t shard, slot
    cache.slots = 0
    cache.shards_count = SHARDS_MAX if slots > SHARDS_MAX else slots
    free(cache.sessions)
    free(cache.next_free)
    cache.sessions = <FetchSession**>calloc(<size_t>slots + 1, sizeof(FetchSession*))
    cache.next_free = <int32_t*>malloc((<size_t>slots + 1) * sizeof(int32_t))
    if cache.sessions == NULL or cache.next_free == NULL:
        return -1
    cache.slots = slots
    for shard in range(cache.shards_count):
        cache.shards[shard].hand = shard        # the first slot of the shard; the next ones are of this shard as well
        cache.shards[shard].first_free = shard
    for slot in range(slots):
        cache.next_free[slot] = slot + cache.shards_count if slot + cache.shards_count < slots else NONE
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


cdef int32_t slots_of(int32_t shard) noexcept nogil:
    return (cache.slots - shard + cache.shards_count - 1) // cache.shards_count


cdef int32_t next_slot(int32_t slot) noexcept nogil:
    """The next slot of the same shard; the first one follows the last one."""
    return slot + cache.shards_count if slot + cache.shards_count < cache.slots else slot % cache.shards_count


cdef int32_t worst_session(int32_t shard, int32_t size, int64_t now_ms) noexcept nogil:
    """The slot that a session of `size` partitions may take over in a full shard; NONE: no session gives way to it.

    Where one was found, the next search begins there. The shard's mutex is held.
    """
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
    if idle != NONE and now_ms - idle_ms > EVICTION_MS:
        slot = idle
    elif smallest != NONE and smallest_count <= size:
        slot = smallest
    else:
        cache.shards[shard].hand = slot
        return NONE
    cache.shards[shard].hand = slot
    return slot


cdef int32_t new_id(int32_t slot) noexcept nogil:
    """A random positive id that belongs to the slot, so that a mistaken id is not another session's."""
    cdef uint32_t random = 0
    cdef int64_t rounds = 0x7fffffff // cache.slots - 1
    getrandom(&random, sizeof(random), 0)
    if rounds <= 0:
        rounds = 1
    return <int32_t>((1 + random % rounds) * cache.slots + slot)


cdef bint shard_has_room(int32_t shard, bint evict, int32_t size, int64_t now_ms) noexcept nogil:
    cdef CacheShard* cache_shard = &cache.shards[shard]
    cdef bint found
    pthread_mutex_lock(&cache_shard.mutex)
    found = cache_shard.first_free != NONE or (evict and worst_session(shard, size, now_ms) != NONE)
    pthread_mutex_unlock(&cache_shard.mutex)
    return found


cdef bint cache_has_room(int32_t size, int64_t now_ms) noexcept nogil:
    cdef int32_t shard
    cdef int evict
    if cache.slots == 0:
        return False                # sessions are switched off
    for evict in range(2):
        for shard in range(cache.shards_count):
            if shard_has_room(shard, evict, size, now_ms):
                return True
    return False


cdef bint enter_shard(int32_t shard, FetchSession* session, bint evict) noexcept nogil:
    """Gives the session a slot of the shard, if one is free or `evict` finds one."""
    cdef CacheShard* cache_shard = &cache.shards[shard]
    cdef FetchSession* evicted = NULL
    cdef int32_t slot
    pthread_mutex_lock(&cache_shard.mutex)
    slot = cache_shard.first_free
    if slot != NONE:
        cache_shard.first_free = cache.next_free[slot]
        cache_shard.count += 1
    elif evict:
        slot = worst_session(shard, session.count, session.created_ms)
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


cdef bint cache_add(FetchSession* session) noexcept nogil:
    cdef int32_t start, i
    cdef int evict
    if cache.slots == 0:
        return False                # sessions are switched off
    start = <int32_t>(atomic_add_i64(&cache.turn, 1) % cache.shards_count)
    atomic_add_i32(&session.references, 1)      # the cache's
    for evict in range(2):
        for i in range(cache.shards_count):
            if enter_shard((start + i) % cache.shards_count, session, evict):
                return True
    session_release(session)
    return False


cdef FetchSession* take_idle(CacheShard* cache_shard, int32_t slot, int64_t now_ms) noexcept nogil:
    """Removes the session from its slot if it was idle for long; else NULL. The shard's mutex is held."""
    cdef FetchSession* session = cache.sessions[slot]
    if session == NULL or now_ms - atomic_load_relaxed_i64(&session.used_ms) <= EVICTION_MS:
        return NULL
    cache_shard.evictions += 1
    empty_slot(cache_shard, slot)
    return session


cdef void evict_idle(int32_t shard, int64_t now_ms) noexcept nogil:
    """Evicts idle sessions of a shard: EVICTED_MAX at most, of the next EXAMINED_MAX ones."""
    cdef CacheShard* cache_shard = &cache.shards[shard]
    cdef FetchSession* evicted[EVICTED_MAX]
    cdef int32_t count = 0
    cdef int32_t slot, i
    pthread_mutex_lock(&cache_shard.mutex)
    slot = cache_shard.hand
    for i in range(min(slots_of(shard), <int32_t>EXAMINED_MAX)):  # no-cython-lint
        evicted[count] = take_idle(cache_shard, slot, now_ms)
        slot = next_slot(slot)
        if evicted[count] != NULL:
            count += 1
        if count == EVICTED_MAX:
            break
    cache_shard.hand = slot
    pthread_mutex_unlock(&cache_shard.mutex)
    for i in range(count):
        session_release(evicted[i])


cdef void cache_refuse(int64_t now_ms) noexcept nogil:
    if cache.slots == 0:
        return                      # sessions are switched off
    atomic_add_i64(&cache.refused, 1)
    evict_idle(<int32_t>(atomic_add_i64(&cache.turn, 1) % cache.shards_count), now_ms)


cdef void empty_slot(CacheShard* cache_shard, int32_t slot) noexcept nogil:
    """The shard's mutex is held."""
    cache.sessions[slot] = NULL
    cache.next_free[slot] = cache_shard.first_free
    cache_shard.first_free = slot
    cache_shard.count -= 1


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
    if found:                       # else it was evicted
        empty_slot(cache_shard, slot)
    pthread_mutex_unlock(&cache_shard.mutex)
    if found:
        session_release(session)


def set_limits(*, partitions_max: int, bytes_max: int) -> None:
    """Set the partitions that one session may have (kafkacy.fetch.session.max.partitions) and the memory of all sessions in
    bytes (kafkacy.fetch.session.cache.max.bytes), of which one session may use a quarter. While no request is worked on.
    """
    session_set_limits(partitions_max, bytes_max)


def set_slots(slots: int) -> None:
    """Set the number of sessions (max.incremental.fetch.session.cache.slots), while no request is worked on.

    All sessions are forgotten. Raises ValueError, and MemoryError: there are no slots then.
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
    """Adds the numbers of the shard. The lock is released in between: reactors wait for it."""
    cdef CacheShard* cache_shard = &cache.shards[shard]
    cdef int32_t slot = shard
    cdef int32_t i
    pthread_mutex_lock(&cache_shard.mutex)
    sessions[0] += cache_shard.count
    evictions[0] += cache_shard.evictions
    pthread_mutex_unlock(&cache_shard.mutex)
    while slot < cache.slots:
        pthread_mutex_lock(&cache_shard.mutex)
        for i in range(EXAMINED_MAX):  # no-cython-lint
            if slot < cache.slots and cache.sessions[slot] != NULL:
                partitions[0] += atomic_load_i32(&cache.sessions[slot].count)
            slot += cache.shards_count
        pthread_mutex_unlock(&cache_shard.mutex)


def age(by_ms: int) -> None:
    """Make all sessions older and longer idle. For tests, while no request is worked on."""
    cdef int32_t slot
    for slot in range(cache.slots):
        if cache.sessions[slot] != NULL:
            cache.sessions[slot].created_ms -= by_ms
            cache.sessions[slot].used_ms -= by_ms


def counters() -> dict[str, int]:
    """Return the number of sessions, their partitions, their memory in bytes (also of removed sessions that are not freed
    yet), and how many sessions were evicted and refused so far.
    """
    cdef int64_t sessions = 0
    cdef int64_t partitions = 0
    cdef int64_t evictions = 0
    cdef int32_t shard
    with nogil:
        for shard in range(cache.shards_count):
            shard_count(shard, &sessions, &partitions, &evictions)
    return {
        "sessions": sessions, "partitions": partitions, "bytes": sessions_bytes(), "evictions": evictions,
        "refused": atomic_load_relaxed_i64(&cache.refused),
    }


cdef int session_probes(int32_t session_id, int32_t* partitions, int64_t* probes) noexcept nogil:
    cdef FetchSession* session = session_acquire(session_id)
    cdef int failed = -1
    if session == NULL:
        return -1
    if session_trylock(session):
        partitions[0] = session.count
        probes[0] = session.partitions_table.probes + session.topics_table.probes
        session_unlock(session)
        failed = 0
    session_release(session)
    return failed


def probes(int32_t session_id) -> tuple[int, int]:
    """Return how many partitions a session contains, and how many slots of its tables were looked at to note them.

    For tests. Raises KeyError if the session does not exist, or is in use.
    """
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
    cdef int failed = -1
    if session == NULL:
        return -1
    if session_trylock(session):
        if write(held_fd, &byte, 1) == 1:
            read(end_fd, &byte, 1)
        session_unlock(session)
        failed = 0
    session_release(session)
    return failed


def hold(int32_t session_id, int held_fd, int end_fd) -> None:
    """Take a session's lock as a long request would, write a byte to `held_fd`, and wait for one from `end_fd`.

    For tests. Raises KeyError if the session does not exist, or is in use.
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
