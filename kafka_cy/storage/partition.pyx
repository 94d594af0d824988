"""Hosted partitions in C: leadership, appends and the high watermark, waking waiters. Python handle: hosted_partition.pyx."""
from libc.stdint cimport int32_t, int64_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_add_i64, atomic_add_relaxed_i64, atomic_cas_i32, atomic_exchange_u64, atomic_fence,
    atomic_load_i32, atomic_load_i64, atomic_load_relaxed_i64, atomic_load_seq_i64, atomic_store_i32, atomic_store_i64,
    atomic_store_pointer, atomic_sub_i32,
)
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.records.batch cimport ValidBatch
from kafka_cy.storage.log_append cimport log_append_locked
from kafka_cy.storage.log_epochs cimport log_assign_epoch_locked
from kafka_cy.storage.log_flush cimport log_queue_flush, log_remove_listener, log_set_listener
from kafka_cy.storage.log_lifetime cimport log_ref, log_unref
from kafka_cy.storage.log_move cimport log_take_counts
from kafka_cy.storage.log_producers cimport log_forget_replicated
from kafka_cy.storage.log_struct cimport (
    LOG_ONLINE, ORIGIN_REPLICATION, AppendOrigin, AppendResult, FlushListener, Log, LogConfig, log_config, log_end_offset,
    log_first_unstable_offset, log_flushed_offset, log_start_offset,
)
from kafka_cy.storage.log_truncation cimport log_truncate_to
from kafka_cy.storage.storage_error cimport (
    STORAGE_DELETED, STORAGE_FENCED_LEADER_EPOCH, STORAGE_NOT_ENOUGH_REPLICAS, STORAGE_NOT_LEADER, STORAGE_OFFLINE,
    STORAGE_OK, STORAGE_UNKNOWN_LEADER_EPOCH,
)

cdef wake_hook wake_reactor = NULL


cdef void partition_set_wake_hook(wake_hook hook) noexcept nogil:
    global wake_reactor
    wake_reactor = hook


cdef inline Log* lock_log(Partition* partition) noexcept nogil:
    """Lock and return the current log: until unlock_log, leadership cannot change and the log cannot be replaced."""
    cdef Log* log = partition_log(partition)
    pthread_mutex_lock(&log.append_mutex)
    while log != partition_log(partition):    # it was moved while this thread waited
        unlock_log(log)
        log = partition_log(partition)
        pthread_mutex_lock(&log.append_mutex)
    return log


cdef inline void unlock_log(Log* log) noexcept nogil:
    pthread_mutex_unlock(&log.append_mutex)


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
    partition.replicas_count = 1
    partition.isr_count = 1
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
    free(partition.followers)
    free(partition.parked)
    free(partition)


# -- leadership: call everything here with the append mutex, unless it says otherwise --


cdef inline int64_t own_offset(Log* log) noexcept nogil:
    """The leader's own end offset for the high watermark: with flush.messages=1 only what is on disk."""
    return log_flushed_offset(log) if log_config(log).flush_interval_messages == 1 else log_end_offset(log)


cdef inline bint advance_high_watermark(Partition* partition, Log* log) noexcept nogil:
    """Advance the high watermark to what the leader and all in-sync followers have. True when it moved."""
    cdef int64_t offset = own_offset(log)
    cdef int32_t i
    for i in range(partition.followers_count):
        if partition.followers[i].in_sync:
            offset = min(offset, partition.followers[i].end_offset)
    if offset <= partition.high_watermark or atomic_load_i32(&partition.state) != PARTITION_ONLINE:
        return False
    atomic_store_i64(&partition.high_watermark, offset)
    log_forget_replicated(log, offset)
    return True


cdef void on_flushed(void* context) noexcept nogil:
    """Called by the flusher, without the append mutex. The configuration may have changed since the waiting append."""
    cdef Partition* partition = <Partition*>context
    cdef Log* log = lock_log(partition)
    advance_high_watermark(partition, log)
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
    if all_replicas and partition.isr_count < config.min_insync_replicas:
        return STORAGE_NOT_ENOUGH_REPLICAS
    return STORAGE_OK


