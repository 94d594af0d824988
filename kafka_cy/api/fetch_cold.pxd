"""Fetches of data that is not in memory; see fetch_cold.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.api.fetch cimport Fetch
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.jobs cimport Job
from kafka_cy.network.dispatch cimport Reactor
from kafka_cy.storage.log cimport ReadResult
from kafka_cy.storage.partition cimport Partition

cdef enum:
    COLD_BYTES_MAX = 8 << 20        # of one job; what is beyond is read when it is asked for again
    COLD_ROUNDS_MAX = 3             # then the reactor reads one piece itself: memory is too short to keep what jobs read

# What one partition of a fetch wants to read. Holds a partition reference.
cdef struct ColdRange:
    Partition* partition
    int64_t offset
    int64_t limit
    int64_t bytes_max
    bint first

# Purpose: reads what a fetch wants into the page cache. Owner: see Job. Lifetime: one read.
# Limits: one for each waiting fetch, whose connection handles no further request meanwhile; reads
#   COLD_BYTES_MAX at most, through a buffer of its thread.
cdef struct ColdRead:
    Job job                         # first field
    Fetch* owner                    # NULL: the fetch is gone, or does not wait
    int32_t count
    ColdRange* ranges               # behind the struct, in the same allocation

# Whether a piece that was looked up is in the page cache, as far as can be told cheaply.
cdef bint in_page_cache(const ReadResult* read) noexcept nogil
# Submits the cold partitions of the last reading; the connection is held until the job has ended. 0, or 1 without memory.
cdef int cold_read_start(Reactor* reactor, Fetch* fetch, Connection* connection) noexcept nogil
# The fetch does not wait: its job reads for the next one.
cdef void cold_read_leave(Fetch* fetch) noexcept nogil
# The fetch is freed: its job, if there is one, does not begin any more.
cdef void cold_read_cancel(Fetch* fetch) noexcept nogil
