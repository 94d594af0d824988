"""Fetches of data that is not in memory; see fetch_cold.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.network.connection cimport Connection
from kafka_cy.network.jobs cimport Job
from kafka_cy.network.dispatch cimport Parked, Reactor
from kafka_cy.storage.log cimport ReadResult
from kafka_cy.storage.partition cimport Partition
from kafka_cy.storage.partition_leader cimport FollowerFetch, FollowerFetched

cdef enum:
    COLD_BYTES_MAX = 8 << 20        # of one job; the rest is read when the client asks for it again
    # Then the page cache is too small to keep what jobs read: the reactor of a Fetch reads one piece itself, a share fetch has one
    # more job, which keeps what it reads.
    COLD_ROUNDS_MAX = 3

# What one partition of a fetch wants to read. Holds a partition reference.
cdef struct ColdRange:
    Partition* partition
    int64_t offset
    int64_t limit
    int64_t bytes_max
    bint first
    bint notes                      # `report` of a follower is noted first: its partition was busy (partition_leader)
    FollowerFetch report
    FollowerFetched noted           # what that found
    FollowerFetched* found          # of the fetch, as long as it waits: gets it

# A piece that a job has kept in memory. Owner: its ColdRead, then the ColdWait of the fetch. Limit: queued.max.request.bytes while
# the job has it; the fetch copies it into its response, or frees it: it does not wait with it.
cdef struct KeptPiece:
    Partition* partition            # borrowed from the fetch
    uint8_t* data                   # malloc'ed; NULL: nothing was kept
    int64_t offset                  # where the log was looked up
    int64_t end_offset              # all of its records lie below
    int64_t position                # in its file
    int64_t size

cdef struct ColdRead

# How a fetch, or a share fetch, waits for such a job. Owner: the fetch.
cdef struct ColdWait:
    ColdRead* read                  # the job that reads for it now; NULL: none
    Connection* connection          # held meanwhile
    Parked* parked                  # is checked again when the job ends
    int32_t rounds                  # jobs that have read for it
    KeptPiece kept                  # by the last of them

# Purpose: reads what a fetch wants into the page cache. Owner: see Job. Lifetime: one read.
# Limits: one for each connection with a fetch that waits for it; the connection handles no further request meanwhile. It reads
#   at most COLD_BYTES_MAX through a buffer of its thread. Its own memory counts as queued request bytes.
cdef struct ColdRead:
    Job job                         # first field
    ColdWait* owner                 # NULL: the fetch was freed, or does not wait
    int32_t count
    ColdRange* ranges               # behind the struct, in the same allocation
    bint keeps                      # what it reads of the first range
    KeptPiece kept

# Return whether a piece that was looked up is in the page cache, as far as a cheap check shows.
cdef bint in_page_cache(const ReadResult* read) noexcept nogil
# A job with room for `count` ranges. NULL: no memory.
cdef ColdRead* cold_read_new(int32_t count) noexcept nogil
# Add a range to read, up to the count.
cdef void cold_read_add(ColdRead* work, Partition* partition, int64_t offset, int64_t limit, int64_t bytes_max) noexcept nogil
# The range that was added last: what a follower reported with it is noted before it is read. `found`: see ColdRange.
cdef void cold_read_note(ColdRead* work, const FollowerFetch* report, FollowerFetched* found) noexcept nogil
# The job keeps what it reads of its first range, at most `bytes_max` of it or one batch. Without memory nothing is kept.
cdef void cold_read_keep(ColdRead* work, int64_t bytes_max) noexcept nogil
cdef void cold_kept_free(ColdWait* wait) noexcept nogil
# Submits the job. The connection, which must not be held, is held until the job ends.
cdef void cold_read_submit(
    Reactor* reactor, ColdRead* work, ColdWait* wait, Parked* parked, Connection* connection
) noexcept nogil
# The fetch does not wait: its job reads for the next fetch.
cdef void cold_read_leave(ColdWait* wait) noexcept nogil
# The fetch is freed: if its job has not started, it never does.
cdef void cold_read_cancel(ColdWait* wait) noexcept nogil
