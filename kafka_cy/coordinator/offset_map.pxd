"""The committed offsets of one group in C memory: reactors and the coordinator store them, any thread reads them."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.base.hash_table cimport HashTable
from kafka_cy.base.posix cimport pthread_mutex_t

# What is committed for a partition. `metadata` is borrowed by the functions below, and owned in a StoredOffset.
cdef struct Committed:
    int64_t offset
    int64_t commit_timestamp_ms     # wall clock
    int64_t expire_timestamp_ms     # -1 unless OffsetCommit v2-4 set a retention
    int32_t leader_epoch
    bint has_topic_id
    uint8_t topic_id[16]
    int32_t metadata_size
    const char* metadata            # UTF-8; NULL if it is empty

# The place of one partition.
cdef struct StoredOffset:
    int32_t partition
    bint present                    # False: room for a commit that has not been stored (yet)
    int32_t metadata_capacity
    Committed value

# The partitions of one topic.
cdef struct TopicOffsets:
    uint32_t hash
    int32_t count
    int32_t capacity
    int32_t present                 # how many of `count`
    StoredOffset* offsets           # dense, in no order
    HashTable by_partition          # places in `offsets`
    int32_t name_size
    char name[1]                    # really name_size bytes

# Purpose: the truth of what a group has committed. Owner: a CommittedOffsets, with which it lives and dies.
# Threads: any. Locks: `offsets_mutex` guards all fields; it is held while the offsets of one topic are looked at or copied.
# Who may write: the coordinator's thread, and a reactor while it holds the gate of the open group (coordinator/open_groups).
# Limits: one place for each partition that was committed; commits name only partitions that exist. The memory of all maps together
# is limited for new commits (kafkacy.committed.offsets.max.bytes), not for those that are loaded: they were acknowledged.
cdef struct OffsetMap:
    pthread_mutex_t offsets_mutex
    HashTable by_topic              # places in `topics`
    TopicOffsets** topics           # dense, in no order
    int32_t topics_count
    int32_t topics_capacity
    int32_t topics_present          # topics with an offset
    int64_t present                 # offsets

# Make room for an offset, so that `offset_map_put` cannot fail. -1 without memory, or beyond the limit: no offset has changed.
cdef int offset_map_reserve(
    OffsetMap* map, const char* topic, int32_t topic_size, int32_t partition, int32_t metadata_size
) noexcept nogil
# Store an offset. -1 without memory: nothing has changed.
cdef int offset_map_put(
    OffsetMap* map, const char* topic, int32_t topic_size, int32_t partition, const Committed* committed
) noexcept nogil

cdef void offset_map_init(OffsetMap* map) noexcept nogil
cdef void offset_map_free(OffsetMap* map) noexcept nogil
# Forget an offset; nothing happens when there is none.
cdef void offset_map_remove(OffsetMap* map, const char* name, int32_t size, int32_t partition) noexcept nogil
# Whether an offset can be stored without more memory.
cdef bint offset_map_has_room(
    OffsetMap* map, const char* name, int32_t size, int32_t partition, int32_t metadata_size
) noexcept nogil
# Whether the topic has an offset.
cdef bint offset_map_has_topic(OffsetMap* map, const char* name, int32_t size) noexcept nogil
# Copy the topic's offsets, or, if `wanted` is not NULL, a row for each of those partitions. Returns the count, -1 without memory.
# The caller frees both. The copies' metadata point into `metadata`.
cdef int32_t offset_map_copy(
    OffsetMap* map, const char* name, int32_t size, const int32_t* wanted, int32_t wanted_count, StoredOffset** copies,
    char** metadata
) noexcept nogil
# Copy the names of the topics that have an offset, one after another. Returns the count, -1 without memory. The caller frees both.
cdef int32_t offset_map_topics(OffsetMap* map, char** text, int32_t** sizes) noexcept nogil

# The memory of all maps, and whether it has reached the limit. Any thread.
cdef int64_t maps_held_bytes() noexcept nogil
cdef bint maps_are_full() noexcept nogil
cdef void maps_set_bytes_max(int64_t bytes_max) noexcept nogil
