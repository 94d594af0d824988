"""Hash table of group members in C memory: reactors stamp heartbeats in it and check commits, session timeouts read the stamps.

A group in PreparingRebalance has `accepting` off for all its members, so their heartbeats reach the coordinator and get
REBALANCE_IN_PROGRESS. All clocks are monotonic nanoseconds.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from kafka_cy.base.hash cimport hash_of_bytes, hash_of_pair
from kafka_cy.base.hash_table cimport (
    HashTable, hash_table_clear, hash_table_insert, hash_table_next, hash_table_remove, hash_table_renumber,
    hash_table_reserve, hash_table_start,
)
from kafka_cy.base.posix cimport pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock

cdef enum:
    SHARDS = 64
    ID_BYTES_MAX = 32767        # the records of groups take no longer words, either
    COMMIT_VERSION_WITH_EPOCHS = 9  # OffsetCommit of members of newer kinds of groups

# One member. Owner: its shard, under the shard's mutex. `ids` holds group, member, instance and client id, the client's address and
# the regular expression one after another. Limits: what the member said is bounded by what the coordinator keeps of it.
cdef struct Entry:
    uint32_t hash
    int64_t last_heartbeat_ns
    int32_t generation
    int32_t accepting
    bint modern                 # a member of a newer kind of group: `generation` is its epoch
    bint steady                 # its heartbeat needs no decision in this epoch
    int32_t group_size
    int32_t member_size
    int32_t instance_size       # -1: the member is dynamic
    int32_t client_size         # this and what follows: of a steady member
    int32_t host_size
    int32_t regex_size          # -1: it has none
    char ids[1]                 # really the bytes of all of these

# Every 64th part of the members. Locks: all fields are guarded by `mutex`.
cdef struct Shard:
    pthread_mutex_t mutex
    HashTable table             # places in `entries`
    Entry** entries             # dense, in no order
    int32_t count
    int32_t capacity

cdef Shard shards[SHARDS]


cdef inline uint32_t member_hash(
    const char* group, int32_t group_size, const char* member, int32_t member_size
) noexcept nogil:
    return hash_of_pair(hash_of_bytes(group, <size_t>group_size), hash_of_bytes(member, <size_t>member_size))


cdef inline Shard* shard_of(uint32_t hash) noexcept nogil:
    return &shards[hash >> 26]          # the table uses the low bits


cdef inline bint ids_fit(int32_t group_size, int32_t member_size) noexcept nogil:
    """Whether there can be such a member. Long ids are not even hashed: a request may have megabytes of them."""
    return 0 < group_size <= ID_BYTES_MAX and 0 < member_size <= ID_BYTES_MAX


cdef int32_t entry_find(
    Shard* shard, uint32_t hash, const char* group, int32_t group_size, const char* member, int32_t member_size
) noexcept nogil:
    """The place of a member in `entries`; -1 when it is unknown. The shard's mutex is held."""
    cdef uint32_t place = hash_table_start(&shard.table, hash)
    cdef int32_t found = hash_table_next(&shard.table, hash, &place)
    cdef Entry* entry
    while found >= 0:
        entry = shard.entries[found]
        if entry.group_size == group_size and entry.member_size == member_size:
            if memcmp(entry.ids, group, <size_t>group_size) == 0:
                if memcmp(entry.ids + group_size, member, <size_t>member_size) == 0:
                    return found
        found = hash_table_next(&shard.table, hash, &place)
    return -1


cdef inline bint is_as_before(const char* known, int32_t known_size, const char* said, int32_t said_size) noexcept nogil:
    """Whether the member says what it said before, or nothing."""
    return said_size < 0 or (said_size == known_size and memcmp(known, said, <size_t>said_size) == 0)


cdef bint instance_matches(Entry* entry, const char* instance, int32_t instance_size) noexcept nogil:
    return is_as_before(entry.ids + entry.group_size + entry.member_size, entry.instance_size, instance, instance_size)


cdef bint says_nothing_new(Entry* entry, const Said* said) noexcept nogil:
    cdef const char* client = entry.ids + entry.group_size + entry.member_size + max(entry.instance_size, 0)
    cdef const char* host = client + entry.client_size
    cdef const char* regex = host + entry.host_size
    return (
        instance_matches(entry, said.instance, said.instance_size)
        and is_as_before(client, entry.client_size, said.client, said.client_size)
        and is_as_before(host, entry.host_size, said.host, said.host_size)
        and is_as_before(regex, entry.regex_size, said.regex, said.regex_size)
    )


cdef Shard* shard_lock(
    const char* group, int32_t group_size, const char* member, int32_t member_size, int32_t* found
) noexcept nogil:
    """Lock the member's shard and find the member: `found` is its place in `entries`, or -1. The caller unlocks the shard."""
    cdef uint32_t hash = member_hash(group, group_size, member, member_size)
    cdef Shard* shard = shard_of(hash)
    pthread_mutex_lock(&shard.mutex)
    found[0] = entry_find(shard, hash, group, group_size, member, member_size)
    return shard


