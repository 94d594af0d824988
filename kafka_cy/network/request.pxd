"""Types of the network layer that hot API handlers see. They are used through dispatch.pxd."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from kafka_cy.network.connection cimport Connection, ResponseSlot   # reactor-private; handlers only pass them on
from kafka_cy.network.counters cimport ApiCounters
from kafka_cy.network.metadata_image cimport MetadataImage
from kafka_cy.network.trace_events cimport Tracer
from kafka_cy.records.compression cimport Codecs
from kafka_cy.records.wire cimport Writer

cdef enum:
    RESPONSE_BYTES_MAX = 0x7fff0000     # fits into a frame's int32 size, with room for the header

cdef enum HandlerResult:
    HANDLED = 0         # nothing more to do: responded, parked, or acks=0
    FORWARD = 1         # pass it to the Python control plane (no response yet)
    CLOSE = 2           # malformed: close the connection and log request.close_reason
    HELD_BACK = 3       # nothing was done; it is handled again when there is room (job_hold_back)

cdef struct Reactor:        # the part handlers use; owner: its own thread
    int32_t id
    Codecs* codecs
    Writer scratch          # cleared for and used by one handler call at a time
    int64_t unpack_bytes    # what handlers may still decompress in this loop; the rest is for jobs
    int64_t now_ms          # wall clock, once per loop
    int64_t now_ns          # monotonic, once per loop
    int64_t slow_append_ticks   # an append that takes longer is slow (storage/slow_disk)
    MetadataImage* image    # this loop's image; valid during the handler call
    Tracer* tracer          # NULL: tracing is off
    int64_t trace_countdown # requests until the next traced one; below 0: none
    uint32_t trace_random
    void* private_state     # internal to the network layer

cdef struct Request:        # valid during the handler call only
    int16_t api_key
    int16_t api_version
    bint flexible
    int32_t correlation_id
    const char* client_id
    int32_t client_id_size  # -1 null
    uint8_t* body           # after the header; may be patched in place
    size_t body_size
    size_t size             # of the whole frame, without its size field
    Connection* connection
    ResponseSlot* slot
    ApiCounters* api        # where it is counted
    int32_t listener        # index into the image's listeners
    const char* close_reason   # static string

ctypedef int (*HotHandler)(Reactor* reactor, Request* request) noexcept nogil

cdef struct Parked

ctypedef int (*ParkedCheck)(Reactor* reactor, Parked* parked, bint expired) noexcept nogil  # 1: answered (then freed), 0: wait on
ctypedef void (*ParkedFree)(Parked* parked) noexcept nogil

# A request that waits (long-poll Fetch, Produce for high watermark or flush). Handlers embed it as the FIRST field of
# their own malloc'ed struct. Owner: exactly one reactor, the connection's. It is answered once, and freed through `free`
# after the response or when its connection closes.
cdef struct Parked:
    Request request         # its body pointer and client_id are NULL
    int64_t deadline_ns
    ParkedCheck check
    ParkedFree free
    void* private_state     # internal to the network layer
