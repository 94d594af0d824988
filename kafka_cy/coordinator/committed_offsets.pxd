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
# Limits: one place for each partition that was committed; commits name only partitions that exist.
cdef struct OffsetMap:
    pthread_mutex_t offsets_mutex
    HashTable by_topic              # places in `topics`
    TopicOffsets** topics           # dense, in no order
    int32_t topics_count
    int32_t topics_capacity
    int32_t topics_present          # topics with an offset
    int64_t present                 # offsets

cdef class CommittedOffsets:
    cdef OffsetMap map

# Make room for an offset, so that `offset_map_put` cannot fail. -1 without memory: no offset has changed.
cdef int offset_map_reserve(
    OffsetMap* map, const char* topic, int32_t topic_size, int32_t partition, int32_t metadata_size
) noexcept nogil
# Store an offset. -1 without memory: nothing has changed.
cdef int offset_map_put(
    OffsetMap* map, const char* topic, int32_t topic_size, int32_t partition, const Committed* committed
) noexcept nogil