cdef int classic_stamp(
    const char* group, int32_t group_size, const char* member, int32_t member_size, int32_t generation,
    const char* instance, int32_t instance_size, int modern_answer, int64_t now_ns
) noexcept nogil:
    """1: it is a classic member with this generation, and was stamped. For a member of a modern group with this epoch, which is
    not stamped, because only its own heartbeats prolong its session: `modern_answer`. 0: anything else."""
    cdef Shard* shard
    cdef Entry* entry
    cdef int32_t found
    cdef int answer = 0
    if not ids_fit(group_size, member_size):
        return 0
    shard = shard_lock(group, group_size, member, member_size, &found)
    if found >= 0:
        entry = shard.entries[found]
        if entry.generation != generation:
            answer = 0
        elif entry.modern:
            answer = modern_answer
        elif entry.accepting and instance_matches(entry, instance, instance_size):
            entry.last_heartbeat_ns = now_ns
            answer = 1
    pthread_mutex_unlock(&shard.mutex)
    return answer


cdef int heartbeat_stamp(
    const char* group, int32_t group_size, const char* member, int32_t member_size, int32_t generation,
    const char* instance, int32_t instance_size, int64_t now_ns
) noexcept nogil:
    return classic_stamp(group, group_size, member, member_size, generation, instance, instance_size, 0, now_ns)


cdef int member_may_commit(
    const char* group, int32_t group_size, const char* member, int32_t member_size, int32_t generation,
    const char* instance, int32_t instance_size, int version, int64_t now_ns
) noexcept nogil:
    cdef int modern_answer = version >= COMMIT_VERSION_WITH_EPOCHS
    return classic_stamp(
        group, group_size, member, member_size, generation, instance, instance_size, modern_answer, now_ns
    )


cdef int modern_heartbeat_stamp(
    const char* group, int32_t group_size, const char* member, int32_t member_size, int32_t epoch, const Said* said, int64_t now_ns
) noexcept nogil:
    cdef Shard* shard
    cdef Entry* entry
    cdef int32_t found
    cdef int stamped = 0
    if not ids_fit(group_size, member_size):
        return 0
    shard = shard_lock(group, group_size, member, member_size, &found)
    if found >= 0:
        entry = shard.entries[found]
        if entry.modern and entry.steady and entry.generation == epoch and says_nothing_new(entry, said):
            entry.last_heartbeat_ns = now_ns
            stamped = 1
    pthread_mutex_unlock(&shard.mutex)
    return stamped


cdef int shard_reserve(Shard* shard) noexcept nogil:
    """Room for one more entry; -1 without memory. The mutex is held."""
    cdef int32_t capacity
    cdef Entry** grown
    if shard.count == shard.capacity:
        capacity = 2 * shard.capacity + 16
        grown = <Entry**>realloc(shard.entries, <size_t>capacity * sizeof(Entry*))
        if grown == NULL:
            return -1
        shard.entries = grown
        shard.capacity = capacity
    return hash_table_reserve(&shard.table, <uint32_t>shard.count + 1)


cdef void entry_remove(Shard* shard, int32_t place) noexcept nogil:
    """The last entry takes the place of the one that goes. The mutex is held."""
    cdef Entry* entry = shard.entries[place]
    cdef Entry* last = shard.entries[shard.count - 1]
    hash_table_remove(&shard.table, entry.hash, place)
    shard.count -= 1
    if place != shard.count:
        hash_table_renumber(&shard.table, last.hash, shard.count, place)
        shard.entries[place] = last
    free(entry)


cdef inline int32_t size_of(bytes word) noexcept:
    return -1 if word is None else <int32_t> len(word)


cdef char* put_word(char* at, bytes word) noexcept:
    """Returns the end of the copy."""
    if word is None:
        return at
    memcpy(at, <const char*> word, len(word))
    return at + len(word)


cdef Entry* entry_new(bytes group, bytes member, bytes instance, bytes client, bytes host, bytes regex) except NULL:
    cdef size_t size = 0
    for word in (group, member, instance, client, host, regex):
        if word is not None:
            if len(word) > ID_BYTES_MAX:
                raise ValueError("an id or the regular expression of a group's member has more than 32767 bytes")
            size += len(word)
    cdef Entry* entry = <Entry*> malloc(sizeof(Entry) + size)
    if entry == NULL:
        raise MemoryError()
    entry.group_size = <int32_t> len(group)
    entry.member_size = <int32_t> len(member)
    entry.instance_size = size_of(instance)
    entry.client_size = <int32_t> len(client)
    entry.host_size = <int32_t> len(host)
    entry.regex_size = size_of(regex)
    put_word(put_word(put_word(put_word(put_word(put_word(entry.ids, group), member), instance), client), host), regex)
    entry.hash = member_hash(group, entry.group_size, member, entry.member_size)
    return entry


