"""Reactor, connection and request as hot API handlers see them; behaviour in dispatch.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kafka_cy.network.connection cimport Connection, ResponseSlot   # reactor-private; handlers only pass them on
from kafka_cy.network.counters cimport count_error
from kafka_cy.network.request cimport (
    CLOSE, FORWARD, HANDLED, HELD_BACK, HandlerResult, HotHandler, Parked, ParkedCheck, ParkedFree, Reactor, Request,
)
from kafka_cy.records.wire cimport Writer, write_int32
from kafka_cy.storage.log cimport Segment
from kafka_cy.storage.partition cimport Partition

cdef enum:
    PARKED_WATCH_BYTES = 48         # of one watch, with what malloc adds

# -- for hot handlers (on the reactor's thread) --
# Writer with the response header (size placeholder, correlation id, header v0/v1 by api: ApiVersions always v0) written.
cdef void response_begin(Request* request, Writer* w) noexcept nogil
# Writes throttle_time_ms of a response to a request without a byte quota: 0, or what response_send decides.
cdef inline void response_throttle_time(Request* request, Writer* w) noexcept nogil:
    request.slot.throttle_at = w.size
    write_int32(w, 0)
# Completes the request's slot with w's bytes (takes ownership of w.data, patches the size). Fails the connection on w.error.
cdef void response_send(Reactor* reactor, Request* request, Writer* w) noexcept nogil
# For Fetch: ends the current memory piece and adds a file piece (keeps the segment reference until sent); call between writes.
cdef void response_add_file(
    Request* request, Writer* w, Segment* segment, int32_t fd, int64_t position, int64_t size
) noexcept nogil
# Does what dispatch does on CLOSE, for a handler that continues after a job: earlier responses leave first.
cdef void request_close(Reactor* reactor, Request* request) noexcept nogil
cdef void response_none(Reactor* reactor, Request* request) noexcept nogil     # acks=0: release the slot
# Park: register the wait on each partition with parked_watch (bits are set), then re-check, then park_start.
# parked_watch takes its own partition reference; duplicates are harmless. park_start arms the timer.
cdef int parked_watch(Reactor* reactor, Parked* parked, Partition* partition) noexcept nogil
cdef int park_start(Reactor* reactor, Parked* parked) noexcept nogil
# Counts the memory of a request before it parks: its structs, and PARKED_WATCH_BYTES for each watch. False: parked requests
# hold too much; the handler then responds with what it has and calls park_cancel.
cdef bint park_reserve(Reactor* reactor, Parked* parked, int64_t bytes) noexcept nogil
# The same for a request that waits in any case, because it cannot be refused any more. While parked requests hold much, its
# connection handles no further request.
cdef void park_reserve_anyway(Reactor* reactor, Parked* parked, int64_t bytes) noexcept nogil
# Whether park_reserve will soon fail: parked requests use more than half of their share.
cdef bint park_is_crowded(Reactor* reactor) noexcept nogil
# For a request answered by the re-check between parked_watch and park_start: drops the watches, calls `free`.
cdef void park_cancel(Reactor* reactor, Parked* parked) noexcept nogil
# For a check that finds that the request needs a job, but its connection is held: it is checked again when the hold ends.
cdef void park_until_unheld(Parked* parked) noexcept nogil
# Checks a parked request now; this may free it.
cdef void parked_recheck(Reactor* reactor, Parked* parked, bint expired) noexcept nogil
# Counts an error code of the response (0: success): once per partition, topic or group in it, as Kafka does.
cdef inline void request_error(Request* request, int error, int64_t times) noexcept nogil:
    count_error(request.api, error, times)

# Counts the request in another row than its API's (a follower's Fetch). If memory is short, the row does not change.
cdef void request_count_as(Reactor* reactor, Request* request, int row) noexcept nogil
# One log line for the operator, not about a connection.
cdef void reactor_log(Reactor* reactor, int level, int api_key, const char* message) noexcept nogil
# Records the software that a client named in ApiVersions.
cdef void request_software(
    Reactor* reactor, Request* request, const char* name, int32_t name_size, const char* version, int32_t version_size
) noexcept nogil

# -- internal to the network layer --
# Handles one whole frame (without its size field) in place. False: not handled, the connection was paused.
cdef bint reactor_dispatch(Reactor* reactor, Connection* connection, uint8_t* frame, size_t size) noexcept nogil
# The same for a bare token (SaslHandshake version 0).
cdef bint reactor_dispatch_token(Reactor* reactor, Connection* connection, uint8_t* token, size_t size) noexcept nogil
# Writes what precedes a response body: size placeholder, correlation id, header tags.
cdef int response_header_size(int16_t api_key, bint flexible) noexcept nogil
cdef void response_header_write(uint8_t* data, int16_t api_key, bint flexible, int32_t correlation_id, size_t size) noexcept nogil
