"""The fetch of a session with many partitions, which stays between requests; see fetch_standing.pyx."""
from libc.stdint cimport int32_t

from kafka_cy.api.fetch cimport Fetch, StandingFetch
from kafka_cy.api.fetch_request cimport FetchHeader
from kafka_cy.network.dispatch cimport Reactor, Request

# The standing fetch of the connection, if it can serve this request: changed by what the request says, with the partitions listed
# that may have something new. Else NULL, and the connection has no standing fetch, unless that one waits.
cdef Fetch* standing_take(Reactor* reactor, Request* request, FetchHeader* header, int32_t response_bytes_max) noexcept nogil
# Makes a fetch that was begun, but not read, a standing one if its session has many partitions. It may stay as it is.
cdef void standing_build(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil
# Lists the partitions that advanced since, in the order of the response. Before each reading.
cdef void standing_collect(StandingFetch* standing) noexcept nogil
# A request begins to wait: what is throttled does not end that, as in a fetch that does not stay.
cdef void standing_mute(StandingFetch* standing) noexcept nogil
# The request was answered, or its connection ended.
cdef void standing_rest(StandingFetch* standing) noexcept nogil
