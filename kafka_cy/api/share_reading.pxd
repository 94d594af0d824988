"""Reads a log for a share fetch, and acquires what was read; see share_reading.pyx."""
from kafka_cy.api.share_request cimport ShareWork
from kafka_cy.network.dispatch cimport Reactor

# Lock records of the session's partitions, one after the other, until the request has enough.
cdef void share_take(Reactor* reactor, ShareWork* work) noexcept nogil
# The fetch ends as it is after the last share_take; for the metrics of its group.
cdef void share_fetch_ended(ShareWork* work) noexcept nogil
# Whether anything was acquired, or a partition has an error.
cdef bint share_has_something(const ShareWork* work) noexcept nogil
