"""Fetch sessions (KIP-227) in C memory: what each consumer asked for, so that it need not repeat it; see fetch_session.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.api.leaders cimport TopicKey


# A topic of a session's partitions. Reference counted by them; under the cache lock.
cdef struct SessionTopic:
    int32_t references
    bint by_id
    uint8_t topic_id[16]
    int32_t name_size
    char* name                      # behind the struct, in the same allocation


cdef struct SessionPartition:
    SessionTopic* topic             # NULL: this entry is free
    int32_t index
    uint32_t hash
    int32_t next                    # in the order of answering; free entries: next free one
    int32_t previous
    int32_t max_bytes
    int32_t current_leader_epoch
    int32_t last_fetched_epoch
    int64_t fetch_offset
    int64_t high_watermark          # as last sent; -1 makes the next answer hold the partition
    int64_t log_start_offset


# Purpose: one consumer's set of partitions. Threads: any reactor, under the cache lock.
# Lifetime: the cache holds one reference, a waiting Fetch another.
cdef struct FetchSession:
    int32_t references
    int32_t id
    int32_t epoch                   # the next request must carry it
    bint by_id                      # topics by id (v13+), not by name
    int64_t created_ms
    int64_t used_ms
    int32_t count
    int32_t capacity
    SessionPartition* partitions
    int32_t first                   # order list
    int32_t last
    int32_t first_free
    int32_t* table                  # open addressing: entry, -1 empty, -2 deleted
    uint32_t table_size             # power of two
    uint32_t table_used             # deleted ones included


cdef void sessions_lock() noexcept nogil
cdef void sessions_unlock() noexcept nogil
# All below: with the lock held.
cdef FetchSession* session_find(int32_t session_id) noexcept nogil
# A new session in the cache (epoch 1) or NULL: no slot to be had, or no memory. `size` is its number of partitions.
cdef FetchSession* session_create(bint by_id, int32_t size, int64_t now_ms) noexcept nogil
cdef void session_remove(FetchSession* session) noexcept nogil      # from the cache
cdef void session_release(FetchSession* session) noexcept nogil
# The entry of a partition, made (at the end of the order, nothing sent yet) when it is new; NULL without memory.
cdef SessionPartition* session_put(FetchSession* session, TopicKey* key, int32_t index) noexcept nogil
cdef void session_forget(FetchSession* session, TopicKey* key, int32_t index) noexcept nogil
cdef void session_move_last(FetchSession* session, int32_t entry) noexcept nogil


cdef inline int32_t session_next_epoch(int32_t epoch) noexcept nogil:
    return 1 if epoch == 0x7fffffff else epoch + 1
