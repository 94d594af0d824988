"""Hosted partitions in C: leadership, appends and the high watermark, waking waiters. Python handle: hosted_partition.pyx."""
from libc.stdint cimport int32_t, int64_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_add_i64, atomic_add_relaxed_i64, atomic_cas_i32, atomic_exchange_u64, atomic_fence,
    atomic_load_i32, atomic_load_i64, atomic_load_relaxed_i64, atomic_load_seq_i64, atomic_store_i32, atomic_store_i64,
    atomic_store_pointer, atomic_sub_i32,
)
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.records.batch cimport BatchHeader, ValidBatch
from kafka_cy.storage.leader_replicas cimport ReplicaRules, replicas_free, replicas_high_watermark
from kafka_cy.storage.log_append cimport log_append_locked
from kafka_cy.storage.log_flush cimport log_queue_flush, log_remove_listener, log_set_listener
from kafka_cy.storage.log_lifetime cimport log_ref, log_unref
from kafka_cy.storage.log_move cimport log_take_counts
from kafka_cy.storage.log_producers cimport log_forget_replicated
from kafka_cy.storage.log_struct cimport (
    LOG_ONLINE, ORIGIN_CLIENT, ORIGIN_REPLICATION, ORIGIN_TRANSACTION_V1, ORIGIN_TRANSACTION_V2, AppendOrigin, AppendResult,
    FlushListener, Log, LogConfig, log_config, log_end_offset, log_first_unstable_offset, log_flushed_offset, log_start_offset,
)
from kafka_cy.storage.log_truncation cimport log_truncate_fully, log_truncate_to
from kafka_cy.storage.producer_state cimport producers_check_transaction
from kafka_cy.storage.storage_error cimport (
    STORAGE_DELETED, STORAGE_FENCED_LEADER_EPOCH, STORAGE_NOT_ENOUGH_REPLICAS, STORAGE_NOT_IN_TRANSACTION, STORAGE_NOT_LEADER,
    STORAGE_OFFLINE, STORAGE_OK, STORAGE_OUT_OF_ORDER_SEQUENCE, STORAGE_UNKNOWN_LEADER_EPOCH,
)
from kafka_cy.storage.transaction_table cimport transaction_contains

cdef wake_hook wake_reactor = NULL
cdef int64_t lag_max_ms = 30000         # (a)
cdef int64_t control_wakes_count = 0    # (a)


def set_replica_lag_time_max_ms(int64_t ms):
    """Set replica.lag.time.max.ms of this process."""
    atomic_store_i64(&lag_max_ms, ms)


def control_wakes():
    """How often a partition has woken the control thread. It is counted before the wake."""
    return atomic_load_i64(&control_wakes_count)


cdef void partition_set_wake_hook(wake_hook hook) noexcept nogil:
    global wake_reactor
    wake_reactor = hook


cdef Partition* partition_new(
    Log* log, const char* topic, int32_t topic_size, const uint8_t* topic_id, int32_t index, int32_t leader_epoch,
    int64_t high_watermark
) noexcept nogil:
    cdef Partition* partition
    if topic_size > TOPIC_NAME_BYTES_MAX:
        return NULL
    partition = <Partition*>calloc(1, sizeof(Partition))
    if partition == NULL:
        return NULL
    partition.parked = <void**>calloc(REACTORS_MAX, sizeof(void*))
    if partition.parked == NULL:
        free(partition)
        return NULL
    partition.references = 1
    partition.state = PARTITION_ONLINE
    partition.leader_epoch = leader_epoch
    partition.leader_since_epoch = leader_epoch
    partition.replicas.isr_count = 1
    partition.follower_lag = -1
    partition.log = log_ref(log)
    partition.index = index
    partition.topic_size = topic_size
    memcpy(partition.topic, topic, <size_t>topic_size)
    memcpy(partition.topic_id, topic_id, 16)
    partition.high_watermark = min(max(high_watermark, log_start_offset(log)), log_end_offset(log))
    pthread_mutex_lock(&log.append_mutex)
    log_forget_replicated(log, partition.high_watermark)    # of the transactions that recovery found, most are stable
    pthread_mutex_unlock(&log.append_mutex)
    listen_to(partition, log)
    return partition


