"""One Fetch while it is handled or waits.

A Fetch passes through fetch_request.pxd (decodes the request), fetch_partitions.pyx (lists the partitions), fetch.pyx (reads and
waits), fetch_cold.pyx (data that is not in memory) and fetch_response.pyx.
"""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t

from kafka_cy.api.fetch_cold cimport ColdWait
from kafka_cy.api.fetch_session cimport FetchSession, SessionTopic
from kafka_cy.api.leader_hints cimport Leaders
from kafka_cy.api.topic_key cimport TopicKey
from kafka_cy.network.dispatch cimport Connection, Parked, Reactor
from kafka_cy.network.parked cimport SetWatch, WatchSet
from kafka_cy.storage.log cimport ReadResult
from kafka_cy.storage.partition cimport Partition
from kafka_cy.storage.partition_leader cimport FollowerFetched


cdef enum:
    READ_COMMITTED = 1              # isolation level

cdef enum ReplicaThrottle:          # whether leader.replication.throttled.rate is used up
    THROTTLE_NOT_ASKED = 0
    THROTTLE_OFF = 1
    THROTTLE_ON = 2


cdef struct StandingFetch

# One partition of a fetch: what the client asked for, and what the last reading found.
cdef struct FetchItem:
    FetchItem* next                 # of those that are read, in the order of the response
    TopicKey key                    # borrows from the body, the image, the partition (parked) or `session_topic`
    SessionTopic* session_topic     # one reference if the key borrows its name; else NULL
    uint8_t topic_id[16]            # what key.topic_id points to
    int32_t index
    int32_t session_entry           # its place in the session; -1: none
    Partition* partition            # NULL: not hosted; a reference is held while parked
    int16_t missing_error           # why `partition` is NULL: it is not here, or the ACLs deny it
    int32_t leader                  # what the metadata image says
    int32_t leader_epoch
    int32_t current_leader_epoch    # of the client; -1: none
    int32_t last_fetched_epoch
    int64_t fetch_offset
    int64_t start_offset            # of a follower's own log; -1: not said
    int32_t max_bytes
    int16_t error
    int64_t high_watermark
    int64_t last_stable_offset
    int64_t log_start_offset
    int64_t read_limit              # the first offset that the reader may not see
    int32_t diverging_epoch
    int64_t diverging_end_offset
    bint diverging
    int32_t preferred               # the broker that the client should ask instead; -1: this one
    bint send                       # is part of the response
    bint cold                       # the last reading found data, but not in memory, or a partition that was busy
    bint noted                      # what a follower reported is noted: later readings note nothing
    FollowerFetched found           # what noting it found: bits
    bint throttled                  # the last reading left out what it found, because of a quota of replication
    # -- of a standing fetch --
    bint listed                     # is among those that are read
    bint again                      # it changed since: the follower has to report again
    bint moved                      # was sent with records, and goes to the end of the order
    int64_t place                   # in that order
    int64_t counted                 # requests of the standing fetch that are counted for the partition
    ReadResult read                 # holds a segment reference until sent or released


# Owner: the reactor of its connection. Lifetime: the handler call; if the fetch waits, until its response is sent.
cdef struct Fetch:
    Parked parked                   # first field
    int16_t version
    bint flexible
    bint by_id
    int32_t replica_id
    int64_t replica_epoch           # broker epoch of a follower; -1: not said
    int64_t acls_generation         # of the ACLs that its partitions were looked up with; 0: there is no authorizer
    bint broker_denied              # it is no follower, whatever it says
    bint withholds                  # the ACLs have changed while it waited: the response has no partitions
    bint waited                     # for a busy partition of which a follower reported
    int32_t max_wait_ms
    int32_t min_bytes
    int32_t max_bytes
    int8_t isolation_level
    int32_t session_id              # of the request
    int32_t session_epoch
    FetchSession* session           # of an incremental fetch; one reference
    int32_t session_epoch_next      # what the session's epoch must still be when the response is written
    bint create_session
    bint session_changed            # the request added partitions to its session, or removed some
    int16_t error                   # top level
    bint holds_partitions
    bint failed                     # a partition has an error, or its log diverged: the response cannot wait
    int64_t bytes                   # found by the last reading
    int32_t cold_count              # likewise
    ReplicaThrottle throttle        # likewise
    ColdWait cold_wait
    int32_t* rack_brokers           # in the client's rack; the reactor's, while the request is handled
    int32_t rack_brokers_count      # 0: the client stays
    FetchItem* first                # of the partitions that are read: all, or those of a standing fetch that may have something new
    FetchItem* last
    StandingFetch* standing         # NULL: it is freed when it is answered
    bint chosen                     # the session has noted what was sent
    int32_t count
    int32_t capacity
    FetchItem* items                # behind the struct, in the same allocation
    Leaders leaders


# Purpose: the fetch of a session with many partitions, which stays when it is answered and serves the session's next request.
# Owner: the reactor of its connection. Lifetime: until the connection ends, the session or the metadata changes, or no request came
#   for a while. Limits: one for each connection; its memory counts as that of sessions (standing_charge).
cdef struct StandingFetch:
    WatchSet watches                # first field
    Reactor* reactor
    Connection* connection
    Fetch* fetch
    SetWatch* each                  # the watch of each item
    int64_t id
    int64_t image_version           # of the metadata in which the partitions were looked up
    int64_t bytes
    bint busy                       # a request is being handled, or waits
    bint unsorted                   # the items that are read are not in their order
    int64_t places                  # the last one of the order
    int64_t requests
    int64_t looked_ns               # until when items were looked at only because of the time; see look_at_some
    int32_t looked_at               # the next one


cdef inline void forget_offsets(FetchItem* item) noexcept nogil:
    item.high_watermark = -1
    item.last_stable_offset = -1
    item.log_start_offset = -1
