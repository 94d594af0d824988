"""A partition hosted by this broker: its log, leadership (epoch, ISR, high watermark) and the requests waiting on it.
See partition.pyx."""
from libc.stdint cimport int32_t, int64_t, uint64_t, uint8_t

from kafka_cy.base.atomics cimport atomic_load_pointer
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.records.batch cimport ValidBatch
from kafka_cy.storage.leader_replicas cimport LeaderReplicas
from kafka_cy.storage.log_struct cimport AppendOrigin, AppendResult, Log

cdef enum:
    REACTORS_MAX = 63
    CONTROL_WAITER = 63         # the control thread's bit in `waiters`
    TOPIC_NAME_BYTES_MAX = 249
    TRACED_BATCHES = 8

cdef enum PartitionState:
    PARTITION_ONLINE = 0        # this broker is the leader
    PARTITION_FOLLOWER = 1      # hosted here, led elsewhere
    PARTITION_OFFLINE = 2       # its log directory failed
    PARTITION_DELETED = 3

cdef enum:                      # bits of Partition.throttled
    THROTTLED_LEADER = 1        # leader.replication.throttled.replicas names this replica
    THROTTLED_FOLLOWER = 2      # follower.replication.throttled.replicas does

# Purpose: what Produce, Fetch and ListOffsets touch of a partition.
# Lifetime: reference counted (metadata image, parked requests, sessions, control plane); created and retired by the control
#   plane.
# Threads: fields marked (a) are atomics; the others never change after partition_new.
# Locks: none of its own. The leadership fields are changed with the append mutex of the current log, and an append checks them
#   with that mutex; (a) says that they may be read without it. A thread that waited for the mutex compares the log again.
cdef struct Partition:
    int32_t references          # (a)
    uint64_t waiters            # (a) bit r: reactor r has requests parked on this partition; or CONTROL_WAITER
    Log* log                    # (a) replaced with the old log's append mutex, when AlterReplicaLogDirs finishes
    # leadership
    int32_t state               # (a) PartitionState
    int32_t leader_epoch        # (a)
    int32_t leader_since_epoch  # (a) the epoch in which this broker began to lead; later epochs followed without a break
    int64_t high_watermark      # (a) everything below is committed; of a follower: as far as the leader has said so
    int64_t follower_lag        # (a) of a follower: the leader's high watermark minus the own end, as of the last fetch; -1 unknown
    LeaderReplicas replicas     # of the leader; its counts are (a)
    int32_t throttled           # (a) whether its replication has a quota (KIP-73): bits
    int32_t adding              # (a) a reassignment adds this replica
    int32_t isr_noted           # (a) it is in the list of isr_candidates
    Partition* isr_next         # of that list
    # identity
    int32_t index
    uint8_t topic_id[16]
    int32_t topic_size
    char topic[TOPIC_NAME_BYTES_MAX + 1]
    int64_t traced_last         # (a) 1 + base offset of the last traced batch; 0 none
    int64_t traced_count        # (a) total count
    int64_t traced[TRACED_BATCHES]  # (a) the latest traced base offsets, each plus 1
    void** parked               # [REACTORS_MAX] reactor-private list heads, created by network on first use
    int64_t bytes_out           # (a) counters for telemetry; the log counts appends
    int64_t fetch_requests      # (a)
    int64_t failed_fetch_requests       # (a)
    int64_t repeated_produce_requests   # (a) duplicates: nothing was appended, but Kafka counts them as received
    int64_t repeated_messages   # (a)
    int64_t repeated_bytes      # (a)
    int64_t refused_produce_requests    # (a) with an error
    int64_t failed_produce_requests     # (a) failures caused neither by the client nor by a leader change
    int64_t bytes_rejected      # (a) larger than max.message.bytes
    int64_t invalid_crc         # (a) batches
    int64_t invalid_offset_or_sequence  # (a)
    int64_t no_key              # (a) records
    Log** retired_logs          # replaced logs: a reactor may still be reading one; freed with the partition
    int32_t retired_logs_count

# Counters of a partition since it was opened, in the order of BrokerTopicMetrics as telemetry shows them.
cdef enum:
    COUNT_MESSAGES_IN = 0
    COUNT_BYTES_IN = 1
    COUNT_BYTES_OUT = 2
    COUNT_BYTES_REJECTED = 3
    COUNT_PRODUCE_REQUESTS = 4
    COUNT_FAILED_PRODUCE_REQUESTS = 5
    COUNT_FETCH_REQUESTS = 6
    COUNT_FAILED_FETCH_REQUESTS = 7
    TOPIC_COUNTS = 8                # the counters above are shown per topic, the others only summed over all topics
    COUNT_NO_KEY = 8
    COUNT_INVALID_CRC = 9
    COUNT_INVALID_OFFSET_OR_SEQUENCE = 10
    PARTITION_COUNTS = 11