cdef int set_entry(Entry* entry) noexcept nogil:
    """Adds the entry, or puts it in the place of the same member's. -1 without memory: nothing has changed."""
    cdef Shard* shard = shard_of(entry.hash)
    cdef int32_t found
    cdef int failed = 0
    pthread_mutex_lock(&shard.mutex)
    found = entry_find(shard, entry.hash, entry.ids, entry.group_size, entry.ids + entry.group_size, entry.member_size)
    if found >= 0:
        if entry.modern and shard.entries[found].last_heartbeat_ns > entry.last_heartbeat_ns:
            entry.last_heartbeat_ns = shard.entries[found].last_heartbeat_ns
        free(shard.entries[found])
        shard.entries[found] = entry
    else:
        failed = shard_reserve(shard)
        if failed == 0:
            shard.entries[shard.count] = entry
            hash_table_insert(&shard.table, entry.hash, shard.count)
            shard.count += 1
    pthread_mutex_unlock(&shard.mutex)
    return failed


def set_member(bytes group not None, bytes member not None, bytes instance, int generation, bint accepting, int64_t now_ns):
    """Add or replace a member; its last heartbeat becomes `now_ns` (monotonic). ValueError for an id that is too long."""
    cdef Entry* entry = entry_new(group, member, instance, b"", b"", None)
    entry.generation = generation
    entry.accepting = accepting
    entry.modern = False
    entry.steady = False
    entry.last_heartbeat_ns = now_ns
    keep_entry(entry)


def set_modern_member(
    bytes group not None, bytes member not None, int epoch, bint steady=False, bytes client not None=b"", bytes host not None=b"",
    bytes instance=None, bytes regex=None
):
    """Add or replace a member of a newer kind of group, which may commit with this epoch (-1: with none). Its last heartbeat stays.

    `steady`: reactors may respond to its heartbeats from this client id and address, which may repeat the instance id and the
    regular expression. ValueError for a word that is too long.
    """
    cdef Entry* entry = entry_new(group, member, instance, client, host, regex)
    entry.generation = epoch
    entry.accepting = False
    entry.modern = True
    entry.steady = steady
    entry.last_heartbeat_ns = -1
    keep_entry(entry)


cdef int keep_entry(Entry* entry) except -1:
    cdef int failed
    with nogil:
        failed = set_entry(entry)
    if failed:
        free(entry)
        raise MemoryError
    return 0


def remove_member(bytes group not None, bytes member not None):
    """Forget a member; nothing happens when it is unknown."""
    cdef const char* group_data = group
    cdef const char* member_data = member
    cdef int32_t group_size = <int32_t> len(group)
    cdef int32_t member_size = <int32_t> len(member)
    cdef Shard* shard
    cdef int32_t found
    with nogil:
        shard = shard_lock(group_data, group_size, member_data, member_size, &found)
        if found >= 0:
            entry_remove(shard, found)
        pthread_mutex_unlock(&shard.mutex)


def last_heartbeat_ns(bytes group not None, bytes member not None) -> int:
    """The monotonic time of the member's last heartbeat; -1 when it is unknown."""
    cdef const char* group_data = group
    cdef const char* member_data = member
    cdef int32_t group_size = <int32_t> len(group)
    cdef int32_t member_size = <int32_t> len(member)
    cdef Shard* shard
    cdef int32_t found
    cdef int64_t last_ns = -1
    with nogil:
        shard = shard_lock(group_data, group_size, member_data, member_size, &found)
        if found >= 0:
            last_ns = shard.entries[found].last_heartbeat_ns
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
    cdef int64_t total = 0
    cdef int i
    for i in range(SHARDS):
        total += shards[i].count
    return total


def probes() -> tuple[int, int]:
    """How many members the table holds and how many slots insertions looked at. For tests."""
    cdef int64_t total = 0
    cdef int i
    for i in range(SHARDS):
        total += shards[i].table.probes
    return count(), total


def clear() -> None:
    """Forget all members (a coordinator that starts; tests)."""
    cdef int i
    for i in range(SHARDS):
        shard_clear(&shards[i])


cdef void shard_clear(Shard* shard) noexcept nogil:
    cdef int32_t place
    pthread_mutex_lock(&shard.mutex)
    for place in range(shard.count):
        free(shard.entries[place])
    shard.count = 0
    hash_table_clear(&shard.table)
    pthread_mutex_unlock(&shard.mutex)


cdef void shards_init() noexcept nogil:
    cdef int i
    memset(shards, 0, sizeof(shards))
    for i in range(SHARDS):
        pthread_mutex_init(&shards[i].mutex, NULL)


shards_init()
