"""Fetch sessions (KIP-227) in C memory: what each consumer asked for, so that it need not repeat it.

fetch_session.pyx has one session, fetch_session_cache.pyx the sessions of the broker.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.api.fetch_request cimport AskedPartition
from kafka_cy.api.topic_key cimport TopicKey
from kafka_cy.base.hash_table cimport HashTable
from kafka_cy.base.posix cimport pthread_mutex_t


# A topic of a session's partitions, once in each session. The name or id never changes.
# Lifetime: the session holds a reference while it has partitions of the topic, and so does each fetch that needs the name.
cdef struct SessionTopic:
    int32_t references              # atomic
    int32_t number                  # its place in session.topics; this and the next under the session's lock
    int32_t partitions_count
    uint32_t hash
    bint by_id
    uint8_t topic_id[16]
    int32_t name_size
    char* name                      # behind the struct, in the same allocation


cdef struct SessionPartition:
    SessionTopic* topic             # NULL: this entry is free
    int32_t index
    uint32_t hash
    int32_t next                    # in the order of the response; free entries: next free one
    int32_t previous
    int32_t max_bytes
    int32_t current_leader_epoch
    int32_t last_fetched_epoch
    int64_t fetch_offset
    int64_t high_watermark          # as last sent; -1 puts the partition into the next response
    int64_t log_start_offset


# Purpose: one consumer's set of partitions. Threads: any reactor; fields below `mutex` are guarded by it.
# Lifetime: the cache holds one reference, and so does whoever works with it. Limits: what requests name.
cdef struct FetchSession:
    int32_t references              # atomic
    int32_t id
    bint by_id                      # topics by id (v13+), not by name
    int64_t created_ms
    int64_t used_ms                 # atomic: the cache reads it without the lock, `count` likewise
    int32_t count                   # of partitions
    pthread_mutex_t mutex
    int32_t epoch                   # the next request must carry it
    int32_t capacity
    SessionPartition* partitions
    int32_t first                   # order list
    int32_t last
    int32_t first_free
    HashTable partitions_table      # places in `partitions`
    int32_t topics_count
    int32_t topics_capacity
    SessionTopic** topics           # in no order
    HashTable topics_table          # places in `topics`


# Empty, epoch 1, one reference; NULL without memory.
cdef FetchSession* session_new(bint by_id, int64_t now_ms) noexcept nogil
cdef void session_release(FetchSession* session) noexcept nogil
cdef void topic_release(SessionTopic* topic) noexcept nogil

cdef void session_lock(FetchSession* session) noexcept nogil
cdef void session_unlock(FetchSession* session) noexcept nogil
# All below: with its lock held.
# The session's topic of that name or id; NULL unknown.
cdef SessionTopic* session_find_topic(FetchSession* session, TopicKey* key) noexcept nogil
# The same, made when it is new; NULL without memory. A partition of it must follow.
cdef SessionTopic* session_topic(FetchSession* session, TopicKey* key) noexcept nogil
# The entry of a partition, made (at the end of the order, nothing sent yet) when it is new; NULL without memory.
cdef SessionPartition* session_put(FetchSession* session, SessionTopic* topic, int32_t index) noexcept nogil
# Removes a partition if it is there. True: the topic had no other, and is gone as well.
cdef bint session_forget(FetchSession* session, SessionTopic* topic, int32_t index) noexcept nogil
cdef void session_move_last(FetchSession* session, int32_t entry) noexcept nogil


cdef inline int32_t session_next_epoch(int32_t epoch) noexcept nogil:
    return 1 if epoch == 0x7fffffff else epoch + 1


cdef inline void session_set(SessionPartition* partition, AskedPartition* asked) noexcept nogil:
    partition.current_leader_epoch = asked.current_leader_epoch
    partition.last_fetched_epoch = asked.last_fetched_epoch
    partition.fetch_offset = asked.fetch_offset
    partition.max_bytes = asked.max_bytes