cdef void partition_counts(Partition* partition, int64_t* counts) noexcept nogil     # fills PARTITION_COUNTS

cdef Partition* partition_new(
    Log* log, const char* topic, int32_t topic_size, const uint8_t* topic_id, int32_t index, int32_t leader_epoch,
    int64_t high_watermark
) noexcept nogil                        # one reference; takes its own to the log; NULL when out of memory
cdef Partition* partition_acquire(Partition* partition) noexcept nogil
cdef void partition_release(Partition* partition) noexcept nogil
# Append, advance the high watermark, wake the waiting reactors. `leader_epoch` -1: the current one. `all_replicas`
# (acks=all): refuse when fewer replicas than min.insync.replicas are in sync. Returns a StorageError.
cdef int partition_append(
    Partition* partition, ValidBatch* batch, int32_t leader_epoch, bint all_replicas, AppendOrigin origin, int64_t now_ms,
    AppendResult* result
) noexcept nogil
# Append for a coordinator, whose state is that of one leadership: the one that began with this epoch. Refuses when fewer replicas
# are in sync than min.insync.replicas, or than there are. A StorageError.
cdef int partition_append_since(
    Partition* partition, ValidBatch* batch, int32_t leader_since_epoch, AppendOrigin origin, int64_t now_ms,
    AppendResult* result
) noexcept nogil
cdef bint partition_has_enough_replicas(Partition* partition) noexcept nogil    # in sync, for acks=all
# Keep the records below `offset`; the high watermark is lowered to the log's end. A StorageError.
cdef int partition_truncate_to(Partition* partition, int64_t offset) noexcept nogil
# Remove all records; the log begins anew at `offset`, which is the high watermark then. A StorageError.
cdef int partition_truncate_fully(Partition* partition, int64_t offset) noexcept nogil
cdef int64_t partition_last_stable_offset(Partition* partition) noexcept nogil
# Check a client's current_leader_epoch (-1: none): STORAGE_OK, FENCED, UNKNOWN, NOT_LEADER, OFFLINE, DELETED.
cdef int partition_check_leader(Partition* partition, int32_t client_epoch) noexcept nogil
# Call after changing HW, LSO or the flushed offset, and after retiring the partition: takes the waiters mask and calls
# the hook for each reactor.
cdef void partition_wake(Partition* partition) noexcept nogil
# OpenTelemetry: the batch at `offset` was traced on append, so its fetches are traced too.
cdef void partition_remember_traced(Partition* partition, int64_t offset) noexcept nogil

ctypedef void (*wake_hook)(int reactor, Partition* partition) noexcept nogil
cdef void partition_set_wake_hook(wake_hook hook) noexcept nogil    # set once by network at startup
# Why the partition can take no role any more: STORAGE_OFFLINE, STORAGE_DELETED; else STORAGE_OK.
cdef int partition_role_error(Partition* partition) noexcept nogil
# Set ONLINE or FOLLOWER, unless the partition was retired meanwhile as offline or deleted, which stays.
cdef void partition_take_state(Partition* partition, int32_t state) noexcept nogil
# Stop appends with a PartitionState other than PARTITION_ONLINE.
cdef void partition_retire(Partition* partition, int32_t state) noexcept nogil
# Serve from another log. False when out of memory.
cdef bint partition_swap_log(Partition* partition, Log* log) noexcept nogil


cdef inline Log* partition_log(Partition* partition) noexcept nogil:
    """The log now; another one after a move (AlterReplicaLogDirs)."""
    return <Log*>atomic_load_pointer(<void**>&partition.log)


# -- for partition_leader and partition_follower --

# Advance the high watermark to what the replicas allow. True when it moved. With the append mutex.
cdef bint advance_high_watermark(Partition* partition, Log* log) noexcept nogil
cdef int64_t replica_clock_ms() noexcept nogil      # the clock of FollowerReplica's times: monotonic
cdef int64_t replica_lag_max_ms() noexcept nogil    # replica.lag.time.max.ms


cdef inline void unlock_log(Log* log) noexcept nogil:
    pthread_mutex_unlock(&log.append_mutex)


cdef inline Log* lock_log(Partition* partition) noexcept nogil:
    """Lock and return the current log: until unlock_log, leadership cannot change and the log cannot be replaced."""
    cdef Log* log = partition_log(partition)
    pthread_mutex_lock(&log.append_mutex)
    while log != partition_log(partition):    # it was moved while this thread waited
        unlock_log(log)
        log = partition_log(partition)
        pthread_mutex_lock(&log.append_mutex)
    return log
