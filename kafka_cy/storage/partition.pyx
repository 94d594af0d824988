"""Hosted partitions: append and advance the high watermark, wake who waits, the Python handle."""
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_add_i64, atomic_add_relaxed_i64, atomic_cas_i64, atomic_exchange_u64, atomic_fence,
    atomic_cas_i32, atomic_load_i32, atomic_load_i64, atomic_load_pointer, atomic_load_relaxed_i64, atomic_load_seq_i64,
    atomic_or_u64,
    atomic_store_i32, atomic_store_i64, atomic_store_pointer, atomic_sub_i32,
)
from kafka_cy.base.clock cimport wall_clock_ms
from kafka_cy.records.batch cimport BATCH_OK, LOG_OVERHEAD, ValidBatch, batch_header_read
from kafka_cy.storage.log cimport (
    LOG_ONLINE, ORIGIN_CLIENT, ORIGIN_COORDINATOR, ORIGIN_REPLICATION, STORAGE_DELETED, STORAGE_FENCED_LEADER_EPOCH,
    STORAGE_NOT_LEADER, STORAGE_OFFLINE, STORAGE_OK, STORAGE_UNKNOWN_LEADER_EPOCH, AppendOrigin, AppendResult, FlushListener,
    Log, PartitionLog, log_append, log_assign_epoch, log_config, log_end_offset, log_first_unstable_offset,
    log_flushed_offset, log_queue_flush, log_ref, log_remove_listener, log_set_listener, log_start_offset, log_take_counts,
    log_unref,
)

from kafka_cy.storage.log import STORAGE_ERROR_NAMES, StorageFailure

cdef wake_hook wake_reactor = NULL


cdef void partition_set_wake_hook(wake_hook hook) noexcept nogil:
    global wake_reactor
    wake_reactor = hook


cdef inline Log* current_log(Partition* partition) noexcept nogil:
    return <Log*>atomic_load_pointer(<void**>&partition.log)


