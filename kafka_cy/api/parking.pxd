"""How Produce and Fetch wait: parked_init, parked_watch on each partition, then park."""
from libc.stdint cimport int64_t

from kafka_cy.network.dispatch cimport (
    CLOSE, HANDLED, Parked, ParkedCheck, ParkedFree, Reactor, Request, park_cancel, park_start,
)


cdef inline void parked_init(
    Parked* parked, Request* request, int64_t deadline_ns, ParkedCheck check, ParkedFree free
) noexcept nogil:
    """Keep the request, without the parts that it borrows from the connection's input."""
    parked.request = request[0]
    parked.request.body = NULL
    parked.request.body_size = 0
    parked.request.client_id = NULL
    parked.deadline_ns = deadline_ns
    parked.check = check
    parked.free = free
    parked.private_state = NULL


cdef inline int park(Reactor* reactor, Request* request, Parked* parked, bint watched, bint expired) noexcept nogil:
    """The handler's result. `watched`: all watches are set. Their events may have happened before, so it checks again."""
    if watched and parked.check(reactor, parked, expired):
        park_cancel(reactor, parked)
        return HANDLED
    if watched and park_start(reactor, parked) == 0:
        return HANDLED
    park_cancel(reactor, parked)
    request.close_reason = b"out of memory"
    return CLOSE