cdef void listen_to(Partition* partition, Log* log) noexcept nogil:
    cdef FlushListener listener
    listener.acquire = acquire_if_alive
    listener.flushed = on_flushed
    listener.context = partition
    log_set_listener(log, &listener)


cdef bint acquire_if_alive(void* context) noexcept nogil:
    """Take a reference; fails if the last one is gone and the partition is being freed."""
    cdef Partition* partition = <Partition*>context
    cdef int32_t references = atomic_load_i32(&partition.references)
    while references > 0:
        if atomic_cas_i32(&partition.references, references, references + 1):
            return True
        references = atomic_load_i32(&partition.references)
    return False


cdef void partition_counts(Partition* partition, int64_t* counts) noexcept nogil:
    cdef Log* log = partition_log(partition)
    cdef int64_t refused = atomic_load_relaxed_i64(&partition.refused_produce_requests)
    cdef int64_t repeated = atomic_load_relaxed_i64(&partition.repeated_produce_requests)
    counts[COUNT_MESSAGES_IN] = (
        atomic_load_relaxed_i64(&log.messages_in) + atomic_load_relaxed_i64(&partition.repeated_messages)
    )
    counts[COUNT_BYTES_IN] = atomic_load_relaxed_i64(&log.bytes_in) + atomic_load_relaxed_i64(&partition.repeated_bytes)
    counts[COUNT_BYTES_OUT] = atomic_load_relaxed_i64(&partition.bytes_out)
    counts[COUNT_BYTES_REJECTED] = atomic_load_relaxed_i64(&partition.bytes_rejected)
    counts[COUNT_PRODUCE_REQUESTS] = atomic_load_relaxed_i64(&log.batches_in) + repeated + refused
    counts[COUNT_FAILED_PRODUCE_REQUESTS] = atomic_load_relaxed_i64(&partition.failed_produce_requests)
    counts[COUNT_FETCH_REQUESTS] = atomic_load_relaxed_i64(&partition.fetch_requests)
    counts[COUNT_FAILED_FETCH_REQUESTS] = atomic_load_relaxed_i64(&partition.failed_fetch_requests)
    counts[COUNT_NO_KEY] = atomic_load_relaxed_i64(&partition.no_key)
    counts[COUNT_INVALID_CRC] = atomic_load_relaxed_i64(&partition.invalid_crc)
    counts[COUNT_INVALID_OFFSET_OR_SEQUENCE] = atomic_load_relaxed_i64(&partition.invalid_offset_or_sequence)


cdef Partition* partition_acquire(Partition* partition) noexcept nogil:
    atomic_add_i32(&partition.references, 1)
    return partition


cdef void partition_release(Partition* partition) noexcept nogil:
    cdef int32_t i
    if atomic_sub_i32(&partition.references, 1) > 0:
        return
    log_remove_listener(partition.log, partition)
    log_unref(partition.log)
    for i in range(partition.retired_logs_count):
        log_unref(partition.retired_logs[i])
    free(partition.retired_logs)
    replicas_free(&partition.replicas)
    free(partition.parked)
    free(partition)


# -- leadership: call everything here with the append mutex, unless it says otherwise --


cdef inline int64_t own_offset(Log* log) noexcept nogil:
    """The leader's own end offset for the high watermark: with flush.messages=1 only what is on disk."""
    return log_flushed_offset(log) if log_config(log).flush_interval_messages == 1 else log_end_offset(log)


cdef int64_t replica_clock_ms() noexcept nogil:
    return monotonic_ns() // 1000000


cdef int64_t replica_lag_max_ms() noexcept nogil:
    return atomic_load_i64(&lag_max_ms)