cdef Partition* partition_new(
    Log* log, const char* topic, int32_t topic_size, const uint8_t* topic_id, int32_t index, int32_t leader_epoch,
    bint sole_replica
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
    partition.sole_replica = sole_replica
    partition.replicas_count = 1
    partition.isr_count = 1
    partition.log = log_ref(log)
    partition.index = index
    partition.topic_size = topic_size
    memcpy(partition.topic, topic, <size_t>topic_size)
    memcpy(partition.topic_id, topic_id, 16)
    partition.high_watermark = log_flushed_offset(log) if log_config(log).flush_interval_messages == 1 else log_end_offset(log)
    if not sole_replica:
        partition.high_watermark = log_start_offset(log)
    listen_to(partition, log)
    return partition


cdef void listen_to(Partition* partition, Log* log) noexcept nogil:
    cdef FlushListener listener
    listener.acquire = acquire_if_alive
    listener.flushed = on_flushed
    listener.context = partition
    log_set_listener(log, &listener)


cdef bint acquire_if_alive(void* context) noexcept nogil:
    """A reference, unless the last one is gone and the partition is being freed."""
    cdef Partition* partition = <Partition*>context
    cdef int32_t references = atomic_load_i32(&partition.references)
    while references > 0:
        if atomic_cas_i32(&partition.references, references, references + 1):
            return True
        references = atomic_load_i32(&partition.references)
    return False


cdef void partition_counts(Partition* partition, int64_t* counts) noexcept nogil:
    cdef Log* log = current_log(partition)
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
    free(partition.parked)
    free(partition)


cdef bint raise_high_watermark(Partition* partition, int64_t offset) noexcept nogil:
    """True when it moved. Sequentially consistent, so that the waiters mask is looked at after it."""
    cdef int64_t current = atomic_load_i64(&partition.high_watermark)
    while offset > current:
        if atomic_cas_i64(&partition.high_watermark, current, offset):
            return True
        current = atomic_load_i64(&partition.high_watermark)
    return False


cdef void on_flushed(void* context) noexcept nogil:
    """By the flusher: with flush_interval_messages = 1 only what is on disk may be seen."""
    cdef Partition* partition = <Partition*>context
    cdef Log* log = current_log(partition)
    if atomic_load_i32(&partition.sole_replica) and log_config(log).flush_interval_messages == 1:
        raise_high_watermark(partition, log_flushed_offset(log))
    partition_wake(partition)
    partition_release(partition)


cdef int partition_append(
    Partition* partition, ValidBatch* batch, int32_t leader_epoch, AppendOrigin origin, int64_t now_ms, AppendResult* result
) noexcept nogil:
    cdef Log* log = current_log(partition)
    cdef int32_t state = atomic_load_i32(&partition.state)
    cdef int32_t current_epoch = atomic_load_i32(&partition.leader_epoch)
    cdef int64_t messages_per_flush
    cdef int error
    if state != PARTITION_ONLINE and not (state == PARTITION_FOLLOWER and origin == ORIGIN_REPLICATION):
        return state_error(state)
    if leader_epoch < 0:
        leader_epoch = current_epoch
    elif leader_epoch != current_epoch:
        return STORAGE_FENCED_LEADER_EPOCH if leader_epoch < current_epoch else STORAGE_UNKNOWN_LEADER_EPOCH
    error = log_append(log, batch, leader_epoch, origin, now_ms, result)
    if error:
        return error
    messages_per_flush = log_config(log).flush_interval_messages
    if result.duplicate:
        atomic_add_relaxed_i64(&partition.repeated_produce_requests, 1)
        atomic_add_relaxed_i64(&partition.repeated_messages, batch.header.records_count)
        atomic_add_relaxed_i64(&partition.repeated_bytes, <int64_t>batch.size)
        if messages_per_flush == 1 and log_flushed_offset(log) <= result.last_offset:
            log_queue_flush(log)
        return STORAGE_OK
    if messages_per_flush != 1:
        if atomic_load_i32(&partition.sole_replica):
            raise_high_watermark(partition, result.last_offset + 1)
        if result.last_offset + 1 - log_flushed_offset(log) >= messages_per_flush:
            log_queue_flush(log)
    else:
        log_queue_flush(log)
        if atomic_load_i32(&partition.sole_replica):
            return STORAGE_OK       # on_flushed advances and wakes
    partition_wake(partition)
    return STORAGE_OK


cdef int state_error(int32_t state) noexcept nogil:
    if state == PARTITION_ONLINE:
        return STORAGE_OK
    if state == PARTITION_OFFLINE:
        return STORAGE_OFFLINE
    return STORAGE_DELETED if state == PARTITION_DELETED else STORAGE_NOT_LEADER


cdef int64_t partition_last_stable_offset(Partition* partition) noexcept nogil:
    """Exclusive: the first offset of the oldest open transaction, or the high watermark."""
    cdef int64_t high_watermark = atomic_load_i64(&partition.high_watermark)
    cdef int64_t first_unstable = log_first_unstable_offset(current_log(partition))
    return first_unstable if 0 <= first_unstable < high_watermark else high_watermark


cdef int partition_check_leader(Partition* partition, int32_t client_epoch) noexcept nogil:
    cdef int32_t state = atomic_load_i32(&partition.state)
    cdef int32_t epoch = atomic_load_i32(&partition.leader_epoch)
    if state == PARTITION_OFFLINE or state == PARTITION_DELETED:
        return state_error(state)
    if client_epoch >= 0 and client_epoch < epoch:
        return STORAGE_FENCED_LEADER_EPOCH
    if client_epoch >= 0 and client_epoch > epoch:
        return STORAGE_UNKNOWN_LEADER_EPOCH
    if state == PARTITION_ONLINE and atomic_load_i32(&current_log(partition).state) != LOG_ONLINE:
        return STORAGE_OFFLINE
    return state_error(state)


cdef void partition_wake(Partition* partition) noexcept nogil:
    cdef uint64_t waiting
    cdef int reactor = 0
    atomic_fence()              # whoever registers sets its bit, then looks at the offsets again; we the other way round
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


cdef bint swap_log(Partition* partition, Log* log) noexcept nogil:
    """False without memory: nothing was changed."""
    cdef Log* old = partition.log
    cdef Log** grown = <Log**>realloc(
        partition.retired_logs, <size_t>(partition.retired_logs_count + 1) * sizeof(Log*))
    if grown == NULL:
        return False
    partition.retired_logs = grown
    grown[partition.retired_logs_count] = old
    partition.retired_logs_count += 1
    log_take_counts(log, old)
    log_remove_listener(old, partition)
    listen_to(partition, log)
    atomic_store_pointer(<void**>&partition.log, log_ref(log))
    partition_wake(partition)
    return True


STATES = {"online": PARTITION_ONLINE, "follower": PARTITION_FOLLOWER, "offline": PARTITION_OFFLINE,
          "deleted": PARTITION_DELETED}
ORIGINS = {"client": ORIGIN_CLIENT, "coordinator": ORIGIN_COORDINATOR, "replication": ORIGIN_REPLICATION}


cdef class HostedPartition:
    """A partition this broker hosts. Owner: the control plane; hot handlers use the Partition behind it.

    `log` must be open; `topic_id` is 16 bytes. With `sole_replica` the high watermark follows the log by itself.
    """

    def __cinit__(self, PartitionLog log not None, str topic, topic_id, index, leader_epoch=0, sole_replica=True):
        cdef bytes name = topic.encode()
        cdef bytes raw_id = topic_id.bytes if hasattr(topic_id, "bytes") else bytes(topic_id)
        if len(raw_id) != 16:
            raise ValueError("a topic id has 16 bytes")
        cdef const char* raw_name = name
        cdef int32_t name_size = <int32_t>len(name)
        cdef const char* id_bytes = raw_id
        cdef int32_t number = index
        cdef int32_t epoch = leader_epoch
        cdef bint alone = sole_replica
        self.log = log
        with nogil:
            log_assign_epoch(log.log, epoch)
            self.partition = partition_new(log.log, raw_name, name_size, <const uint8_t*>id_bytes, number, epoch, alone)
        if self.partition == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.partition != NULL:
            with nogil:
                partition_release(self.partition)

    def append(self, data, origin="coordinator", leader_epoch=-1):
        """Append one batch; returns its base offset. Nothing of its records is validated."""
        cdef bytearray copy = bytearray(data)
        cdef ValidBatch batch
        cdef AppendResult result
        cdef AppendOrigin append_origin = ORIGINS[origin]
        cdef int32_t epoch = leader_epoch
        cdef int error
        batch.data = <uint8_t*>PyByteArray_AS_STRING(copy)
        batch.size = <size_t>len(copy)
        batch.bad_record_index = -1
        if batch_header_read(batch.data, batch.size, &batch.header) != BATCH_OK or \
                <size_t>(batch.header.length + LOG_OVERHEAD) != batch.size:
            raise ValueError("not exactly one record batch")
        batch.max_timestamp_offset_delta = batch.header.last_offset_delta
        with nogil:
            error = partition_append(self.partition, &batch, epoch, append_origin, wall_clock_ms(), &result)
        if error:
            raise StorageFailure(f"append to {self}: {STORAGE_ERROR_NAMES.get(error, error)}", error, self.log.failed_errno)
        return result.base_offset

    def read(self, offset, bytes_max=1 << 20):
        """Whole batches from `offset` on, below the high watermark; b"" at its end."""
        return self.log.read(offset, bytes_max, self.high_watermark)

    def retire(self, state):
        """No more appends: `state` is "deleted", "offline" or "follower". Whoever waits is woken and sees it."""
        atomic_store_i32(&self.partition.state, STATES[state])
        partition_wake(self.partition)

    def become_leader(self, leader_epoch):
        """Lead with a new epoch, which begins at the log's end."""
        cdef int32_t epoch = leader_epoch
        with nogil:
            log_assign_epoch(current_log(self.partition), epoch)
            atomic_store_i32(&self.partition.leader_epoch, epoch)
            atomic_store_i32(&self.partition.state, PARTITION_ONLINE)
            partition_wake(self.partition)

    def raise_high_watermark(self, offset):
        """Move the high watermark up to `offset` (bounded by the log's end) and wake waiters."""
        raise_high_watermark(self.partition, min(<int64_t>offset, log_end_offset(current_log(self.partition))))
        partition_wake(self.partition)

    def set_replicas(self, replicas_count, isr_count):
        """How many replicas the partition has, and how many of them are in sync: shown by the metrics."""
        atomic_store_i32(&self.partition.replicas_count, replicas_count)
        atomic_store_i32(&self.partition.isr_count, isr_count)

    def watch(self):
        """Have the control thread woken when the partition moves next; look at it again after this call."""
        atomic_or_u64(&self.partition.waiters, <uint64_t>1 << CONTROL_WAITER)

    def wake(self):
        """Look again, all who wait on this partition."""
        partition_wake(self.partition)

    def swap_log(self, PartitionLog log not None):
        """Serve from another log with the same records (AlterReplicaLogDirs); the old one is kept until the partition goes."""
        cdef bint done
        with nogil:
            done = swap_log(self.partition, log.log)
        if not done:
            raise MemoryError
        self.log = log

    def delete_records(self, offset):
        """Raise the log start offset; -1 means the high watermark. Returns the new low watermark."""
        return self.log.delete_records(self.high_watermark if offset == -1 else offset)

    @property
    def high_watermark(self):
        return atomic_load_i64(&self.partition.high_watermark)

    @property
    def last_stable_offset(self):
        return partition_last_stable_offset(self.partition)

    @property
    def log_start_offset(self):
        return log_start_offset(self.partition.log)

    @property
    def log_end_offset(self):
        return log_end_offset(self.partition.log)

    @property
    def leader_epoch(self):
        return atomic_load_i32(&self.partition.leader_epoch)

    @property
    def state(self):
        return atomic_load_i32(&self.partition.state)

    @property
    def topic(self):
        return self.partition.topic[:self.partition.topic_size].decode()

    @property
    def topic_id(self):
        return (<char*>self.partition.topic_id)[:16]

    @property
    def index(self):
        return self.partition.index

    def counts(self):
        """What it counted since it was opened: a list in the order of COUNT_MESSAGES_IN ... (partition.pxd)."""
        cdef int64_t[PARTITION_COUNTS] counts
        partition_counts(self.partition, counts)
        return [counts[i] for i in range(PARTITION_COUNTS)]

    @property
    def messages_in(self):
        return atomic_load_i64(&current_log(self.partition).messages_in)

    @property
    def bytes_in(self):
        return atomic_load_i64(&current_log(self.partition).bytes_in)

    @property
    def bytes_out(self):
        return atomic_load_i64(&self.partition.bytes_out)

    def __repr__(self):
        return f"{self.topic}-{self.index}"
