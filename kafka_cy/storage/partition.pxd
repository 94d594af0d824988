"""A partition that this broker hosts: its log, its leadership (epoch, ISR, high watermark) and the requests that wait on it."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from kafka_cy.records.batch cimport ValidBatch
from kafka_cy.storage.log cimport AppendOrigin, AppendResult, Log, PartitionLog

cdef enum:
    REACTORS_MAX = 63
    CONTROL_WAITER = 63         # the control thread's bit in `waiters`
    TOPIC_NAME_BYTES_MAX = 249
    TRACED_BATCHES = 8

cdef enum PartitionState:
    PARTITION_ONLINE = 0        # leader here
    PARTITION_FOLLOWER = 1      # hosted, but led elsewhere
    PARTITION_OFFLINE = 2       # its log directory failed
    PARTITION_DELETED = 3

# Another broker's replica, as the leader knows it.
cdef struct FollowerReplica:
    int32_t broker_id
    bint in_sync                # a member of the ISR
    int64_t end_offset          # its log end offset as its last fetch says; -1 not known yet

# Purpose: what Produce, Fetch and ListOffsets touch of a partition.
# Lifetime: reference counted (metadata image, parked requests, sessions, control plane); created and retired by the control
#   plane.
# Threads: fields marked (a) are atomics; the others never change after partition_new.
# Locks: none of its own. The leadership fields are changed with the append mutex of the current log, and an append checks them
#   with that mutex; (a) says that they may be read without it. A thread that waited for the mutex compares the log again.
cdef struct Partition:
    int32_t references          # (a)
    uint64_t waiters            # (a) bit r: reactor r has requests parked on this partition; CONTROL_WAITER
    Log* log                    # (a) replaced, with the old one's append mutex, when AlterReplicaLogDirs finishes
    # leadership
    int32_t state               # (a) PartitionState
    int32_t leader_epoch        # (a)
    int32_t leader_since_epoch  # (a) the epoch in which this broker began to lead; later ones followed without a break
    int64_t high_watermark      # (a) follows the leader's end offset and those of the followers in sync
    FollowerReplica* followers
    int32_t followers_count     # (a)
    int32_t replicas_count      # (a)
    int32_t isr_count           # (a) the leader included
    # identity
    int32_t index
    uint8_t topic_id[16]
    int32_t topic_size
    char topic[TOPIC_NAME_BYTES_MAX + 1]
    int64_t traced_last         # (a) 1 + base offset of the batch that was traced last; 0 none
    int64_t traced_count        # (a) ever
    int64_t traced[TRACED_BATCHES]  # (a) the latest of them, each with 1 added
    void** parked               # [REACTORS_MAX] reactor-private list heads, made by network on first use
    int64_t bytes_out           # (a) counters for telemetry; what is appended is counted by the log
    int64_t fetch_requests      # (a)
    int64_t failed_fetch_requests       # (a)
    int64_t repeated_produce_requests   # (a) duplicates: nothing was appended, but Kafka counts what came
    int64_t repeated_messages   # (a)
    int64_t repeated_bytes      # (a)
    int64_t refused_produce_requests    # (a) with an error
    int64_t failed_produce_requests     # (a) refused ones that neither the client nor a change of leader explains
    int64_t bytes_rejected      # (a) larger than max.message.bytes
    int64_t invalid_crc         # (a) batches
    int64_t invalid_offset_or_sequence  # (a)
    int64_t no_key              # (a) records
    Log** retired_logs          # swapped-out logs: a reactor may still be reading one; freed with the partition
    int32_t retired_logs_count

# What a partition counted since it was opened, in the order of BrokerTopicMetrics as telemetry shows them.
cdef enum:
    COUNT_MESSAGES_IN = 0
    COUNT_BYTES_IN = 1
    COUNT_BYTES_OUT = 2
    COUNT_BYTES_REJECTED = 3
    COUNT_PRODUCE_REQUESTS = 4
    COUNT_FAILED_PRODUCE_REQUESTS = 5
    COUNT_FETCH_REQUESTS = 6
    COUNT_FAILED_FETCH_REQUESTS = 7
    TOPIC_COUNTS = 8                # those above are shown by topic, the others only for all topics together
    COUNT_NO_KEY = 8
    COUNT_INVALID_CRC = 9
    COUNT_INVALID_OFFSET_OR_SEQUENCE = 10
    PARTITION_COUNTS = 11

cdef void partition_counts(Partition* partition, int64_t* counts) noexcept nogil     # fills PARTITION_COUNTS

cdef Partition* partition_new(
    Log* log, const char* topic, int32_t topic_size, const uint8_t* topic_id, int32_t index, int32_t leader_epoch,
    int64_t high_watermark
) noexcept nogil                        # one reference; takes its own of the log; NULL without memory
cdef Partition* partition_acquire(Partition* partition) noexcept nogil
cdef void partition_release(Partition* partition) noexcept nogil
# Append, move the high watermark, wake the waiting reactors. `leader_epoch` -1: whatever is current. `all_replicas`: refuse
# when fewer replicas than min.insync.replicas are in sync (acks=all). Returns a StorageError.
cdef int partition_append(
    Partition* partition, ValidBatch* batch, int32_t leader_epoch, bint all_replicas, AppendOrigin origin, int64_t now_ms,
    AppendResult* result
) noexcept nogil
cdef bint partition_has_enough_replicas(Partition* partition) noexcept nogil    # in sync, for acks=all
# The followers by broker id, and whether each is in sync. What is known of their end offsets stays. False: no memory.
cdef bint partition_set_replicas(
    Partition* partition, const int32_t* followers, const bint* in_sync, int32_t count, int32_t isr_count
) noexcept nogil
# A follower fetched from `end_offset` on: it has everything below.
cdef void partition_follower_fetched(Partition* partition, int32_t broker_id, int64_t end_offset) noexcept nogil
# Keep what ends below `offset`; the high watermark comes down with the log's end. A StorageError.
cdef int partition_truncate_to(Partition* partition, int64_t offset) noexcept nogil
cdef int64_t partition_last_stable_offset(Partition* partition) noexcept nogil
# Check a client's current_leader_epoch (-1: none): STORAGE_OK, FENCED, UNKNOWN, NOT_LEADER, OFFLINE, DELETED.
cdef int partition_check_leader(Partition* partition, int32_t client_epoch) noexcept nogil
# Called by whoever moves HW/LSO/flushed offset or retires the partition: takes the waiters mask, calls the hook for each reactor.
cdef void partition_wake(Partition* partition) noexcept nogil
# OpenTelemetry: the batch at `offset` was traced when it was appended, so its fetches are, too.
cdef void partition_remember_traced(Partition* partition, int64_t offset) noexcept nogil

ctypedef void (*wake_hook)(int reactor, Partition* partition) noexcept nogil
cdef void partition_set_wake_hook(wake_hook hook) noexcept nogil    # set once by network at start


# Python's handle of a Partition (holds one reference). Created by storage.log_manager through storage.partition.
cdef class HostedPartition:
    cdef Partition* partition
    cdef readonly PartitionLog log
