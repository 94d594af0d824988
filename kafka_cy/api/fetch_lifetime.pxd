"""Memory of a Fetch; see fetch_lifetime.pyx."""
from libc.stdint cimport int32_t

from kafka_cy.api.fetch cimport Fetch
from kafka_cy.network.dispatch cimport Reactor

# A fetch with room for `count` partitions. Only the struct itself is cleared. NULL: no memory.
cdef Fetch* fetch_new(Reactor* reactor, int32_t count) noexcept nogil
cdef void fetch_release_reads(Fetch* fetch) noexcept nogil      # the segments that the last reading found
cdef void fetch_clear(Fetch* fetch) noexcept nogil              # releases everything that it holds
cdef void fetch_free(Reactor* reactor, Fetch* fetch) noexcept nogil     # without a reactor, its memory is not used again
