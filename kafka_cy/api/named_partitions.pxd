"""The partitions that a request names, without duplicates; see named_partitions.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.api.topic_key cimport TopicKey
from kafka_cy.base.hash_table cimport HashTable


cdef struct NamedTopic:
    TopicKey key                    # borrows the request body
    uint32_t hash                   # set from the second partition of the request on
    int32_t count                   # number of its partitions
    int32_t first                   # its partitions are linked by `next`
    int32_t last


cdef struct NamedPartition:
    const uint8_t* at               # the start of its last mention in the request
    int32_t topic
    int32_t index
    int32_t times                   # number of mentions
    int32_t next                    # next partition of the same topic; -1 none


# Owner: a reactor, for one handler call at a time (named_of). Limits: the size of a request; large arrays are freed.
cdef struct NamedPartitions:
    const void* mention             # the name or id of the topic entry being read, and the number of the topic
    int32_t mention_topic
    int32_t topics_count
    int32_t topics_capacity
    NamedTopic* topics              # in the order of their first mention
    int32_t partitions_count
    int32_t partitions_capacity
    NamedPartition* partitions      # likewise
    bint tables_used                # from the second mention on
    HashTable topics_table
    HashTable partitions_table


# A copy that outlives the handler call. It borrows from `kept`, a copy of the body at `body`. Returns 0, or 1 without memory.
# Nothing can be added to the copy. Free it with named_free.
cdef int named_copy(NamedPartitions* copy, NamedPartitions* named, const uint8_t* body, const uint8_t* kept) noexcept nogil
cdef void named_free(NamedPartitions* named) noexcept nogil
# The memory of such a copy.
cdef inline int64_t named_bytes(const NamedPartitions* named) noexcept nogil:
    return <int64_t>(
        <size_t>named.topics_count * sizeof(NamedTopic) + <size_t>named.partitions_count * sizeof(NamedPartition)
    )
# The reactor's instance, emptied.
cdef NamedPartitions* named_of(int32_t reactor_id) noexcept nogil
# Adds one mention: `at` is its first field, the partition index. Returns 0, or 1 without memory.
cdef int named_add(NamedPartitions* named, TopicKey* key, int32_t index, const uint8_t* at) noexcept nogil
