"""The partitions that one fetcher follows. See followed.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.base.hash_table cimport HashTable
from kafka_cy.storage.partition cimport Partition

cdef enum:
    FOLLOWED_MAX = 1000000          # partitions of one fetcher
    DELAYS = 7                      # different times that a partition may wait after an error

cdef enum FollowState:
    FOLLOW_FETCHING = 0
    FOLLOW_HELD = 1                 # an event tells Python, which resumes or removes it
    FOLLOW_DELAYED = 2              # after an error of the leader, until `due_ns`
    FOLLOW_THROTTLED = 3            # until the quota of replication allows it; see follower_throttle

cdef enum FollowList:               # a partition is in one of them at most
    IN_NO_LIST = 0
    IN_DIRTY = 1                    # differs from what the leader's fetch session has
    IN_THROTTLED = 2
    IN_DELAYED = 3                  # and more: of each delay, in the order of `due_ns`

# What a fetch says of a partition.
cdef struct FetchPosition:
    int64_t offset
    int64_t start_offset            # of the own log
    int32_t last_epoch              # of the last batch; -1: the log is empty
    int32_t leader_epoch

# Purpose: a partition that another broker leads, as its fetcher sees it. Owner: the fetcher's thread.
cdef struct Followed:
    Partition* partition            # one reference
    uint32_t hash
    int32_t state                   # FollowState
    int32_t list                    # FollowList
    Followed* next                  # of that list
    Followed* previous
    Followed* later                 # of FollowedTable.turns
    Followed* earlier
    int32_t place                   # in FollowedTable.all
    FetchPosition position          # of the next fetch
    FetchPosition sent              # what the leader's session has, while `in_session`
    bint in_session
    bint in_sync                    # it had everything below the leader's high watermark when it fetched last
    int64_t due_ns
    int32_t delays                  # after errors, since it fetched
    int16_t last_error              # that an event has told of; 0: it fetched since

cdef struct Followeds:              # a list
    Followed* first
    Followed* last

# Owner: the fetcher's thread; no locks.
cdef struct FollowedTable:
    Followed** all
    int32_t count
    int32_t capacity
    HashTable by_key                # topic id or name, and index -> place
    bint by_id
    Followeds turns                 # all; who waits for records longest comes first
    int32_t fetching                # how many are FOLLOW_FETCHING
    Followeds dirty
    Followeds throttled
    int64_t throttled_until_ns      # when the quota of replication is asked again; 0: it allows everything
    Followeds delayed[DELAYS]
    Partition** forgotten           # in the leader's session, but not followed any more; references
    int32_t forgotten_count
    int32_t forgotten_capacity

cdef void table_init(FollowedTable* table, bint by_id) noexcept nogil
cdef void table_clear(FollowedTable* table) noexcept nogil
# `topic`: 16 bytes of the id, or the name.
cdef Followed* table_find(FollowedTable* table, const uint8_t* topic, int32_t topic_size, int32_t index) noexcept nogil
cdef Followed* table_find_partition(FollowedTable* table, Partition* partition) noexcept nogil
# The entry of a partition, added if it is new; NULL: beyond the limit, or no memory.
cdef Followed* table_put(FollowedTable* table, Partition* partition) noexcept nogil
cdef void table_remove(FollowedTable* table, Followed* followed) noexcept nogil
# Read position and epochs from the log: the next fetch begins at its end.
cdef void followed_begin(FollowedTable* table, Followed* followed, int32_t leader_epoch) noexcept nogil
# The position may have changed: it is sent with the next fetch if it differs from what the session has.
cdef void followed_changed(FollowedTable* table, Followed* followed) noexcept nogil
# Stop fetching it until Python goes on.
cdef void followed_hold(FollowedTable* table, Followed* followed) noexcept nogil
# Stop fetching it until then: now and a time that is the same for all with this `delay` (below DELAYS).
cdef void followed_delay(FollowedTable* table, Followed* followed, int32_t delay, int64_t due_ns) noexcept nogil
# It got records: it has its next turn after all others.
cdef void followed_had_turn(FollowedTable* table, Followed* followed) noexcept nogil
# Stop fetching it until followed_unthrottle.
cdef void followed_throttle(FollowedTable* table, Followed* followed) noexcept nogil
cdef void followed_unthrottle(FollowedTable* table, Followed* followed) noexcept nogil
# Fetch those again whose time has come. When the next one is due; 0: none.
cdef int64_t table_release_delayed(FollowedTable* table, int64_t now_ns) noexcept nogil
# The leader's session is gone: everything has to be sent again.
cdef void table_forget_session(FollowedTable* table) noexcept nogil
cdef void list_remove(FollowedTable* table, Followed* followed) noexcept nogil
cdef void list_append(FollowedTable* table, Followed* followed, int32_t which) noexcept nogil
