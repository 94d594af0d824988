"""Fetch as a follower sends it. See fetch_wire.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kafka_cy.records.wire cimport Reader, Writer
from kafka_cy.replication.followed cimport FollowedTable

cdef enum:
    FETCH_API_KEY = 1
    FETCH_VERSION_MIN = 11          # IBP 2.6
    FETCH_VERSION_MAX = 17          # IBP 3.9

cdef struct FetchSettings:
    int16_t version
    int32_t broker_id               # of this broker
    int64_t broker_epoch            # -1: unknown
    int32_t wait_max_ms             # replica.fetch.wait.max.ms
    int32_t bytes_min               # replica.fetch.min.bytes
    int32_t response_bytes_max      # replica.fetch.response.max.bytes
    int32_t partition_bytes_max     # replica.fetch.max.bytes
    int32_t session_id              # 0: a session begins
    int32_t session_epoch

# One partition of a response. Its bytes are the response's.
cdef struct FetchedPartition:
    const uint8_t* topic            # id or name
    int32_t topic_size
    int32_t index
    int16_t error
    int64_t high_watermark
    int64_t start_offset
    bint diverging
    int32_t diverging_epoch
    int64_t diverging_end_offset
    const uint8_t* records          # NULL: none
    int32_t records_size

ctypedef void (*fetched_hook)(void* context, const FetchedPartition* fetched) noexcept nogil

cdef struct FetchOutcome:
    int32_t throttle_ms
    int16_t error                   # of the whole request
    int32_t session_id              # 0: the leader keeps no session

# The body of the next request: the partitions that changed, and those that leave the session. Notes them as sent.
cdef void write_fetch(Writer* w, const FetchSettings* settings, FollowedTable* table) noexcept nogil
# Read a response; `hook` gets its partitions. The response's Reader has an error if it does not parse; the partitions before that
# were handled. Without `hook` it is read only.
cdef void read_fetched(
    Reader* r, int16_t version, FetchOutcome* outcome, fetched_hook hook, void* context
) noexcept nogil
