"""Table of the partitions of open transactions: the transaction coordinator fills it, appends look them up.

The first batch of a transaction in a partition may be appended only if the coordinator has added the partition to the
transaction: otherwise no marker would ever end the transaction there (KIP-890). Kafka asks the coordinator and keeps a
verification guard until the append. Here the append looks the partition up under the log's append mutex. The coordinator
removes the producer before it writes markers, and a marker takes the same mutex: so no batch of a transaction follows its
marker. A producer that is not in the table costs only a question to the coordinator.

An entry is found by a seeded hash of producer, topic and partition. The entries of one producer are chained.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from kafka_cy.base.hash cimport hash_of_bytes, hash_of_number, hash_of_pair
from kafka_cy.base.hash_table cimport (
    HashTable, hash_table_clear, hash_table_insert, hash_table_next, hash_table_remove, hash_table_reserve, hash_table_start,
)
from kafka_cy.base.posix cimport pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock

from collections.abc import Iterable

cdef enum:
    SHARDS = 64
    CHUNK = 128                 # entries that are added or removed while the mutex is held

# One partition of one producer's transaction. Owner: its shard, under the shard's mutex.
cdef struct Entry:
    int64_t producer_id
    uint8_t topic_id[16]
    int32_t partition
    uint32_t hash
    int32_t next                # of the same producer, or free; -1: the last one
    int16_t epoch

# Every 64th part of the producers. Locks: all fields are guarded by `transactions.mutex`.
cdef struct Shard:
    pthread_mutex_t mutex
    HashTable table             # places in `entries`
    Entry* entries
    int32_t capacity
    int32_t count               # places that were ever used
    int32_t free_first          # unused places below `count`; -1: none

# What the coordinator adds: copied out of Python objects before the mutex is taken.
cdef struct Added:
    uint8_t topic_id[16]
    int32_t partition

cdef Shard shards[SHARDS]
cdef int64_t total = 0          # entries of all shards; the coordinator's thread
# Producer id -> its epoch and the place of its newest entry; the coordinator's thread.
cdef dict producers = {}


cdef inline Shard* shard_of(int64_t producer_id) noexcept nogil:
    return &shards[hash_of_number(<uint64_t>producer_id) >> 26]


cdef inline uint32_t hash_of_entry(int64_t producer_id, const uint8_t* topic_id, int32_t partition) noexcept nogil:
    return hash_of_pair(
        hash_of_pair(hash_of_number(<uint64_t>producer_id), <uint32_t>partition), hash_of_bytes(topic_id, 16)
    )


cdef int32_t entry_find(
    Shard* transactions, uint32_t hash, int64_t producer_id, const uint8_t* topic_id, int32_t partition
) noexcept nogil:
    """The place of an entry; -1: there is none. The mutex is held."""
    cdef uint32_t place = hash_table_start(&transactions.table, hash)
    cdef int32_t found = hash_table_next(&transactions.table, hash, &place)
    cdef Entry* entry
    while found >= 0:
        entry = &transactions.entries[found]
        if entry.producer_id == producer_id and entry.partition == partition and memcmp(entry.topic_id, topic_id, 16) == 0:
            return found
        found = hash_table_next(&transactions.table, hash, &place)
    return -1


cdef bint transaction_contains(
    int64_t producer_id, int16_t epoch, const uint8_t* topic_id, int32_t partition
) noexcept nogil:
    cdef Shard* transactions = shard_of(producer_id)
    cdef uint32_t hash = hash_of_entry(producer_id, topic_id, partition)
    cdef int32_t found
    cdef bint contains = False
    pthread_mutex_lock(&transactions.mutex)
    found = entry_find(transactions, hash, producer_id, topic_id, partition)
    if found >= 0:
        contains = transactions.entries[found].epoch == epoch
    pthread_mutex_unlock(&transactions.mutex)
    return contains


cdef int shard_reserve(Shard* transactions, int32_t more) noexcept nogil:
    """Room for `more` entries; -1 without memory. The mutex is held."""
    cdef int64_t used = <int64_t>transactions.table.count + more
    cdef int64_t capacity
    cdef Entry* grown
    if used > TRANSACTION_PARTITIONS_MAX:
        return -1
    if used > transactions.capacity:
        capacity = used + (used >> 1) + 16
        grown = <Entry*>realloc(transactions.entries, <size_t>capacity * sizeof(Entry))
        if grown == NULL:
            return -1
        transactions.entries = grown
        transactions.capacity = <int32_t>capacity
    return hash_table_reserve(&transactions.table, <uint32_t>used)


cdef int reserve(Shard* transactions, int32_t more) noexcept nogil:
    cdef int failed
    pthread_mutex_lock(&transactions.mutex)
    failed = shard_reserve(transactions, more)
    pthread_mutex_unlock(&transactions.mutex)
    return failed


cdef int32_t entry_add(
    Shard* transactions, int64_t producer_id, int16_t epoch, const Added* added, int32_t first
) noexcept nogil:
    """Add an entry before `first` of its producer, and return its place; `first` when it exists. There is room."""
    cdef uint32_t hash = hash_of_entry(producer_id, added.topic_id, added.partition)
    cdef int32_t place
    cdef Entry* entry
    if entry_find(transactions, hash, producer_id, added.topic_id, added.partition) >= 0:
        return first
    place = transactions.free_first
    if place >= 0:
        transactions.free_first = transactions.entries[place].next
    else:
        place = transactions.count
        transactions.count += 1
    entry = &transactions.entries[place]
    entry.producer_id = producer_id
    memcpy(entry.topic_id, added.topic_id, 16)
    entry.partition = added.partition
    entry.hash = hash
    entry.next = first
    entry.epoch = epoch
    hash_table_insert(&transactions.table, hash, place)
    return place


cdef int32_t add_all(
    Shard* transactions, int64_t producer_id, int16_t epoch, const Added* added, int32_t count, int32_t first, int64_t* new
) noexcept nogil:
    """Add entries, for which there is room. Returns the producer's newest entry, and the number of those that are new."""
    cdef int32_t i = 0
    cdef int64_t before
    while i < count:
        pthread_mutex_lock(&transactions.mutex)
        before = transactions.table.count
        first = add_chunk(transactions, producer_id, epoch, &added[i], min(<int32_t>CHUNK, count - i), first)
        new[0] += transactions.table.count - before
        pthread_mutex_unlock(&transactions.mutex)
        i += CHUNK
    return first