cdef int partition_append(
    Partition* partition, ValidBatch* batch, int32_t leader_epoch, bint all_replicas, AppendOrigin origin, int64_t now_ms,
    AppendResult* result
) noexcept nogil:
    cdef Log* log = lock_log(partition)
    cdef const LogConfig* config = log_config(log)
    cdef bint wakes = True
    cdef int error = check_append(partition, config, leader_epoch, all_replicas, origin)
    result.rolled = False
    if not error:
        result.leader_epoch = partition.leader_epoch
        error = log_append_locked(log, batch, result.leader_epoch, origin, now_ms, result)
    if not error and not result.duplicate:
        advance_high_watermark(partition, log)
        wakes = config.flush_interval_messages != 1 or partition.followers_count > 0
    unlock_log(log)
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
    if wakes:                   # otherwise nothing becomes visible before on_flushed, which wakes waiters
        partition_wake(partition)
    return STORAGE_OK


cdef bint partition_has_enough_replicas(Partition* partition) noexcept nogil:
    """Without the append mutex."""
    return atomic_load_i32(&partition.isr_count) >= log_config(partition_log(partition)).min_insync_replicas


cdef FollowerReplica* find_follower(Partition* partition, int32_t broker_id) noexcept nogil:
    cdef int32_t i
    for i in range(partition.followers_count):
        if partition.followers[i].broker_id == broker_id:
            return &partition.followers[i]
    return NULL


cdef bint partition_set_replicas(
    Partition* partition, const int32_t* followers, const bint* in_sync, int32_t count, int32_t isr_count
) noexcept nogil:
    """Without the append mutex."""
    cdef FollowerReplica* fresh = <FollowerReplica*>malloc(<size_t>(count + 1) * sizeof(FollowerReplica))
    cdef FollowerReplica* known
    cdef Log* log
    cdef bint moved
    cdef int32_t i
    if fresh == NULL:
        return False
    log = lock_log(partition)
    for i in range(count):
        known = find_follower(partition, followers[i])
        fresh[i].broker_id = followers[i]
        fresh[i].in_sync = in_sync[i]
        fresh[i].end_offset = known.end_offset if known != NULL else -1
    free(partition.followers)
    partition.followers = fresh
    atomic_store_i32(&partition.followers_count, count)
    atomic_store_i32(&partition.replicas_count, count + 1)
    atomic_store_i32(&partition.isr_count, isr_count)
    moved = advance_high_watermark(partition, log)
    unlock_log(log)
    if moved:
        partition_wake(partition)
    return True


cdef void partition_follower_fetched(Partition* partition, int32_t broker_id, int64_t end_offset) noexcept nogil:
    """Without the append mutex."""
    cdef Log* log = lock_log(partition)
    cdef FollowerReplica* follower = find_follower(partition, broker_id)
    cdef bint moved = False
    if follower != NULL and end_offset <= log_end_offset(log):
        follower.end_offset = end_offset
        moved = advance_high_watermark(partition, log)
    unlock_log(log)
    if moved:
        partition_wake(partition)


cdef int partition_become_leader(Partition* partition, int32_t leader_epoch) noexcept nogil:
    """Without the append mutex. A StorageError."""
    cdef Log* log = lock_log(partition)
    cdef int error = log_assign_epoch_locked(log, leader_epoch)
    cdef int32_t i
    if not error:
        if atomic_load_i32(&partition.state) != PARTITION_ONLINE:
            atomic_store_i32(&partition.leader_since_epoch, leader_epoch)
            for i in range(partition.followers_count):
                partition.followers[i].end_offset = -1      # from here on their fetches report their end offsets
        atomic_store_i32(&partition.leader_epoch, leader_epoch)
        atomic_store_i32(&partition.state, PARTITION_ONLINE)
        advance_high_watermark(partition, log)
    unlock_log(log)
    partition_wake(partition)
    return error


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
        stable = first_unstable
    return first_unreplicated if 0 <= first_unreplicated < stable else stable


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
    while waiting:
        if waiting & 1:
            wake_reactor(reactor, partition)
        waiting >>= 1
        reactor += 1


cdef void partition_remember_traced(Partition* partition, int64_t offset) noexcept nogil:
    cdef int64_t i = atomic_add_i64(&partition.traced_count, 1) - 1
    atomic_store_i64(&partition.traced[i % TRACED_BATCHES], offset + 1)
    atomic_store_i64(&partition.traced_last, offset + 1)
