"""Walking the array [topic [partition]] of a request in place.

    walk_begin(&walk, &r, by_id, flexible, partition_bytes_min)
    while walk_next(&walk):
        ...                     # read one partition from walk.r; its topic is walk.key
    r = walk.r                  # behind the array

A null array or topic name, and a count that the bytes left cannot hold, set the reader's error, which ends the walk.
"""
from libc.stdint cimport int32_t, uint8_t

from kafka_cy.api.topic_key cimport TopicKey, read_topic_key
from kafka_cy.network.dispatch cimport Request
from kafka_cy.records.wire cimport WIRE_BAD_LENGTH, Reader, read_array_length, reader_init, skip_tagged_fields


# Owner: one handler call, on its stack; borrows the request body.
cdef struct TopicWalk:
    Reader r
    bint by_id
    bint flexible
    int32_t partition_bytes_min
    int32_t topics_left
    int32_t partitions_left         # of the topic `key`; -1: before the first topic
    bint first_of_topic             # the partition is the first one after `key` was read
    TopicKey key


cdef inline void read_again(Reader* r, Request* request, const uint8_t* at) noexcept nogil:
    """Reads a (checked) request from a place in its body on."""
    reader_init(r, at, <size_t>(request.body + request.body_size - at))


cdef inline int32_t read_count(Reader* r, bint flexible, int32_t element_bytes_min) noexcept nogil:
    """The count of an array that may not be null; 0 with the error set when it is."""
    cdef int32_t count = read_array_length(r, flexible, element_bytes_min)
    if count < 0 and not r.error:
        r.error = WIRE_BAD_LENGTH
    return count if not r.error else 0


cdef inline void walk_begin(
    TopicWalk* walk, Reader* r, bint by_id, bint flexible, int32_t partition_bytes_min
) noexcept nogil:
    walk.r = r[0]
    walk.by_id = by_id
    walk.flexible = flexible
    walk.partition_bytes_min = partition_bytes_min
    walk.topics_left = read_count(&walk.r, flexible, 2)
    walk.partitions_left = -1


cdef inline bint walk_next(TopicWalk* walk) noexcept nogil:
    walk.first_of_topic = False
    while walk.partitions_left <= 0:
        if walk.partitions_left == 0 and walk.flexible:
            skip_tagged_fields(&walk.r)
        if walk.topics_left == 0 or walk.r.error:
            return False
        walk.topics_left -= 1
        read_topic_key(&walk.r, walk.by_id, walk.flexible, &walk.key)
        walk.first_of_topic = True
        if walk.key.name == NULL and not walk.by_id and not walk.r.error:
            walk.r.error = WIRE_BAD_LENGTH
        walk.partitions_left = read_count(&walk.r, walk.flexible, walk.partition_bytes_min)
    if walk.r.error:
        return False
    walk.partitions_left -= 1
    return True
