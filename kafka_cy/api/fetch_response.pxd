"""Chooses what a Fetch response contains, and writes it; see fetch_response.pyx."""
from kafka_cy.api.fetch cimport Fetch
from kafka_cy.network.dispatch cimport Reactor, Request

# Writes the response of a fetch whose partitions have been read, and sends it. The response takes over the segments that it
# sends from.
cdef void fetch_respond(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil
