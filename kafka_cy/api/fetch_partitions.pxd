"""Lists the partitions that a fetch reads: those of the request, or those of its session; see fetch_partitions.pyx."""
from libc.stdint cimport int32_t

from kafka_cy.api.fetch cimport Fetch
from kafka_cy.api.fetch_request cimport FetchHeader
from kafka_cy.network.dispatch cimport Reactor, Request

# Fills the fetch from the (checked) request and its session. 1: no memory. `made` may be replaced by a larger fetch.
cdef int fetch_begin(
    Reactor* reactor, Request* request, FetchHeader* header, int32_t response_bytes_max, Fetch** made
) noexcept nogil
# Takes over what the request says besides its partitions.
cdef void fetch_set(
    Reactor* reactor, Request* request, FetchHeader* header, int32_t response_bytes_max, Fetch* fetch
) noexcept nogil
