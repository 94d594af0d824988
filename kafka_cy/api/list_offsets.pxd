"""One ListOffsets while it is worked on or waits; behaviour in list_offsets.pyx and list_offsets_job.pyx."""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t

from kafka_cy.api.named_partitions cimport NamedPartitions
from kafka_cy.network.dispatch cimport Parked, Reactor, Request
from kafka_cy.network.jobs cimport Job
from kafka_cy.storage.partition cimport Partition

cdef enum:
    MAX_TIMESTAMP = -3              # KIP-734

# The request-level fields.
cdef struct ListOffsetsHeader:
    int16_t version
    bint flexible
    int32_t replica_id
    int8_t isolation_level
    bint by_time                    # a partition is to be looked up by time

# What was found for one partition; -1 each: nothing.
cdef struct FoundOffset:
    int16_t error
    int64_t timestamp_ms
    int64_t offset
    int32_t epoch

# One partition to look up by time. Holds a partition reference.
cdef struct TimeLookUp:
    Partition* partition
    int32_t number                  # in NamedPartitions
    int64_t timestamp_ms            # a time, or MAX_TIMESTAMP
    FoundOffset found               # set by the job

cdef struct SuspendedListOffsets

ctypedef void (*ListOffsetsResume)(Reactor* reactor, Request* request, SuspendedListOffsets* suspended) noexcept nogil

# Purpose: the look-ups by time of one request, on a job thread. Owner: see Job; afterwards its SuspendedListOffsets.
# Lifetime: until the request is answered or, when its connection closed, until the job has ended.
# Limits: one for each connection; one look-up for each hosted partition. It counts as queued request bytes.
cdef struct LookUpJob:
    Job job                         # first field
    SuspendedListOffsets* owner     # NULL: the connection closed
    bint running
    int32_t count
    int32_t next                    # the first look-up that is not made
    TimeLookUp* look_ups            # in the order of the response

# Purpose: a ListOffsets whose look-ups are with a job. Its connection is held: no later request overtakes it.
# Owner: the reactor of its connection.
cdef struct SuspendedListOffsets:
    Parked parked                   # first field
    ListOffsetsHeader header
    NamedPartitions named           # a copy
    uint8_t* body                   # a copy of the request's
    size_t body_size
    LookUpJob* job
    ListOffsetsResume resume
