"""Fetch sessions (KIP-227) in C memory: what each consumer asked for, so that requests contain only changes.

fetch_session.pyx contains one session, fetch_session_cache.pyx the sessions of the broker.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.api.fetch_request cimport AskedPartition
from kafka_cy.api.topic_key cimport TopicKey
from kafka_cy.base.atomics cimport atomic_load_i32, atomic_store_i32
from kafka_cy.base.hash_table cimport HashTable
from kafka_cy.base.posix cimport pthread_mutex_t
from kafka_cy.network.jobs cimport Job
from kafka_cy.network.principal cimport Principal


# A topic of a session's partitions, once in each session. Its name or id never changes.
# Lifetime: the session holds a reference while it has partitions of the topic, and so does each fetch that needs the name.
cdef struct SessionTopic:
    int32_t references              # atomic
    int32_t number                  # its place in session.topics; like the next field, under the session's lock
    int32_t partitions_count
    uint32_t hash
    bint by_id
    uint8_t topic_id[16]
    int32_t name_size
    char* name                      # behind the struct, in the same allocation


cdef struct SessionPartition:
    SessionTopic* topic             # NULL: the entry is free
    int32_t index
    uint32_t hash
    int32_t next                    # in the order of the response; of a free entry: the next free one
    int32_t previous
    int32_t max_bytes
    int32_t current_leader_epoch
    int32_t last_fetched_epoch
    int64_t fetch_offset
    int64_t start_offset            # of a follower's own log
    int32_t item                    # its place in the standing fetch of the session
    int64_t high_watermark          # as last sent; -1 puts the partition into the next response
    int64_t log_start_offset


# Purpose: one consumer's set of partitions. Threads: any reactor; fields below `mutex` are guarded by it.
# Lifetime: the cache holds one reference, and so does every fetch that works with it. A session that is not in the cache
#   yet needs no lock.
# Limits: session_set_limits.
cdef struct FetchSession:
    Job job                         # first field: frees a large session
    int32_t references              # atomic
    int32_t id
    bint by_id                      # topics by id (v13+), not by name
    Principal* principal            # whose it is, one reference; NULL: User:ANONYMOUS. Never changes
    int64_t created_ms
    int64_t used_ms                 # atomic: the cache reads it without the lock, `count` likewise
    int32_t count                   # of partitions
    int32_t epoch                   # atomic: the next request must carry it; SESSION_ENDED
    pthread_mutex_t mutex
    int64_t standing                # id of the standing fetch that knows all that the session contains; 0: none
    int64_t bytes                   # of all that it allocated; part of the memory of all sessions
    int32_t capacity
    SessionPartition* partitions
    int32_t first                   # of the list in the order of the response
    int32_t last
    int32_t first_free
    HashTable partitions_table      # places in `partitions`
    int32_t topics_count
    int32_t topics_capacity
    SessionTopic** topics           # in no order
    HashTable topics_table          # places in `topics`


cdef enum:
    SESSION_ENDED = 0               # an epoch that no incremental request carries

# Sets the limits: the partitions of one session, and the memory of all sessions, of which one session may use a quarter. Call
# it while no request is handled.
cdef void session_set_limits(int32_t partitions_max, int64_t bytes_max) noexcept nogil
cdef int64_t sessions_bytes() noexcept nogil        # the memory of all sessions
# Counts the memory of a standing fetch. These may have what sessions leave of half of that memory, and each of them as much as a
# session; else False.
cdef bint standing_charge(int64_t bytes) noexcept nogil
cdef void standing_uncharge(int64_t bytes) noexcept nogil

# An empty session of the principal with room for `count` partitions, epoch 1, one reference. NULL: beyond a limit, or no memory.
cdef FetchSession* session_new(Principal* principal, bint by_id, int32_t count, int64_t now_ms) noexcept nogil
cdef void session_release(FetchSession* session) noexcept nogil
cdef void topic_release(SessionTopic* topic) noexcept nogil

# Takes the session's lock unless another request has it. Reactors never wait for it.
cdef bint session_trylock(FetchSession* session) noexcept nogil
cdef void session_unlock(FetchSession* session) noexcept nogil
# All functions below: with the lock held.
# The session's topic of that name or id; NULL: unknown.
cdef SessionTopic* session_find_topic(FetchSession* session, TopicKey* key) noexcept nogil
# The same, but a new topic is added; NULL: beyond a limit, or no memory. A partition of it must follow.
cdef SessionTopic* session_topic(FetchSession* session, TopicKey* key) noexcept nogil
# The entry of a partition that the session contains, else NULL.
cdef SessionPartition* session_find(FetchSession* session, SessionTopic* topic, int32_t index) noexcept nogil
# The entry of a partition. A new one is added at the end of the order, with nothing sent yet. NULL: beyond a limit, or no
# memory. The caller then ends the session.
cdef SessionPartition* session_put(FetchSession* session, SessionTopic* topic, int32_t index) noexcept nogil
# Removes a partition if the session contains it. True: the topic had no other partition, and was removed as well.
cdef bint session_forget(FetchSession* session, SessionTopic* topic, int32_t index) noexcept nogil
cdef void session_move_last(FetchSession* session, int32_t entry) noexcept nogil


cdef inline int32_t session_epoch(FetchSession* session) noexcept nogil:
    return atomic_load_i32(&session.epoch)


cdef inline void session_set_epoch(FetchSession* session, int32_t epoch) noexcept nogil:
    atomic_store_i32(&session.epoch, epoch)


cdef inline int32_t session_next_epoch(int32_t epoch) noexcept nogil:
    return 1 if epoch == 0x7fffffff else epoch + 1


cdef inline void session_set(SessionPartition* partition, AskedPartition* asked) noexcept nogil:
    partition.current_leader_epoch = asked.current_leader_epoch
    partition.last_fetched_epoch = asked.last_fetched_epoch
    partition.fetch_offset = asked.fetch_offset
    partition.max_bytes = asked.max_bytes
    partition.start_offset = asked.start_offset