cdef int64_t allowed_by_replicas(Partition* partition, Log* log, int64_t offset) noexcept nogil:
    """How far the high watermark may go, not beyond `offset`; UNKNOWN_OFFSET: it must not move."""
    cdef ReplicaRules rules
    rules.lag_max_ms = replica_lag_max_ms()
    rules.isr_min = log_config(log).min_insync_replicas
    return replicas_high_watermark(&partition.replicas, &rules, offset, log_end_offset(log), replica_clock_ms())


cdef bint advance_high_watermark(Partition* partition, Log* log) noexcept nogil:
    return advance(partition, log)


cdef inline bint advance(Partition* partition, Log* log) noexcept nogil:
    cdef int64_t offset = own_offset(log)
    if partition.replicas.count > 0:
        offset = allowed_by_replicas(partition, log, offset)
    if offset <= partition.high_watermark or atomic_load_i32(&partition.state) != PARTITION_ONLINE:
        return False
    atomic_store_i64(&partition.high_watermark, offset)
    log_forget_replicated(log, offset)
    return True


cdef void on_flushed(void* context) noexcept nogil:
    """Called by the flusher, without the append mutex. The configuration may have changed since the waiting append."""
    cdef Partition* partition = <Partition*>context
    cdef Log* log = lock_log(partition)
    advance(partition, log)
    unlock_log(log)
    partition_wake(partition)
    partition_release(partition)


cdef inline int check_append(
    Partition* partition, const LogConfig* config, int32_t leader_epoch, bint all_replicas, AppendOrigin origin
) noexcept nogil:
    cdef int32_t state = atomic_load_i32(&partition.state)
    if state != PARTITION_ONLINE and not (state == PARTITION_FOLLOWER and origin == ORIGIN_REPLICATION):
        return state_error(state)
    if leader_epoch >= 0 and leader_epoch != partition.leader_epoch:
        return STORAGE_FENCED_LEADER_EPOCH if leader_epoch < partition.leader_epoch else STORAGE_UNKNOWN_LEADER_EPOCH
    if all_replicas and partition.replicas.isr_count < config.min_insync_replicas:
        return STORAGE_NOT_ENOUGH_REPLICAS
    return STORAGE_OK


cdef int check_transaction(
    Partition* partition, Log* log, const BatchHeader* header, AppendOrigin origin
) noexcept nogil:
    """Whether the batch of a client is part of a transaction that the coordinator will end here with a marker."""
    cdef bint begins_wrongly = False
    cdef int error = producers_check_transaction(&log.producers, header, origin == ORIGIN_TRANSACTION_V2, &begins_wrongly)
    if error != STORAGE_NOT_IN_TRANSACTION:
        return error
    if not transaction_contains(header.producer_id, header.producer_epoch, partition.topic_id, partition.index):
        return STORAGE_NOT_IN_TRANSACTION
    return STORAGE_OUT_OF_ORDER_SEQUENCE if begins_wrongly else STORAGE_OK


cdef int partition_append(
    Partition* partition, ValidBatch* batch, int32_t leader_epoch, bint all_replicas, AppendOrigin origin, int64_t now_ms,
    AppendResult* result
) noexcept nogil:
    cdef Log* log = lock_log(partition)
    cdef LogConfig config = log_config(log)
    cdef int error = check_append(partition, &config, leader_epoch, all_replicas, origin)
    result.rolled = False
    if not error:
        error = append_locked(partition, log, batch, origin, now_ms, result)
    unlock_log(log)
    return append_ended(partition, log, batch, error, result)


cdef int partition_append_since(
    Partition* partition, ValidBatch* batch, int32_t leader_since_epoch, AppendOrigin origin, int64_t now_ms,
    AppendResult* result
) noexcept nogil:
    cdef Log* log = lock_log(partition)
    cdef LogConfig config = log_config(log)
    cdef int error = check_append(partition, &config, -1, False, origin)
    result.rolled = False
    if not error and partition.leader_since_epoch != leader_since_epoch:
        error = STORAGE_NOT_LEADER
    if not error and partition.replicas.isr_count < min(config.min_insync_replicas, partition.replicas.count + 1):
        error = STORAGE_NOT_ENOUGH_REPLICAS
    if not error:
        error = append_locked(partition, log, batch, origin, now_ms, result)
    unlock_log(log)
    return append_ended(partition, log, batch, error, result)