cdef int32_t add_chunk(
    Shard* transactions, int64_t producer_id, int16_t epoch, const Added* added, int32_t count, int32_t first
) noexcept nogil:
    cdef int32_t i
    for i in range(count):
        first = entry_add(transactions, producer_id, epoch, &added[i], first)
    return first


cdef int64_t remove_all(Shard* transactions, int32_t first) noexcept nogil:
    """Remove the entries of a producer. Returns their number."""
    cdef int64_t removed = 0
    cdef int64_t before
    while first >= 0:
        pthread_mutex_lock(&transactions.mutex)
        before = transactions.table.count
        first = remove_chunk(transactions, first)
        removed += before - transactions.table.count
        pthread_mutex_unlock(&transactions.mutex)
    return removed


cdef int32_t remove_chunk(Shard* transactions, int32_t first) noexcept nogil:
    cdef int32_t next
    cdef int i = 0
    while first >= 0 and i < CHUNK:
        next = transactions.entries[first].next
        hash_table_remove(&transactions.table, transactions.entries[first].hash, first)
        transactions.entries[first].next = transactions.free_first
        transactions.free_first = first
        first = next
        i += 1
    return first


cdef Added* copied(list partitions) except NULL:
    cdef Added* added = <Added*>malloc(<size_t>(len(partitions) + 1) * sizeof(Added))
    cdef Py_ssize_t i
    cdef bytes topic_id
    if added == NULL:
        raise MemoryError
    try:
        for i in range(len(partitions)):
            topic_id, added[i].partition = partitions[i]
            if len(topic_id) != 16:
                raise ValueError("a topic id has 16 bytes")
            memcpy(added[i].topic_id, <const char*>topic_id, 16)
    except BaseException:
        free(added)
        raise
    return added


