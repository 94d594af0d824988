"""The state of the native load generator: connections, what they send and read, and the load as a whole.

Owner: the thread that runs the load. Other threads may read the counters, `status` and the histogram, and set `stop`.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.bench.histogram cimport Histogram

cdef enum:
    CORRELATION_ID_AT = 8
    SMALL_REQUEST_BYTES = 4096      # requests up to this size are sent together
    RECEIVE_BYTES = 262144          # small enough to stay in the second-level cache
    CARRY_BYTES = 512               # room for the start of a response or batch header until its rest arrives
    TRACK_RING = 65536              # limit of the batches of one partition on their way from producer to consumer
    ERROR_CODES = 256

cdef enum LoadKind:
    KIND_PRODUCE
    KIND_FETCH                      # reads from the first offset to the last, repeatedly
    KIND_TAIL                       # long polls at the end of the log; continues while the others are drained
    KIND_OTHER

cdef enum LoadStatus:
    LOAD_READY
    LOAD_RUNNING
    LOAD_DONE
    LOAD_STOPPED                    # stop() was called
    LOAD_CLOSED                     # the broker closed a connection
    LOAD_SILENT                     # no response for response_timeout_ns
    LOAD_CONFUSED                   # a response that belongs to no request

cdef enum ResponseStage:
    STAGE_HEAD                      # from the length to the last field that is read
    STAGE_BATCH                     # the header of the next batch of a fetch
    STAGE_SKIP                      # bytes that are only counted

cdef struct Body:
    const uint8_t* data
    int64_t size
    int32_t records

# End-to-end: the intended times of the batches that a producer connection has sent to its partition. The broker appends
# the batches of one connection in order, so the offset of a batch identifies it. Owner: the producer connection.
cdef struct Track:
    int64_t base_offset             # offset of batch 0
    int64_t sent
    int64_t seen
    int32_t records                 # records per batch
    int64_t intended_ns[TRACK_RING]

# One connection. Owner: the load, which frees it. `data` of the bodies belongs to Python objects that the load keeps.
cdef struct Connection:
    int fd
    LoadKind kind
    int32_t depth                   # maximum of requests in flight
    uint32_t next_id                # correlation ids; requests in flight: next_id - response_id
    uint32_t response_id
    uint32_t ring_mask
    int64_t* started_ns             # intended send times, indexed by correlation id & ring_mask
    int64_t tick                    # the next tick of the schedule, when paced

    uint8_t* head                   # the request up to its body, patched for each request
    int64_t head_size
    int32_t partition_at
    int32_t offset_at
    int32_t* partitions             # taken in turn
    int32_t partitions_count
    int32_t partition_turn
    int64_t producer_id             # of idempotent batches; -1: none
    int16_t producer_epoch
    int32_t* sequences              # idempotent: the next one of each of `partitions`
    uint8_t* batch                  # idempotent: a copy of the body that is sent, with its sequence
    Body* bodies                    # taken in turn
    int32_t bodies_count
    int32_t body_turn
    int32_t response_body_turn

    uint8_t* out                    # complete small requests, or the head of a large one whose body is `rest`
    int64_t out_capacity
    int64_t out_at
    int64_t out_size
    const uint8_t* rest
    int64_t rest_size

    ResponseStage stage
    int32_t error_at
    int32_t response_head_size
    int64_t frame_left              # bytes of this response that are not consumed yet
    int64_t skip_left
    int64_t response_started_ns     # intended send time of the request whose response is being read
    bint counted                    # whether that request was due in the measured time
    int32_t carry_size
    uint8_t carry[CARRY_BYTES]

    int64_t offset                  # offset of the next fetch
    int64_t first_offset
    int64_t end_offset              # high watermark in the last response
    Track* track                    # end-to-end only; shared by a producer connection and its consumer

# The whole load.
cdef struct Load:
    Connection** connections
    int32_t connections_count
    Connection** paced              # the connections that follow the schedule
    int32_t paced_count
    int epoll_fd
    uint8_t* input                  # CARRY_BYTES, followed by RECEIVE_BYTES
    double step_ns                  # 0: a closed loop
    int64_t tick
    int64_t begin_ns
    int64_t measure_ns              # requests due from this time on are measured
    int64_t end_ns                  # no request is due from this time on
    int64_t drain_ns
    int64_t response_timeout_ns
    int64_t requests_max            # 0: no limit
    int64_t requests_started        # requests started in the measured time
    int64_t records_max             # fetched records; 0: no limit
    bint end_to_end                 # latencies are measured by the tracks
    int32_t stop
    int32_t status
    int64_t last_response_ns
    int64_t finished_ns
    int64_t cpu_begin_ns
    int64_t cpu_ns
    Histogram* histogram
    int64_t requests
    int64_t records
    int64_t bytes
    int64_t errors
    int64_t unanswered
    int64_t error_counts[ERROR_CODES]


cdef inline int64_t due_ns(const Load* load, int64_t tick) noexcept nogil:
    """The time at which the request of this tick is due."""
    return load.begin_ns + <int64_t>(<double>tick * load.step_ns)


cdef inline bint all_started(const Load* load) noexcept nogil:
    """Whether the limit of requests is reached."""
    return load.requests_max and load.requests_started >= load.requests_max