cdef int append_locked(
    Partition* partition, Log* log, ValidBatch* batch, AppendOrigin origin, int64_t now_ms, AppendResult* result
) noexcept nogil:
    """With the append mutex, after the checks of leadership."""
    cdef int error = STORAGE_OK
    if origin >= ORIGIN_TRANSACTION_V1:
        error = check_transaction(partition, log, &batch.header, origin)
        origin = ORIGIN_CLIENT
    if not error:
        result.leader_epoch = partition.leader_epoch
        error = log_append_locked(log, batch, result.leader_epoch, origin, now_ms, result)
    if not error and not result.duplicate:
        advance(partition, log)
    return error


cdef int append_ended(
    Partition* partition, Log* log, ValidBatch* batch, int error, AppendResult* result
) noexcept nogil:
    """Without the append mutex: flushes and wakes."""
    cdef LogConfig config = log_config(log)
    if error:
        if result.rolled:
            log_queue_flush(log)
        return error
    if result.duplicate:
        atomic_add_relaxed_i64(&partition.repeated_produce_requests, 1)
        atomic_add_relaxed_i64(&partition.repeated_messages, batch.header.records_count)
        atomic_add_relaxed_i64(&partition.repeated_bytes, <int64_t>batch.size)
        if config.flush_interval_messages == 1 and log_flushed_offset(log) <= result.last_offset:
            log_queue_flush(log)
        return STORAGE_OK
    if result.rolled or result.last_offset + 1 - log_flushed_offset(log) >= config.flush_interval_messages:
        log_queue_flush(log)
    if config.flush_interval_messages != 1 or atomic_load_i32(&partition.replicas.count) > 0:
        # Otherwise nothing becomes visible before on_flushed, which wakes waiters.
        partition_wake(partition)
    return STORAGE_OK


cdef bint partition_has_enough_replicas(Partition* partition) noexcept nogil:
    """Without the append mutex."""
    return atomic_load_i32(&partition.replicas.isr_count) >= log_config(partition_log(partition)).min_insync_replicas


cdef void partition_retire(Partition* partition, int32_t state) noexcept nogil:
    """Without the append mutex. The state is set first, so that no new request waits for a disk that may hang. An
    append in progress is complete when this returns, unless the directory is offline: then it ends when the disk
    does."""
    cdef Log* log
    atomic_store_i32(&partition.state, state)
    if state != PARTITION_OFFLINE:
        log = lock_log(partition)
        unlock_log(log)
    partition_wake(partition)


cdef int partition_truncate_to(Partition* partition, int64_t offset) noexcept nogil:
    """Without the append mutex."""
    cdef Log* log = lock_log(partition)
    cdef int error
    if partition.high_watermark > offset:
        atomic_store_i64(&partition.high_watermark, offset)
    unlock_log(log)
    error = log_truncate_to(log, offset)
    log = lock_log(partition)
    log_forget_replicated(log, partition.high_watermark)    # of the transactions that the cut found again, most are stable
    unlock_log(log)
    partition_wake(partition)
    return error


cdef int partition_truncate_fully(Partition* partition, int64_t offset) noexcept nogil:
    """Without the append mutex."""
    cdef Log* log = lock_log(partition)
    cdef int error
    unlock_log(log)
    error = log_truncate_fully(log, offset)
    if not error:
        log = lock_log(partition)
        atomic_store_i64(&partition.high_watermark, offset)
        unlock_log(log)
    partition_wake(partition)
    return error


