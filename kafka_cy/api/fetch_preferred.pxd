"""Fetching from followers (KIP-392). See fetch_preferred.pyx."""
from libc.stdint cimport int32_t

from kafka_cy.api.fetch cimport Fetch, FetchItem
from kafka_cy.api.fetch_request cimport FetchHeader
from kafka_cy.network.dispatch cimport Reactor, Request
from kafka_cy.storage.partition cimport Partition

# Finds the brokers in the client's rack, for the readings of this call of the handler.
cdef void preferred_begin(Reactor* reactor, Request* request, FetchHeader* header, Fetch* fetch) noexcept nogil
# The broker that the client should ask; -1: this one. The partition is led here.
cdef int32_t preferred_replica(Fetch* fetch, FetchItem* item) noexcept nogil
# Whether this broker, which follows, answers the fetch as a replica.
cdef bint serves_as_follower(Fetch* fetch, Partition* partition) noexcept nogil
