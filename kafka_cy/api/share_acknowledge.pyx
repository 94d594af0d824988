"""ShareAcknowledge (key 79, KIP-932) of a session that exists: what a member has done with the records that it holds.

What is unusual is forwarded to the coordinator (share_request.pyx). The response leaves when everything is stored
(share_changes.pyx). v2 (KIP-1222): renewal of locks.
"""
from libc.stdint cimport int16_t, int64_t

from kafka_cy.api.parking cimport parked_init
from kafka_cy.api.share_changes cimport share_changes_something, share_store
from kafka_cy.api.share_request cimport SHARE_ACKNOWLEDGE_KEY, ShareItem, ShareWork, share_begin, share_free
from kafka_cy.api.share_response cimport share_acknowledge_respond
from kafka_cy.network.dispatch cimport (
    CLOSE, HANDLED, Parked, Reactor, Request, park_cancel, park_reserve_anyway, park_start, parked_recheck,
)
from kafka_cy.network.hot_handlers cimport hot_handler_register

cdef enum:
    STORED_TIMEOUT_MS = 3600000         # the coordinator's responses have no time limit either


cdef int check_parked(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    """ParkedCheck: responds when everything is stored, or could not be."""
    cdef ShareWork* work = <ShareWork*>parked
    if work.asking:
        return 0
    share_acknowledge_respond(reactor, &parked.request, work)
    return 1


cdef void free_parked(Parked* parked) noexcept nogil:
    share_free(<ShareWork*>parked)


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef ShareWork* work = NULL
    cdef int result = share_begin(reactor, request, &work)
    if work == NULL:
        return result
    if not share_changes_something(work):
        share_acknowledge_respond(reactor, request, work)
        share_free(work)
        return HANDLED
    parked_init(
        &work.parked, request, reactor.now_ns + <int64_t>STORED_TIMEOUT_MS * 1000000, check_parked, free_parked)
    park_reserve_anyway(
        reactor, &work.parked, <int64_t>sizeof(ShareWork) + work.count * <int64_t>sizeof(ShareItem))
    if park_start(reactor, &work.parked):
        park_cancel(reactor, &work.parked)
        request.close_reason = b"out of memory"
        return CLOSE
    if not share_store(reactor, work):
        parked_recheck(reactor, &work.parked, False)
    return HANDLED


def register(int16_t version_min, int16_t version_max) -> None:
    """Makes reactors handle acknowledgements that need no decision."""
    hot_handler_register(SHARE_ACKNOWLEDGE_KEY, version_min, version_max, handle)