cdef bint partition_swap_log(Partition* partition, Log* log) noexcept nogil:
    """Without the append mutex. The current log is sealed, so both logs hold the same records. Threads waiting for the
    append mutex then find the new log. False when out of memory: nothing was changed."""
    cdef Log* old = partition_log(partition)
    cdef Log** grown = <Log**>realloc(
        partition.retired_logs, <size_t>(partition.retired_logs_count + 1) * sizeof(Log*))
    if grown == NULL:
        return False
    partition.retired_logs = grown
    grown[partition.retired_logs_count] = old
    partition.retired_logs_count += 1
    log_take_counts(log, old)
    pthread_mutex_lock(&old.append_mutex)
    log_remove_listener(old, partition)
    listen_to(partition, log)
    log_forget_replicated(log, partition.high_watermark)
    atomic_store_pointer(<void**>&partition.log, log_ref(log))
    pthread_mutex_unlock(&old.append_mutex)
    partition_wake(partition)
    return True


cdef int partition_role_error(Partition* partition) noexcept nogil:
    cdef int32_t state = atomic_load_i32(&partition.state)
    return state_error(state) if state == PARTITION_OFFLINE or state == PARTITION_DELETED else STORAGE_OK


cdef void partition_take_state(Partition* partition, int32_t state) noexcept nogil:
    cdef int32_t before = atomic_load_i32(&partition.state)
    while before != PARTITION_OFFLINE and before != PARTITION_DELETED:
        if atomic_cas_i32(&partition.state, before, state):
            return
        before = atomic_load_i32(&partition.state)


cdef int state_error(int32_t state) noexcept nogil:
    if state == PARTITION_ONLINE:
        return STORAGE_OK
    if state == PARTITION_OFFLINE:
        return STORAGE_OFFLINE
    return STORAGE_DELETED if state == PARTITION_DELETED else STORAGE_NOT_LEADER


cdef int64_t partition_last_stable_offset(Partition* partition) noexcept nogil:
    """Last stable offset, exclusive: the first offset of the oldest transaction that is open or whose marker is not yet
    replicated; otherwise the high watermark (Kafka's ProducerStateManager.firstUnstableOffset)."""
    cdef Log* log = partition_log(partition)
    cdef int64_t stable = atomic_load_i64(&partition.high_watermark)
    cdef int64_t first_unstable = log_first_unstable_offset(log)
    cdef int64_t first_unreplicated = atomic_load_i64(&log.first_unreplicated)
    if 0 <= first_unstable < stable:
        stable = max(first_unstable, log_start_offset(log))
    if 0 <= first_unreplicated < stable:
        stable = max(first_unreplicated, log_start_offset(log))
    return stable


cdef int partition_check_leader(Partition* partition, int32_t client_epoch) noexcept nogil:
    cdef int32_t state = atomic_load_i32(&partition.state)
    cdef int32_t epoch = atomic_load_i32(&partition.leader_epoch)
    if state == PARTITION_OFFLINE or state == PARTITION_DELETED:
        return state_error(state)
    if client_epoch >= 0 and client_epoch < epoch:
        return STORAGE_FENCED_LEADER_EPOCH
    if client_epoch >= 0 and client_epoch > epoch:
        return STORAGE_UNKNOWN_LEADER_EPOCH
    if state == PARTITION_ONLINE and atomic_load_i32(&partition_log(partition).state) != LOG_ONLINE:
        return STORAGE_OFFLINE
    return state_error(state)


cdef void partition_wake(Partition* partition) noexcept nogil:
    cdef uint64_t waiting
    cdef int reactor = 0
    atomic_fence()              # waiters set their bit, then check the offsets again; this side does the reverse
    if <uint64_t>atomic_load_seq_i64(<int64_t*>&partition.waiters) == 0 or wake_reactor == NULL:
        return
    waiting = atomic_exchange_u64(&partition.waiters, 0)
    if waiting >> CONTROL_WAITER:
        atomic_add_i64(&control_wakes_count, 1)
    while waiting:
        if waiting & 1:
            wake_reactor(reactor, partition)
        waiting >>= 1
        reactor += 1


cdef void partition_remember_traced(Partition* partition, int64_t offset) noexcept nogil:
    cdef int64_t i = atomic_add_i64(&partition.traced_count, 1) - 1
    atomic_store_i64(&partition.traced[i % TRACED_BATCHES], offset + 1)
    atomic_store_i64(&partition.traced_last, offset + 1)
