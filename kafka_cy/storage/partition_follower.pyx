"""Following (Kafka: Partition.appendRecordsToFollowerOrFutureReplica). The epoch is checked with the append mutex, so that what a
fetcher still has in its hands when the leader changes is refused."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_load_i32, atomic_store_i32, atomic_store_i64, atomic_sub_i32,
)
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.storage.leader_replicas cimport replicas_resign
from kafka_cy.storage.log_epochs cimport write_epochs
from kafka_cy.storage.log_failure cimport fail_log
from kafka_cy.storage.log_flush cimport log_flush, log_queue_flush
from kafka_cy.storage.log_follow cimport log_append_received_locked
from kafka_cy.storage.log_producers cimport log_forget_replicated
from kafka_cy.storage.log_retention cimport raise_start
from kafka_cy.storage.log_struct cimport (
    Log, log_check_state, log_config, log_end_offset, log_flushed_offset, log_start_offset,
)
from kafka_cy.storage.log_truncation cimport truncate_fully_locked
from kafka_cy.storage.partition cimport (
    PARTITION_FOLLOWER, lock_log, partition_log, partition_role_error, partition_take_state, partition_wake, unlock_log,
)
from kafka_cy.storage.storage_error cimport STORAGE_NOT_LEADER, STORAGE_OFFSET_OUT_OF_RANGE, STORAGE_OK


cdef int partition_become_follower(Partition* partition, int32_t leader_epoch) noexcept nogil:
    cdef Log* log = lock_log(partition)
    cdef int error = partition_role_error(partition)
    if error:
        unlock_log(log)
        return error
    replicas_resign(&partition.replicas)
    atomic_store_i64(&partition.follower_lag, -1)
    atomic_store_i32(&partition.leader_epoch, leader_epoch)
    partition_take_state(partition, PARTITION_FOLLOWER)
    unlock_log(log)
    partition_wake(partition)
    return STORAGE_OK


cdef void take_offsets(Partition* partition, Log* log, const LeaderOffsets* leader) noexcept nogil:
    """With the append mutex. The high watermark is the leader's as far as this log reaches; a new leader may know a lower one.
    The start follows the leader's, but not beyond the high watermark."""
    cdef int64_t offset = max(min(leader.high_watermark, log_end_offset(log)), log_start_offset(log))
    if offset != partition.high_watermark:
        atomic_store_i64(&partition.high_watermark, offset)
        log_forget_replicated(log, offset)
    if log_start_offset(log) < min(leader.start_offset, offset):
        raise_start(log, min(leader.start_offset, offset))


cdef int partition_append_received(
    Partition* partition, int32_t leader_epoch, int64_t fetch_offset, const uint8_t* data, Received* received,
    const LeaderOffsets* leader, int64_t now_ms
) noexcept nogil:
    cdef Log* log = lock_log(partition)
    cdef int64_t before = partition.high_watermark
    cdef int64_t start_before = log_start_offset(log)
    cdef int64_t interval = log_config(log).flush_interval_messages
    cdef int error = STORAGE_OK
    if atomic_load_i32(&partition.state) != PARTITION_FOLLOWER or partition.leader_epoch != leader_epoch:
        error = STORAGE_NOT_LEADER
    elif fetch_offset >= 0 and fetch_offset != log_end_offset(log):
        error = STORAGE_OFFSET_OUT_OF_RANGE     # cut meanwhile, or appended to: what was fetched does not follow
    if not error and received.batches > 0:
        error = log_append_received_locked(log, data, now_ms, received)
    if not error:
        take_offsets(partition, log, leader)
    unlock_log(log)
    if not error and received.batches > 0 and log_end_offset(log) - log_flushed_offset(log) >= interval:
        error = log_flush(log)          # before the next fetch tells the leader of these records
    elif received.rolled:
        log_queue_flush(log)
    if partition.high_watermark != before or log_start_offset(log) != start_before:
        partition_wake(partition)
    return error


cdef int partition_begin_below(Partition* partition, int32_t leader_epoch, int64_t offset) noexcept nogil:
    """Kafka: Partition.truncateFullyAndStartAt for an UnexpectedAppendOffsetException. A checkpoint with the recovery point before
    needs no change: it names an offset in the first segment all the same, so that a start scans everything."""
    cdef Log* log = partition_log(partition)
    cdef int error = STORAGE_OK
    cdef int failed = 0
    atomic_add_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.flush_mutex)
    atomic_sub_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.append_mutex)
    if log != partition_log(partition) or (
        atomic_load_i32(&partition.state) != PARTITION_FOLLOWER or partition.leader_epoch != leader_epoch
    ):
        error = STORAGE_NOT_LEADER
    elif log_end_offset(log) != log_start_offset(log) or offset >= log_start_offset(log):
        error = STORAGE_OFFSET_OUT_OF_RANGE
    else:
        error = log_check_state(log)
    if not error:
        failed = truncate_fully_locked(log, offset)
        atomic_store_i64(&partition.high_watermark, offset)
    if not failed and not error:
        failed = write_epochs(log)
    if failed:
        error = fail_log(log, failed)
    pthread_mutex_unlock(&log.append_mutex)
    pthread_mutex_unlock(&log.flush_mutex)
    partition_wake(partition)
    return error
