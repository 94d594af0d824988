"""What the native generator keeps of its connections; see native_load.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.bench.histogram cimport Histogram

cdef enum:
    CARRY_BYTES = 512               # of an answer's head or a batch's header, until the rest arrives
    TRACK_RING = 65536              # batches of one partition under way from producer to consumer
    ERROR_CODES = 256

cdef enum LoadKind:
    KIND_PRODUCE
    KIND_FETCH                      # from the first offset to the last, and again
    KIND_TAIL                       # long polls at the log's end; goes on while the others are drained
    KIND_OTHER

cdef enum LoadStatus:
    LOAD_READY
    LOAD_RUNNING
    LOAD_DONE
    LOAD_STOPPED                    # by stop()
    LOAD_CLOSED                     # the broker closed a connection
    LOAD_SILENT                     # no answer for answer_timeout_ns
    LOAD_CONFUSED                   # an answer that belongs to no request

cdef enum AnswerStage:
    STAGE_HEAD                      # length to error code and what else is looked at
    STAGE_BATCH                     # header of the next batch of a fetch
    STAGE_SKIP                      # bytes that are only counted

cdef struct Body:
    const uint8_t* data
    int64_t size
    int32_t records

# End-to-end: the intended times of the batches that one producer connection has sent to its partition. Batches of one
# connection are appended in order, so that the offset of a batch tells which one it is.
cdef struct Track:
    int64_t base_offset             # of batch 0
    int64_t sent
    int64_t seen
    int32_t records                 # in a batch
    int64_t intended_ns[TRACK_RING]

cdef struct Connection:
    int fd
    LoadKind kind
    int32_t depth                   # requests in flight at most
    uint32_t next_id                # correlation ids; requests in flight: next_id - answer_id
    uint32_t answer_id
    uint32_t ring_mask
    int64_t* started_ns             # by correlation id & ring_mask: intended send times
    int64_t tick                    # of the schedule, when paced

    uint8_t* head                   # request up to its body, patched for each request
    int64_t head_size
    int32_t partition_at
    int32_t offset_at
    int32_t* partitions             # taken in turn
    int32_t partitions_count
    int32_t partition_turn
    Body* bodies                    # taken in turn
    int32_t bodies_count
    int32_t body_turn
    int32_t answer_body_turn

    uint8_t* out                    # whole small requests, or the head of a large one whose body is `rest`
    int64_t out_capacity
    int64_t out_at
    int64_t out_size
    const uint8_t* rest
    int64_t rest_size

    AnswerStage stage
    int32_t error_at
    int32_t answer_head_size
    int64_t frame_left              # bytes of this answer that are not consumed yet
    int64_t skip_left
    int64_t answered_started_ns     # intended time of the request whose answer is read
    bint counted                    # it was sent in the measured time
    int32_t carry_size
    uint8_t carry[CARRY_BYTES]

    int64_t offset                  # of the next fetch
    int64_t first_offset
    int64_t end_offset              # high watermark of the last answer
    Track* track                    # owned by the load
