"""Python's handle of a hosted partition."""
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint64_t, uint8_t
from libc.stdlib cimport free, malloc

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_load_i64, atomic_or_u64
from kafka_cy.base.clock cimport wall_clock_ms
from kafka_cy.records.batch cimport BATCH_OK, LOG_OVERHEAD, ValidBatch, batch_header_read
from kafka_cy.storage.log cimport PartitionLog
from kafka_cy.storage.log_struct cimport (
    ORIGIN_CLIENT, ORIGIN_COORDINATOR, ORIGIN_REPLICATION, AppendOrigin, AppendResult, log_end_offset, log_start_offset,
)
from kafka_cy.storage.partition cimport (
    CONTROL_WAITER, PARTITION_COUNTS, PARTITION_DELETED, PARTITION_FOLLOWER, PARTITION_OFFLINE, PARTITION_ONLINE,
    partition_append, partition_become_leader, partition_counts, partition_follower_fetched, partition_last_stable_offset,
    partition_log, partition_new, partition_release, partition_retire, partition_set_replicas, partition_swap_log,
    partition_truncate_to, partition_wake,
)

from kafka_cy.storage.log_failure import STORAGE_ERROR_NAMES, StorageFailure

# The values of HostedPartition.state.
STATE_ONLINE = PARTITION_ONLINE
STATE_FOLLOWER = PARTITION_FOLLOWER
STATE_OFFLINE = PARTITION_OFFLINE
STATE_DELETED = PARTITION_DELETED
STATES = {"online": PARTITION_ONLINE, "follower": PARTITION_FOLLOWER, "offline": PARTITION_OFFLINE,
          "deleted": PARTITION_DELETED}
ORIGINS = {"client": ORIGIN_CLIENT, "coordinator": ORIGIN_COORDINATOR, "replication": ORIGIN_REPLICATION}


