"""Fetches of data that is not in memory; see fetch_cold.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.api.fetch cimport Fetch
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.jobs cimport Job
from kafka_cy.network.dispatch cimport Reactor
from kafka_cy.storage.log cimport ReadResult
from kafka_cy.storage.partition cimport Partition

cdef enum:
    COLD_BYTES_MAX = 8 << 20        # of one job; the rest is read when the client asks for it again
    COLD_ROUNDS_MAX = 3             # then the reactor reads one piece itself: the page cache is too small to keep what jobs read

# What one partition of a fetch wants to read. Holds a partition reference.
cdef struct ColdRange:
    Partition* partition
    int64_t offset
    int64_t limit
    int64_t bytes_max
    bint first

# Purpose: reads what a fetch wants into the page cache. Owner: see Job. Lifetime: one read.
# Limits: one for each waiting fetch, whose connection handles no further request meanwhile. It reads at most COLD_BYTES_MAX
#   through a buffer of its thread. Its own memory counts as queued request bytes.
cdef struct ColdRead:
    Job job                         # first field
    Fetch* owner                    # NULL: the fetch was freed, or does not wait
    int32_t count
    ColdRange* ranges               # behind the struct, in the same allocation

# Return whether a piece that was looked up is in the page cache, as far as a cheap check shows.
cdef bint in_page_cache(const ReadResult* read) noexcept nogil
# Submits a job for the cold partitions of the last reading. The connection is held until the job ends. 1: no memory.
cdef int cold_read_start(Reactor* reactor, Fetch* fetch, Connection* connection) noexcept nogil
# The fetch does not wait: its job reads for the next fetch.
cdef void cold_read_leave(Fetch* fetch) noexcept nogil
# The fetch is freed: if its job has not started, it never does.
cdef void cold_read_cancel(Fetch* fetch) noexcept nogil
