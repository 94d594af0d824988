"""The state of a Produce while it is processed or waits; code in produce.pyx, produce_waiting.pyx and produce_job.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kafka_cy.api.leader_hints cimport Leaders
from kafka_cy.api.named_partitions cimport NamedPartitions
from kafka_cy.network.connection cimport ResponseSlot
from kafka_cy.network.jobs cimport Job
from kafka_cy.network.dispatch cimport Parked, Reactor, Request
from kafka_cy.records.batch cimport BATCH_HEADER_SIZE, ProduceRules, ValidBatch
from kafka_cy.records.wire cimport Writer
from kafka_cy.storage.log cimport AppendResult
from kafka_cy.storage.partition cimport Partition

cdef enum:
    TOPIC_NOT_BEGUN = -2            # Produce.partition_at: no part of the topic is written yet

cdef struct SuspendedProduce

ctypedef void (*ProduceResume)(Reactor* reactor, Request* request, SuspendedProduce* suspended) noexcept nogil

# A partition whose response waits. Holds a partition reference while parked.
cdef struct Awaited:
    Partition* partition
    int64_t required_offset         # offset that the high watermark and/or the flushed offset must reach
    int32_t leader_epoch            # leader epoch with which the batch was appended
    size_t error_at                 # position of its error code in the response
    bint high_watermark             # acks=all
    bint flush
    bint done
    int16_t error                   # its error code in the response

# Purpose: a Produce that waits for replication or fsync. Owner: the reactor of its connection.
# Limits: its memory, with the response, counts as memory of parked requests (network/request_memory).
cdef struct ParkedProduce:
    Parked parked                   # first field
    Writer response
    int32_t count
    Awaited* awaited

# The result of a job for a batch. Owner: a ProduceJob.
cdef struct BatchOutcome:
    int error                       # of the validation: BatchError
    ValidBatch valid
    Partition* appended_to          # a job has tried to append it as well (a slow disk); NULL: none has. Then:
    int append_error                # StorageError
    AppendResult result

# One request while it is processed. Owner: one handler call, on its stack; or a SuspendedProduce.
cdef struct Produce:
    int16_t version
    bint flexible
    int16_t acks
    int32_t timeout_ms
    size_t request_size             # of the whole request
    bint internal_allowed
    int16_t denied                  # by ACLs: the error of the present topic, or of the whole request; 0: nothing is
    int32_t partitions_count
    int16_t error                   # first error of a partition (acks=0 closes on it)
    int32_t topic_at                # where it continues, in NamedPartitions
    int32_t partition_at
    int64_t budget                  # limit for this turn of the reactor, see produce_job.pyx
    BatchOutcome* outcome           # of the next partition's batch; NULL: no job has worked on it
    uint8_t[BATCH_HEADER_SIZE] header_as_sent   # of the batch that was validated last on the reactor, which patches it in place
    int32_t transactional_id_size   # -1: null
    int64_t transaction_producer_id     # of the first transactional batch; -1: there was none yet
    int16_t transaction_epoch
    int16_t* answers                # of the transaction coordinator, by place in NamedPartitions; NULL: it was not asked
    bint asks                       # it stopped to ask the coordinator, not for a job
    bint asks_again                 # once: about partitions that the coordinator has confirmed, and that have left its table since
    ProduceRules job_rules          # rules for a batch that needs a job
    Partition* job_appends_to       # a job is to append it; NULL: a job is to validate it, and the reactor appends
    Leaders leaders
    ParkedProduce* waiting          # NULL until a partition has to wait
    ResponseSlot* slot

# Purpose: a batch's validation, or its append to a slow disk, or both, on a job thread. Owner: see Job; then its SuspendedProduce.
# Lifetime: one job after the other uses it, until the request is answered or, if its connection closes, the job ends.
# Limits: one per connection. The body counts as queued request bytes; the topic bounds the decompressed size of a batch.
cdef struct ProduceJob:
    Job job                         # first field
    SuspendedProduce* owner         # NULL: the connection has closed
    bint running
    uint8_t* body                   # a copy of the request body
    size_t body_size
    uint8_t* records                # in `body`
    int32_t size
    int64_t now_ms
    int16_t version
    ProduceRules rules
    bint validates                  # False: an earlier job has validated the batch, and this one only appends
    Partition* partition            # to append to, one reference until the next batch; NULL: it only validates
    bint disk_became_slow           # with this append
    bint all_replicas               # acks=all
    Writer scratch
    BatchOutcome outcome

# Purpose: a Produce whose next batch a job is processing, or about which the transaction coordinator is asked. Its connection
# is held, so no later request overtakes it.
# Owner: the reactor of its connection.
cdef struct SuspendedProduce:
    Parked parked                   # first field
    Produce produce
    NamedPartitions named           # a copy
    Writer w                        # the response up to the batch
    ProduceJob* job
    bint keeps_outcome              # while the coordinator is asked: a job has validated the next batch
    int32_t asked_from              # the places that the open question is about, besides the one where the request stopped
    int32_t asked_to                # further ones were not looked at
    ProduceResume resume
