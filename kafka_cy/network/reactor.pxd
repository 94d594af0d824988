"""Reactor, connection and request as hot API handlers see them; behaviour in reactor.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint64_t

from kafka_cy.network.metadata_image cimport MetadataImage
from kafka_cy.records.compression cimport Codecs
from kafka_cy.records.wire cimport Writer
from kafka_cy.storage.log cimport Segment
from kafka_cy.storage.partition cimport Partition

cdef enum HandlerResult:
    HANDLED = 0         # answered, parked, or acks=0: nothing more to do
    FORWARD = 1         # give it to the Python control plane (nothing was answered)
    CLOSE = 2           # malformed: close the connection, log request.close_reason

cdef struct Connection      # reactor-private
cdef struct ResponseSlot    # place of one answer in a connection's order; reactor-private

cdef struct Reactor:        # the part that handlers use; owner: its own thread
    int32_t id
    Codecs* codecs
    Writer scratch          # emptied and used by one handler call at a time
    int64_t now_ms          # wall clock, once per loop
    int64_t now_ns          # monotonic, once per loop
    MetadataImage* image    # this loop's image; valid during the handler call
    void* private_state     # network's own

cdef struct Request:        # valid during the handler call only
    int16_t api_key
    int16_t api_version
    bint flexible
    int32_t correlation_id
    const char* client_id
    int32_t client_id_size  # -1 null
    uint8_t* body           # after the header; may be patched in place
    size_t body_size
    Connection* connection
    ResponseSlot* slot
    int32_t listener        # index into the image's listeners
    const char* close_reason   # static string

ctypedef int (*HotHandler)(Reactor* reactor, Request* request) noexcept nogil

cdef struct Parked

ctypedef int (*ParkedCheck)(Reactor* reactor, Parked* parked, bint expired) noexcept nogil  # 1: answered (then freed), 0: stay
ctypedef void (*ParkedFree)(Parked* parked) noexcept nogil

# A request that waits (long-poll Fetch, Produce for high watermark or flush). Handlers embed it as the FIRST field of
# their own malloc'ed struct. Owner: the connection's reactor, exactly one; answered once; freed through `free` when it
# was answered or its connection closed.
cdef struct Parked:
    Request request         # body pointer and client_id are NULL in here
    int64_t deadline_ns
    ParkedCheck check
    ParkedFree free
    void* private_state     # network's own

# -- for hot handlers (thread: the reactor's own) --
cdef void hot_handler_register(int16_t api_key, int16_t version_min, int16_t version_max, HotHandler handler) noexcept nogil
# Writer with the response header (size placeholder, correlation id, header v0/v1 by api: ApiVersions always v0) written.
cdef void response_begin(Request* request, Writer* w) noexcept nogil
# Completes the request's slot with w's bytes (takes w.data over, patches the size). Fails the connection on w.error.
cdef void response_send(Reactor* reactor, Request* request, Writer* w) noexcept nogil
# For Fetch: close the current memory piece and add a file piece (keeps the segment reference until sent); call between writes.
cdef void response_add_file(Request* request, Writer* w, Segment* segment, int32_t fd, int64_t position, int64_t size) noexcept nogil
cdef void response_none(Reactor* reactor, Request* request) noexcept nogil     # acks=0: give the slot back
# Park: register the wait on each partition with parked_watch (bits are set), then re-check, then park_start.
# parked_watch takes its own partition reference; duplicates are harmless. park_start arms the timer.
cdef int parked_watch(Reactor* reactor, Parked* parked, Partition* partition) noexcept nogil
cdef int park_start(Reactor* reactor, Parked* parked) noexcept nogil
cdef void request_log(Reactor* reactor, Request* request, int level, const char* what) noexcept nogil  # rate-limited event: who, api, what
