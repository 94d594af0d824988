"""Share sessions in C memory (KIP-932): which partitions a member of a share group reads, kept between its requests.

Kafka: ShareSession, ShareSessionCache, ShareSessionContext.
"""
from libc.stdint cimport int32_t, uint8_t, uint32_t

from kafka_cy.base.hash_table cimport HashTable
from kafka_cy.base.posix cimport pthread_mutex_t
from kafka_cy.share.shared_records cimport SharedRecords

# A partition of a session.
cdef struct SessionPlace:
    uint8_t topic_id[16]
    int32_t index
    uint32_t hash
    int32_t next                # the one that was served longest ago comes first; of a free place: the next free one
    int32_t previous
    int32_t item                # its place in the request that was decoded last: a hint
    SharedRecords* records      # one reference; NULL: the coordinator has not found it yet

# Purpose: one member's session on this broker. Threads: coordinator (opens it, changes its partitions, ends it), reactors (use it).
# Locks: `mutex` guards all fields but the names; it is held while the records of its partitions are acquired, so that a session
#   that has ended acquires nothing.
# Lifetime: reference counted: the coordinator's handle, fetches. Limits: those of ShareSessions.
cdef struct SessionData:
    int32_t references          # (a)
    uint32_t hash               # of both names
    pthread_mutex_t mutex
    int32_t next_epoch
    bint ended
    int32_t count
    int32_t capacity
    SessionPlace* places
    int32_t first               # of the list in the order of service; -1: none
    int32_t last
    int32_t first_free
    HashTable table             # numbers of places
    int32_t group_size
    int32_t member_size
    char* group                 # behind the struct, in the same allocation
    char* member

cdef enum:
    SESSION_EPOCH_MAX = 0x7fffffff

# The member's session with a reference. NULL: it has none.
cdef SessionData* share_session_find(
    const char* group, int32_t group_size, const char* member, int32_t member_size
) noexcept nogil
cdef void share_session_release(SessionData* share_session) noexcept nogil
# A session with one reference, which reactors do not find yet. NULL: no memory.
cdef SessionData* share_session_new(
    const char* group, int32_t group_size, const char* member, int32_t member_size
) noexcept nogil
# Let reactors find it. False: no memory.
cdef bint share_session_open(SessionData* share_session) noexcept nogil
# Reactors do not find it any more; nothing happens if they did not.
cdef void share_session_close(SessionData* share_session) noexcept nogil
# All below: with the session's mutex.
# The partition's place; NULL: the session does not have it.
cdef SessionPlace* share_session_place(SessionData* share_session, const uint8_t* topic_id, int32_t index) noexcept nogil
# It got its turn: the others come first the next time.
cdef void share_session_served(SessionData* share_session, SessionPlace* place) noexcept nogil
# Use up the next epoch.
cdef void share_session_advance(SessionData* share_session) noexcept nogil
# Add a partition that it does not have. False: no memory.
cdef bint share_session_add(SessionData* share_session, const uint8_t* topic_id, int32_t index) noexcept nogil
# Both return the records that the place had, or NULL. The caller releases them without the mutex: that may close files.
cdef SharedRecords* share_session_remove(SessionData* share_session, SessionPlace* place) noexcept nogil
# Takes a reference to the records, which may be NULL.
cdef SharedRecords* share_session_set(SessionPlace* place, SharedRecords* records) noexcept nogil