def set_partitions(producer_id: int, epoch: int, partitions: Iterable[tuple[bytes, int]]) -> bool:
    """Add partitions (topic id of 16 bytes, partition index) to the producer's transaction.

    If the table has the producer with another epoch, these partitions take the place of the old ones. Returns False, and
    changes nothing, when the table is full (PARTITIONS_MAX) or memory is short. Raises ValueError.
    """
    global total
    cdef int64_t producer = producer_id
    cdef int16_t producer_epoch = epoch
    cdef list wanted = list(partitions)
    cdef int32_t count = <int32_t>len(wanted)
    cdef Shard* transactions = shard_of(producer)
    cdef int32_t first = -1
    cdef int64_t new = 0
    cdef int failed
    cdef Added* added
    if total + count > TRANSACTION_PARTITIONS_MAX:
        return False
    added = copied(wanted)
    try:
        with nogil:
            failed = reserve(transactions, count)
        if failed:
            return False
        known = producers.get(producer_id)
        if known is not None and known[0] != epoch:
            remove(producer_id)
            known = None
        if known is not None:
            first = known[1]
        with nogil:
            first = add_all(transactions, producer, producer_epoch, added, count, first, &new)
        total += new
        producers[producer_id] = (epoch, first)
    finally:
        free(added)
    return True


def remove(producer_id: int) -> None:
    """Forget the producer: when this returns, no append finds any of its partitions. Nothing happens when it is unknown."""
    global total
    cdef int64_t producer = producer_id
    cdef Shard* transactions = shard_of(producer)
    cdef int32_t first
    cdef int64_t removed
    known = producers.pop(producer_id, None)
    if known is None:
        return
    first = known[1]
    with nogil:
        removed = remove_all(transactions, first)
    total -= removed


def contains(producer_id: int, epoch: int, topic_id: bytes, partition: int) -> bool:
    """Whether the partition is in the producer's open transaction: what an append asks. Raises ValueError."""
    if len(topic_id) != 16:
        raise ValueError("a topic id has 16 bytes")
    return bool(transaction_contains(producer_id, epoch, <const uint8_t*><const char*>topic_id, partition))


def count() -> int:
    """How many partitions the table holds."""
    return total


def producers_count() -> int:
    """How many producers the table holds."""
    return len(producers)


def probes() -> tuple[int, int]:
    """How many partitions the table holds and how many slots insertions looked at. For tests."""
    cdef int64_t looked = 0
    cdef int i
    for i in range(SHARDS):
        looked += shards[i].table.probes
    return total, looked


def clear() -> None:
    """Forget all producers (a coordinator that starts; tests)."""
    global total
    cdef int i
    producers.clear()
    total = 0
    with nogil:
        for i in range(SHARDS):
            shard_clear(&shards[i])


cdef void shard_clear(Shard* transactions) noexcept nogil:
    pthread_mutex_lock(&transactions.mutex)
    free(transactions.entries)
    transactions.entries = NULL
    transactions.capacity = 0
    transactions.count = 0
    transactions.free_first = -1
    hash_table_clear(&transactions.table)
    pthread_mutex_unlock(&transactions.mutex)


cdef void shards_init() noexcept nogil:
    cdef int i
    memset(shards, 0, sizeof(shards))
    for i in range(SHARDS):
        pthread_mutex_init(&shards[i].mutex, NULL)
        shards[i].free_first = -1


PARTITIONS_MAX = TRANSACTION_PARTITIONS_MAX
shards_init()
