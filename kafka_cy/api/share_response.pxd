"""Writes the responses of ShareFetch and ShareAcknowledge; see share_response.pyx."""
from kafka_cy.api.share_request cimport ShareWork
from kafka_cy.network.dispatch cimport Reactor, Request

# Writes and sends the response to a fetch. It takes over the segments that it sends from.
cdef void share_fetch_respond(Reactor* reactor, Request* request, ShareWork* work) noexcept nogil
cdef void share_acknowledge_respond(Reactor* reactor, Request* request, ShareWork* work) noexcept nogil
