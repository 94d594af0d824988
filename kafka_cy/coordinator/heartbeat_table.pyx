"""Hash table of group members in C memory: reactors stamp heartbeats in it, session timeouts read the stamps.

A group in PreparingRebalance has `accepting` off for all its members, so their heartbeats reach the coordinator and get
REBALANCE_IN_PROGRESS. All clocks are monotonic nanoseconds.
"""
import os

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from kafka_cy.base.posix cimport pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock

cdef enum:
    SHARDS = 64
    BUCKETS_FIRST = 16
    ID_BYTES_MAX = 32767

# One member. Owner: its shard, under the shard's mutex. `ids` holds group, member and instance id one after another.
cdef struct Entry:
    Entry* next
    uint64_t hash
    int64_t last_heartbeat_ns
    int32_t generation
    int32_t accepting
    int32_t group_size
    int32_t member_size
    int32_t instance_size       # -1: the member is dynamic
    char ids[1]                 # really group_size + member_size + instance_size bytes

cdef struct Shard:
    pthread_mutex_t mutex
    Entry** buckets
    size_t bucket_count         # a power of two
    size_t entry_count

cdef Shard shards[SHARDS]
cdef uint64_t hash_seed


cdef inline uint64_t hash_bytes(uint64_t hash, const char* data, int32_t size) noexcept nogil:
    cdef int32_t i
    for i in range(size):
        hash = (hash ^ <uint8_t> data[i]) * <uint64_t> 0x100000001b3
    return hash ^ (hash >> 29)


cdef inline uint64_t member_hash(
    const char* group, int32_t group_size, const char* member, int32_t member_size
) noexcept nogil:
    cdef uint64_t hash = hash_bytes(hash_bytes(hash_seed, group, group_size), member, member_size)
    hash = (hash ^ (hash >> 33)) * <uint64_t> 0xff51afd7ed558ccd
    return hash ^ (hash >> 33)


cdef inline Shard* shard_of(uint64_t hash) noexcept nogil:
    return &shards[hash >> 58]


# The link that points at the wanted entry, or at the NULL that ends its chain. The shard's mutex is held.
cdef Entry** entry_link(
    Shard* shard, uint64_t hash, const char* group, int32_t group_size, const char* member, int32_t member_size
) noexcept nogil:
    cdef Entry** link = &shard.buckets[hash & (shard.bucket_count - 1)]
    while link[0] != NULL:
        if link[0].hash == hash and link[0].group_size == group_size and link[0].member_size == member_size:
            if memcmp(link[0].ids, group, group_size) == 0:
                if memcmp(link[0].ids + group_size, member, member_size) == 0:
                    return link
        link = &link[0].next
    return link


cdef bint instance_matches(Entry* entry, const char* instance, int32_t instance_size) noexcept nogil:
    if instance_size < 0:
        return True
    if instance_size != entry.instance_size:
        return False
    return memcmp(entry.ids + entry.group_size + entry.member_size, instance, instance_size) == 0


cdef int heartbeat_stamp(
    const char* group, int32_t group_size, const char* member, int32_t member_size, int32_t generation,
    const char* instance, int32_t instance_size, int64_t now_ns
) noexcept nogil:
    cdef uint64_t hash
    cdef Shard* shard
    cdef Entry* entry
    cdef int stamped = 0
    if group_size <= 0 or member_size <= 0:
        return 0
    hash = member_hash(group, group_size, member, member_size)
    shard = shard_of(hash)
    pthread_mutex_lock(&shard.mutex)
    entry = entry_link(shard, hash, group, group_size, member, member_size)[0]
    if entry != NULL and entry.accepting and entry.generation == generation:
        if instance_matches(entry, instance, instance_size):
            entry.last_heartbeat_ns = now_ns
            stamped = 1
    pthread_mutex_unlock(&shard.mutex)
    return stamped


# Doubles the buckets when chains get long; keeps the old ones when there is no memory. The mutex is held.
cdef void shard_grow(Shard* shard) noexcept nogil:
    cdef size_t count = shard.bucket_count * 2
    cdef Entry** buckets = <Entry**> calloc(count, sizeof(Entry*))
    cdef Entry* entry
    cdef Entry* following
    cdef size_t i
    if buckets == NULL:
        return
    for i in range(shard.bucket_count):
        entry = shard.buckets[i]
        while entry != NULL:
            following = entry.next
            entry.next = buckets[entry.hash & (count - 1)]
            buckets[entry.hash & (count - 1)] = entry
            entry = following
    free(shard.buckets)
    shard.buckets = buckets
    shard.bucket_count = count


cdef void entry_unlink(Shard* shard, Entry** link) noexcept nogil:
    cdef Entry* entry = link[0]
    link[0] = entry.next
    shard.entry_count -= 1
    free(entry)


cdef Entry* entry_new(bytes group, bytes member, bytes instance) except NULL:
    cdef int32_t instance_size = -1 if instance is None else <int32_t> len(instance)
    cdef size_t size = len(group) + len(member) + max(instance_size, 0)
    if max(len(group), len(member), instance_size) > ID_BYTES_MAX:
        raise ValueError("a group, member or instance id has more than 32767 bytes")
    cdef Entry* entry = <Entry*> malloc(sizeof(Entry) + size)
    if entry == NULL:
        raise MemoryError()
    entry.group_size = <int32_t> len(group)
    entry.member_size = <int32_t> len(member)
    entry.instance_size = instance_size
    memcpy(entry.ids, <const char*> group, len(group))
    memcpy(entry.ids + len(group), <const char*> member, len(member))
    if instance_size > 0:
        memcpy(entry.ids + len(group) + len(member), <const char*> instance, instance_size)
    entry.hash = member_hash(group, entry.group_size, member, entry.member_size)
    return entry


def set_member(bytes group not None, bytes member not None, bytes instance, int generation, bint accepting, int64_t now_ns):
    """Add or replace a member; its last heartbeat becomes `now_ns` (monotonic)."""
    cdef Entry* entry = entry_new(group, member, instance)
    cdef Shard* shard = shard_of(entry.hash)
    cdef Entry** link
    entry.generation = generation
    entry.accepting = accepting
    entry.last_heartbeat_ns = now_ns
    with nogil:
        pthread_mutex_lock(&shard.mutex)
        link = entry_link(shard, entry.hash, entry.ids, entry.group_size, entry.ids + entry.group_size, entry.member_size)
        if link[0] != NULL:
            entry_unlink(shard, link)
        if shard.entry_count >= 2 * shard.bucket_count:
            shard_grow(shard)
        link = &shard.buckets[entry.hash & (shard.bucket_count - 1)]
        entry.next = link[0]
        link[0] = entry
        shard.entry_count += 1
        pthread_mutex_unlock(&shard.mutex)


def remove_member(bytes group not None, bytes member not None):
    """Forget a member; nothing happens when it is unknown."""
    member_remove(group, <int32_t> len(group), member, <int32_t> len(member))


cdef void member_remove(const char* group, int32_t group_size, const char* member, int32_t member_size) noexcept nogil:
    cdef uint64_t hash = member_hash(group, group_size, member, member_size)
    cdef Shard* shard = shard_of(hash)
    cdef Entry** link
    pthread_mutex_lock(&shard.mutex)
    link = entry_link(shard, hash, group, group_size, member, member_size)
    if link[0] != NULL:
        entry_unlink(shard, link)
    pthread_mutex_unlock(&shard.mutex)


def last_heartbeat_ns(bytes group not None, bytes member not None) -> int:
    """The monotonic time of the member's last heartbeat; -1 when it is unknown."""
    return member_last_heartbeat(group, <int32_t> len(group), member, <int32_t> len(member))


cdef int64_t member_last_heartbeat(
    const char* group, int32_t group_size, const char* member, int32_t member_size
) noexcept nogil:
    cdef uint64_t hash = member_hash(group, group_size, member, member_size)
    cdef Shard* shard = shard_of(hash)
    cdef Entry* entry
    cdef int64_t last_ns = -1
    pthread_mutex_lock(&shard.mutex)
    entry = entry_link(shard, hash, group, group_size, member, member_size)[0]
    if entry != NULL:
        last_ns = entry.last_heartbeat_ns
    pthread_mutex_unlock(&shard.mutex)
    return last_ns


def stamp(bytes group not None, bytes member not None, bytes instance, int generation, int64_t now_ns) -> bool:
    """What a reactor does with a Heartbeat: True when the member was stamped."""
    cdef const char* instance_data = NULL
    cdef int32_t instance_size = -1
    if instance is not None:
        instance_data = instance
        instance_size = <int32_t> len(instance)
    return heartbeat_stamp(
        group, <int32_t> len(group), member, <int32_t> len(member), generation, instance_data, instance_size, now_ns
    ) == 1


def count() -> int:
    """How many members the table holds."""
    cdef size_t total = 0
    cdef int i
    for i in range(SHARDS):
        total += shards[i].entry_count
    return total


def clear() -> None:
    """Forget all members (a coordinator that starts; tests)."""
    cdef int i
    for i in range(SHARDS):
        shard_clear(&shards[i])


cdef void shard_clear(Shard* shard) noexcept nogil:
    cdef size_t bucket
    pthread_mutex_lock(&shard.mutex)
    for bucket in range(shard.bucket_count):
        while shard.buckets[bucket] != NULL:
            entry_unlink(shard, &shard.buckets[bucket])
    pthread_mutex_unlock(&shard.mutex)


cdef int table_init() except -1:
    global hash_seed
    cdef int i
    hash_seed = int.from_bytes(os.urandom(8), "little")
    for i in range(SHARDS):
        pthread_mutex_init(&shards[i].mutex, NULL)
        shards[i].bucket_count = BUCKETS_FIRST
        shards[i].buckets = <Entry**> calloc(BUCKETS_FIRST, sizeof(Entry*))
        if shards[i].buckets == NULL:
            raise MemoryError()
    return 0


table_init()
