"""One Fetch while it is handled or waits.

A Fetch passes through fetch_request.pxd (decodes the request), fetch_partitions.pyx (lists the partitions), fetch.pyx (reads and
waits), fetch_cold.pyx (data that is not in memory) and fetch_response.pyx.
"""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t

from kafka_cy.api.fetch_cold cimport ColdRead
from kafka_cy.api.fetch_session cimport FetchSession, SessionTopic
from kafka_cy.api.leader_hints cimport Leaders
from kafka_cy.api.topic_key cimport TopicKey
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.dispatch cimport Parked
from kafka_cy.storage.log cimport ReadResult
from kafka_cy.storage.partition cimport Partition


cdef enum:
    READ_COMMITTED = 1              # isolation level


# One partition of a fetch: what the client asked for, and what the last reading found.
cdef struct FetchItem:
    TopicKey key                    # borrows from the body, the image, the partition (parked) or `session_topic`
    SessionTopic* session_topic     # one reference if the key borrows its name; else NULL
    uint8_t topic_id[16]            # what key.topic_id points to
    int32_t index
    int32_t session_entry           # its place in the session; -1: none
    Partition* partition            # NULL: not hosted; a reference is held while parked
    int16_t missing_error           # why `partition` is NULL
    int32_t leader                  # what the metadata image says
    int32_t leader_epoch
    int32_t current_leader_epoch    # of the client; -1: none
    int32_t last_fetched_epoch
    int64_t fetch_offset
    int32_t max_bytes
    int16_t error
    int64_t high_watermark
    int64_t last_stable_offset
    int64_t log_start_offset
    int64_t read_limit              # the first offset that the reader may not see
    int32_t diverging_epoch
    int64_t diverging_end_offset
    bint diverging
    bint send                       # is part of the response
    bint cold                       # the last reading found data, but not in memory
    ReadResult read                 # holds a segment reference until sent or released


# Owner: the reactor of its connection. Lifetime: the handler call; if the fetch waits, until its response is sent.
cdef struct Fetch:
    Parked parked                   # first field
    int16_t version
    bint flexible
    bint by_id
    int32_t replica_id
    int32_t max_wait_ms
    int32_t min_bytes
    int32_t max_bytes
    int8_t isolation_level
    int32_t session_id              # of the request
    int32_t session_epoch
    FetchSession* session           # of an incremental fetch; one reference
    int32_t session_epoch_next      # what the session's epoch must still be when the response is written
    bint create_session
    int16_t error                   # top level
    bint holds_partitions
    bint failed                     # a partition has an error, or its log diverged: the response cannot wait
    int64_t bytes                   # found by the last reading
    int32_t cold_count              # likewise
    int32_t cold_rounds             # jobs that have read for it
    ColdRead* cold_read             # the job that reads for it now; NULL: none
    Connection* cold_connection     # held meanwhile
    int32_t count
    int32_t capacity
    FetchItem* items                # behind the struct, in the same allocation
    Leaders leaders


cdef inline void forget_offsets(FetchItem* item) noexcept nogil:
    item.high_watermark = -1
    item.last_stable_offset = -1
    item.log_start_offset = -1
