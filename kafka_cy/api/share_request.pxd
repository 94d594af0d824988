"""ShareFetch and ShareAcknowledge (KIP-932) while a reactor handles them, or while they wait; see share_request.pyx.

A ShareFetch passes through share_request.pyx (decodes it, finds the session and its partitions), share_changes.pyx (what its
acknowledgements change is stored), share_reading.pyx (reads the log and acquires records), share_fetch.pyx (waits) and
share_response.pyx. A ShareAcknowledge does the same without records.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kafka_cy.api.fetch_cold cimport ColdWait
from kafka_cy.network.dispatch cimport Parked, Reactor, Request
from kafka_cy.records.wire cimport Reader
from kafka_cy.share.in_flight_acquire cimport AcquiredRows
from kafka_cy.share.in_flight_ranges cimport Change
from kafka_cy.share.session_data cimport SessionData
from kafka_cy.share.shared_records cimport SharedRecords
from kafka_cy.storage.log cimport ReadResult

cdef enum:
    SHARE_FETCH_KEY = 78
    SHARE_ACKNOWLEDGE_KEY = 79
    # What has more is the coordinator's work: a reactor's turn stays below a millisecond.
    SHARE_PARTITIONS_MAX = 256          # of a session
    SHARE_BATCHES_MAX = 20000           # of acknowledgements in a request
    SHARE_TYPES_MAX = 20000             # of their types: each may be a range of its own
    SHARE_BODY_BYTES_MAX = 1 << 20
    SHARE_READ_BYTES_MAX = 1 << 20      # of a partition at once, unless its first batch is larger: its headers are looked at

# The fields of a request. Borrows its body.
cdef struct ShareHeader:
    const char* group
    int32_t group_size
    const char* member
    int32_t member_size
    int32_t epoch
    int32_t max_wait_ms
    int32_t max_bytes
    int32_t max_records
    int32_t batch_size
    bint strict                         # no more records than max_records (KIP-1206)
    Reader topics                       # where the array of topics begins
    int32_t named_count                 # partitions
    int32_t batches_count               # acknowledgements, of all partitions

# A partition of the session, or of a ShareAcknowledge.
cdef struct ShareItem:
    SharedRecords* records              # one reference
    uint8_t topic_id[16]
    int32_t index
    bint acknowledges                   # the request has acknowledgements for it
    Change* change                      # what they change, before the coordinator has it; NULL: nothing
    bint is_stored                      # the coordinator has nothing of them
    int16_t acknowledge_error
    int16_t error
    int32_t topic_next                  # while the response is written: the next item of the same topic; -1: none
    bint acquirable                     # the last reading could lock records of it, if the log had any
    bint cold                           # the last reading found data, but not in memory
    int64_t cold_offset                 # what a job is to read then
    int64_t cold_limit
    AcquiredRows acquired
    ReadResult read                     # of the acquired records; holds a segment reference until sent or released
    const uint8_t* memory               # the same bytes, borrowed from `cold.kept`; NULL: they are in the segment

# Owner: the reactor of its connection. Lifetime: the handler call; if it waits, until its response is sent.
# Limits: SHARE_PARTITIONS_MAX items; its memory counts as memory of parked requests, or of the question.
cdef struct ShareWork:
    Parked parked                       # first field
    SessionData* session                # one reference
    bint is_fetch
    bint asking                         # the coordinator stores what it changes; the connection is held
    bint unusual                        # the next fetch has to go to the coordinator: this one does not wait
    int32_t max_bytes
    int32_t max_records
    int32_t batch_size
    bint strict
    int32_t max_wait_ms
    int32_t lock_ms                     # how long records are locked
    int32_t cold_count                  # items whose data is not in memory, as of the last reading
    ColdWait cold
    int64_t tries_ns                    # when it began to try to lock records (monotonic), the last time; 0: it did not yet
    int32_t acquirable                  # items that are
    int32_t batches_left                # of the log, that this turn may still look at
    int32_t rows_left                   # of acquired records, that this turn may still make
    int32_t count
    ShareItem* items                    # behind the struct, in the same allocation

# Decode a request, check that nothing about it is unusual, use up its epoch and begin what its acknowledgements change. `made` is
# set on HANDLED; otherwise nothing has changed, and the result is the handler's (FORWARD, HELD_BACK).
cdef int share_begin(Reactor* reactor, Request* request, ShareWork** made) noexcept nogil
cdef void share_free(ShareWork* work) noexcept nogil
cdef void share_release_reads(ShareWork* work) noexcept nogil
# Give what was acquired back: nobody was told.
cdef void share_give_back(ShareWork* work) noexcept nogil
