"""What acknowledgements change is stored by the coordinator while the request waits; see share_changes.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.api.share_request cimport ShareItem, ShareWork
from kafka_cy.network.dispatch cimport Reactor
from kafka_cy.share.in_flight_acknowledge cimport Acknowledgement

# Begin what a member says about its records of one partition. Sets the item's error, or what is to be stored.
cdef void share_acknowledge_item(
    ShareItem* item, const char* member, int32_t member_size, const Acknowledgement* asked, int32_t count, int64_t now_ns
) noexcept nogil
# Whether something of the request is to be stored.
cdef bint share_changes_something(const ShareWork* work) noexcept nogil
# Undo what is to be stored, and was not handed over.
cdef void share_undo(ShareWork* work) noexcept nogil
# Ask the coordinator to store it. The request must be parked; its connection is held until it is checked again, once. Without
# memory everything is undone, and False is returned.
cdef bint share_store(Reactor* reactor, ShareWork* work) noexcept nogil