cdef class HostedPartition:
    """A partition hosted by this broker. Owner: the control plane; hot handlers use the underlying Partition.

    `log` must be open; `topic_id` is 16 bytes. `followers`: the broker ids of the other replicas, all in sync.
    `high_watermark`: from the checkpoint, -1 unknown. Raises ValueError, MemoryError.
    """

    def __cinit__(
        self, PartitionLog log not None, str topic, topic_id, index, leader_epoch=0, followers=(), high_watermark=-1
    ):
        cdef bytes name = topic.encode()
        cdef bytes raw_id = topic_id.bytes if hasattr(topic_id, "bytes") else bytes(topic_id)
        if len(raw_id) != 16:
            raise ValueError("a topic id has 16 bytes")
        cdef const char* raw_name = name
        cdef int32_t name_size = <int32_t>len(name)
        cdef const char* id_bytes = raw_id
        cdef int32_t number = index
        cdef int32_t epoch = leader_epoch
        cdef int64_t stored = high_watermark
        self.log = log
        with nogil:
            self.partition = partition_new(log.log, raw_name, name_size, <const uint8_t*>id_bytes, number, epoch, stored)
        if self.partition == NULL:
            raise MemoryError
        if followers:
            self._set_replicas(list(followers), list(followers), 1 + len(followers))
        self.become_leader(epoch)

    def __dealloc__(self):
        if self.partition != NULL:
            with nogil:
                partition_release(self.partition)

    def append(self, data, origin="coordinator", leader_epoch=-1):
        """Append one batch; returns its base offset. The records are not validated."""
        cdef bytearray copy = bytearray(data)
        cdef ValidBatch batch
        cdef AppendResult result
        cdef AppendOrigin append_origin = ORIGINS[origin]
        cdef int32_t epoch = leader_epoch
        cdef int error
        batch.data = <uint8_t*>PyByteArray_AS_STRING(copy)
        batch.size = <size_t>len(copy)
        batch.record_errors_count = 0
        if batch_header_read(batch.data, batch.size, &batch.header) != BATCH_OK or \
                <size_t>(batch.header.length + LOG_OVERHEAD) != batch.size:
            raise ValueError("not exactly one record batch")
        batch.max_timestamp_offset_delta = batch.header.last_offset_delta
        with nogil:
            error = partition_append(self.partition, &batch, epoch, False, append_origin, wall_clock_ms(), &result)
        if error:
            raise StorageFailure(f"append to {self}: {STORAGE_ERROR_NAMES.get(error, error)}", error, self.log.failed_errno)
        return result.base_offset

    def read(self, offset, bytes_max=1 << 20, end_offset=None):
        """Whole batches from `offset` on, below `end_offset` or by default the high watermark; b"" at the end."""
        return self.log.read(offset, bytes_max, self.high_watermark if end_offset is None else end_offset)

    def retire(self, state):
        """Stop appends: `state` is "deleted", "offline" or "follower". Waiters are woken and see the new state."""
        cdef int32_t new_state = STATES[state]
        with nogil:
            partition_retire(self.partition, new_state)

    def become_leader(self, leader_epoch):
        """Become leader with a new epoch, which begins at the log's end. Raises MemoryError."""
        cdef int32_t epoch = leader_epoch
        cdef int error
        with nogil:
            error = partition_become_leader(self.partition, epoch)
        if error:
            raise MemoryError

    def set_replicas(self, replicas, isr, broker_id):
        """Set the broker ids of all replicas and of the in-sync replicas; `broker_id` is this broker's. Raises
        MemoryError."""
        followers = [each for each in replicas if each != broker_id]
        in_sync = set(isr)
        if followers or self.partition.followers_count or len(isr) != self.partition.isr_count:
            self._set_replicas(followers, in_sync, len(in_sync))

    def _set_replicas(self, list followers, in_sync, isr_count):
        cdef int32_t count = <int32_t>len(followers)
        cdef int32_t in_sync_count = isr_count
        cdef int32_t i
        cdef bint done = False
        cdef int32_t* ids = <int32_t*>malloc(<size_t>(count + 1) * sizeof(int32_t))
        cdef bint* flags = <bint*>malloc(<size_t>(count + 1) * sizeof(bint))
        try:
            if ids != NULL and flags != NULL:
                for i in range(count):
                    ids[i] = followers[i]
                    flags[i] = followers[i] in in_sync
                with nogil:
                    done = partition_set_replicas(self.partition, ids, flags, count, in_sync_count)
        finally:
            free(ids)
            free(flags)
        if not done:
            raise MemoryError

    def follower_fetched(self, broker_id, end_offset):
        """A follower has everything below `end_offset`; the high watermark moves once all in-sync replicas have it."""
        cdef int32_t follower = broker_id
        cdef int64_t end = end_offset
        with nogil:
            partition_follower_fetched(self.partition, follower, end)

    def truncate_to(self, offset):
        """Keep batches that end below `offset`; the high watermark is lowered to the log's end. Raises StorageFailure."""
        cdef int64_t to = offset
        cdef int error
        with nogil:
            error = partition_truncate_to(self.partition, to)
        if error:
            raise StorageFailure(
                f"truncate {self} to {offset}: {STORAGE_ERROR_NAMES.get(error, error)}", error, self.log.failed_errno)

    def watch(self):
        """Have the control thread woken on the partition's next change; check the partition again after this call."""
        atomic_or_u64(&self.partition.waiters, <uint64_t>1 << CONTROL_WAITER)

    def wake(self):
        """Wake all waiters of this partition to check again."""
        partition_wake(self.partition)

    def swap_log(self, PartitionLog log not None):
        """Serve from another log with the same records (AlterReplicaLogDirs). The current log must be sealed; it stays
        sealed and is kept until the partition is freed. Raises MemoryError."""
        cdef bint done
        with nogil:
            done = partition_swap_log(self.partition, log.log)
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
        """Counters since the partition was opened: a list in the order of COUNT_MESSAGES_IN ... (partition.pxd)."""
        cdef int64_t[PARTITION_COUNTS] counts
        partition_counts(self.partition, counts)
        return [counts[i] for i in range(PARTITION_COUNTS)]

    @property
    def messages_in(self):
        return atomic_load_i64(&partition_log(self.partition).messages_in)

    @property
    def bytes_in(self):
        return atomic_load_i64(&partition_log(self.partition).bytes_in)

    @property
    def bytes_out(self):
        return atomic_load_i64(&self.partition.bytes_out)

    def __repr__(self):
        return f"{self.topic}-{self.index}"
