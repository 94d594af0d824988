"""Python's handle of a hosted partition."""
from cpython cimport array
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint64_t, uint8_t

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_load_i64, atomic_or_u64, atomic_store_i32
from kafka_cy.base.clock cimport wall_clock_ms
from kafka_cy.records.batch cimport (
    BATCH_BAD_CRC, BATCH_BAD_LENGTH, BATCH_BAD_MAGIC, BATCH_OK, LOG_OVERHEAD, ValidBatch, batch_header_read,
)
from kafka_cy.records.wire cimport Writer, writer_free, writer_init
from kafka_cy.storage.leader_replicas cimport ISR_EXPANDING, ISR_SETTLED, ISR_SHRINKING, IsrChange
from kafka_cy.storage.log cimport PartitionLog
from kafka_cy.storage.log_follow cimport RECEIVED_BACKWARDS, Received, received_check
from kafka_cy.storage.log_struct cimport (
    ORIGIN_CLIENT, ORIGIN_COORDINATOR, ORIGIN_MARKER_V2, ORIGIN_REPLICATION, ORIGIN_TRANSACTION_V1, ORIGIN_TRANSACTION_V2,
    AppendOrigin, AppendResult, log_config, log_end_offset, log_start_offset,
)
from kafka_cy.storage.partition cimport (
    CONTROL_WAITER, PARTITION_COUNTS, PARTITION_DELETED, PARTITION_FOLLOWER, PARTITION_OFFLINE, PARTITION_ONLINE,
    THROTTLED_FOLLOWER, THROTTLED_LEADER,
    partition_append, partition_append_since, partition_counts, partition_last_stable_offset, partition_log, partition_new,
    partition_release, partition_retire, partition_swap_log, partition_truncate_fully, partition_truncate_to, partition_wake,
)
from kafka_cy.storage.partition_follower cimport LeaderOffsets, partition_append_received, partition_become_follower
from kafka_cy.storage.partition_leader cimport (
    FETCHED_MAY_JOIN, FollowerFetch, FollowerFetched, partition_become_leader, partition_follower_fetched, partition_joinable,
    partition_lagging, partition_lead, partition_low_watermark, partition_propose_isr, partition_set_adding,
    partition_set_replicas, partition_withdraw_isr,
)
from kafka_cy.storage.storage_error cimport STORAGE_CORRUPT, STORAGE_NO_MEMORY, STORAGE_OFFSET_OUT_OF_RANGE
from kafka_cy.storage.transaction_marker cimport MARKER_BYTES_MAX, MarkerFields, marker_write

import array

from kafka_cy.storage.log_failure import STORAGE_ERROR_NAMES, StorageFailure

cdef enum:
    LAGGING_MAX = 64            # of one partition that lagging() and joinable() name
    LOW_WATERMARK_WAIT_NS = 1000000     # for the append mutex: an append to a slow disk may have it

# The values of HostedPartition.state.
STATE_ONLINE = PARTITION_ONLINE
STATE_FOLLOWER = PARTITION_FOLLOWER
STATE_OFFLINE = PARTITION_OFFLINE
STATE_DELETED = PARTITION_DELETED
STATES = {"online": PARTITION_ONLINE, "follower": PARTITION_FOLLOWER, "offline": PARTITION_OFFLINE,
          "deleted": PARTITION_DELETED}
RECEIVED_ERROR_NAMES = {BATCH_BAD_CRC: "wrong checksum", BATCH_BAD_LENGTH: "wrong length", BATCH_BAD_MAGIC: "unknown format",
                        RECEIVED_BACKWARDS: "offsets go back"}
ORIGINS = {"client": ORIGIN_CLIENT, "coordinator": ORIGIN_COORDINATOR, "replication": ORIGIN_REPLICATION,
           "transaction v1": ORIGIN_TRANSACTION_V1, "transaction v2": ORIGIN_TRANSACTION_V2}


cdef str received_failure(int error, const Received* received):
    """Why fetched batches were refused: what and where."""
    if error == STORAGE_CORRUPT:
        why = RECEIVED_ERROR_NAMES.get(received.bad_why, "no record batch")
        return f"{why} at byte {received.bad_position} of the response, base offset {received.bad_offset}"
    if error == STORAGE_OFFSET_OUT_OF_RANGE:
        return f"the first batch has offsets {received.first_offset} to {received.first_last_offset}, below the log's end"
    return STORAGE_ERROR_NAMES.get(error, str(error))


cdef object role_failure(HostedPartition partition, int error):
    if error == STORAGE_NO_MEMORY:
        return MemoryError()
    return StorageFailure(f"{partition}: {STORAGE_ERROR_NAMES.get(error, error)}", error, partition.log.failed_errno)


cdef class HostedPartition:
    """A partition hosted by this broker. Owner: the control plane; hot handlers use the underlying Partition.

    `log` must be open; `topic_id` is 16 bytes. `followers`: the broker ids of the other replicas, all in sync.
    `high_watermark`: from the checkpoint, -1 unknown. Without `leads`, it follows, and no epoch begins. Raises ValueError,
    MemoryError.
    """

    def __cinit__(
        self, PartitionLog log not None, str topic, topic_id, index, leader_epoch=0, followers=(), high_watermark=-1, leads=True
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
        if leads:
            self.become_leader(epoch)
        else:
            self.follow(epoch)

    def __dealloc__(self):
        if self.partition != NULL:
            with nogil:
                partition_release(self.partition)

    def append(self, data, origin="coordinator", leader_epoch=-1, leader_since=-1):
        """Append one batch; returns its base offset. The records are not validated.

        `leader_since`: a coordinator's append, which counts only in the leadership that began with this epoch
        (`leader_since_epoch`), and while enough replicas are in sync.
        """
        cdef bytearray copy = bytearray(data)
        cdef ValidBatch batch
        cdef AppendResult result
        cdef AppendOrigin append_origin = ORIGINS[origin]
        cdef int32_t epoch = leader_epoch
        cdef int32_t since = leader_since
        cdef int error
        batch.data = <uint8_t*>PyByteArray_AS_STRING(copy)
        batch.size = <size_t>len(copy)
        batch.record_errors_count = 0
        if batch_header_read(batch.data, batch.size, &batch.header) != BATCH_OK or \
                <size_t>(batch.header.length + LOG_OVERHEAD) != batch.size:
            raise ValueError("not exactly one record batch")
        batch.max_timestamp_offset_delta = batch.header.last_offset_delta
        with nogil:
            if since >= 0:
                error = partition_append_since(self.partition, &batch, since, append_origin, wall_clock_ms(), &result)
            else:
                error = partition_append(self.partition, &batch, epoch, False, append_origin, wall_clock_ms(), &result)
        if error:
            raise StorageFailure(f"append to {self}: {STORAGE_ERROR_NAMES.get(error, error)}", error, self.log.failed_errno)
        return result.base_offset

    def append_marker(self, producer_id, epoch, coordinator_epoch, commit, transaction_version, leader_since=-1):
        """Append the control batch that ends a producer's transaction, even if it has none open here. Returns its offset.
        `leader_since` as in `append`.

        Raises StorageFailure: invalid producer epoch (below the producer's; with version 2 also equal to that of an open
        transaction), coordinator fenced (its epoch is older than that of an earlier marker), too few replicas in sync, not the
        leader, or the disk's. Kafka: ReplicaManager.appendRecords for WriteTxnMarkers, KIP-98, KIP-890.
        """
        cdef MarkerFields fields
        cdef ValidBatch batch
        cdef AppendResult result
        cdef Writer bytes_of_marker
        cdef AppendOrigin origin = ORIGIN_MARKER_V2 if transaction_version >= 2 else ORIGIN_COORDINATOR
        cdef int32_t since = leader_since
        cdef int error
        fields.producer_id = producer_id
        fields.epoch = epoch
        fields.coordinator_epoch = coordinator_epoch
        fields.commit = commit
        with nogil:
            fields.timestamp_ms = wall_clock_ms()
            fields.log_append_time = log_config(partition_log(self.partition)).rules.log_append_time
            writer_init(&bytes_of_marker, MARKER_BYTES_MAX)
            error = marker_write(&bytes_of_marker, &fields, &batch)
            if not error and since >= 0:
                error = partition_append_since(self.partition, &batch, since, origin, fields.timestamp_ms, &result)
            elif not error:
                error = partition_append(self.partition, &batch, -1, True, origin, fields.timestamp_ms, &result)
            writer_free(&bytes_of_marker)
        if error:
            raise StorageFailure(
                f"append a marker to {self}: {STORAGE_ERROR_NAMES.get(error, error)}", error, self.log.failed_errno)
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
        """Become leader with a new epoch, which begins at the log's end. Raises MemoryError, StorageFailure."""
        cdef int32_t epoch = leader_epoch
        cdef int error
        with nogil:
            error = partition_become_leader(self.partition, epoch)
        if error:
            raise role_failure(self, error)

    def set_replicas(self, replicas, isr, broker_id):
        """Set the broker ids of all replicas and of the in-sync replicas; `broker_id` is this broker's. Raises
        MemoryError."""
        followers = [each for each in replicas if each != broker_id]
        in_sync = set(isr)
        if followers or self.partition.replicas.count or len(isr) != self.partition.replicas.isr_count:
            self._set_replicas(followers, in_sync, len(in_sync))

    def _set_replicas(self, list followers, in_sync, isr_count):
        cdef array.array ids = array.array("i", followers)
        cdef array.array flags = array.array("i", [each in in_sync for each in followers])
        cdef int32_t count = <int32_t>len(followers)
        cdef int32_t in_sync_count = isr_count
        cdef bint done
        cdef const int32_t* raw_ids = <const int32_t*>ids.data.as_ints
        cdef const bint* raw_flags = <const bint*>flags.data.as_ints
        with nogil:
            done = partition_set_replicas(self.partition, raw_ids, raw_flags, count, in_sync_count)
        if not done:
            raise MemoryError

    def lead(self, leader_epoch, replicas, isr, broker_id, *, proposed=False, joining=None):
        """Become or stay leader: epoch, assignment and ISR as the controller has stored them, in one step. The log is not cut;
        a new epoch begins at its end. Raises MemoryError, or StorageFailure: it is offline or deleted. Kafka:
        Partition.makeLeader.

        `proposed`: the controller has been asked for another ISR already, as by propose_isr() with `joining`: the high watermark
        does not pass one that joins, but only stored members count for min.insync.replicas.
        """
        followers = [each for each in replicas if each != broker_id]
        cdef array.array ids = array.array("i", followers)
        cdef array.array flags = array.array("i", [each in isr for each in followers])
        cdef int32_t count = <int32_t>len(followers)
        cdef int32_t in_sync_count = <int32_t>len(isr)
        cdef int32_t epoch = leader_epoch
        cdef int32_t joining_id = -1 if joining is None else joining
        cdef IsrChange change = ISR_SETTLED
        cdef const int32_t* raw_ids = <const int32_t*>ids.data.as_ints
        cdef const bint* raw_flags = <const bint*>flags.data.as_ints
        cdef int error
        if proposed:
            change = ISR_SHRINKING if joining is None else ISR_EXPANDING
        with nogil:
            error = partition_lead(self.partition, epoch, raw_ids, raw_flags, count, in_sync_count, change, joining_id)
        if error:
            raise role_failure(self, error)

    def follow(self, leader_epoch):
        """Follow with this epoch; from here on only what a leader of this epoch sent is appended. Waiting requests get
        NOT_LEADER_OR_FOLLOWER. Raises StorageFailure: it is offline or deleted. Kafka: Partition.makeFollower."""
        cdef int32_t epoch = leader_epoch
        cdef int error
        with nogil:
            error = partition_become_follower(self.partition, epoch)
        if error:
            raise role_failure(self, error)

    def set_adding(self, replicas, broker_id):
        """The broker ids of the replicas that a reassignment adds; `broker_id` is this broker's."""
        cdef array.array ids = array.array("i", replicas)
        cdef const int32_t* raw_ids = <const int32_t*>ids.data.as_ints
        cdef int32_t count = <int32_t>len(ids)
        cdef int32_t own_id = broker_id
        with nogil:
            partition_set_adding(self.partition, raw_ids, count, own_id)

    def set_throttled(self, bint leader, bint follower):
        """Whether the quotas of replication apply to this replica, while it leads and while it follows."""
        atomic_store_i32(&self.partition.throttled, leader * THROTTLED_LEADER + follower * THROTTLED_FOLLOWER)

    @property
    def throttled(self):
        """(as leader, as follower)"""
        cdef int32_t bits = atomic_load_i32(&self.partition.throttled)
        return bool(bits & THROTTLED_LEADER), bool(bits & THROTTLED_FOLLOWER)

    def append_received(self, const uint8_t[::1] data not None, leader_epoch, high_watermark, start_offset=-1):
        """Append batches byte for byte as the leader sent them, and take its high watermark and log start offset. Returns the log
        end offset. A batch that is cut off at the end is left out.

        Raises StorageFailure: corrupt (says where), offset out of range (they begin below the log's end), not the leader (this
        partition does not follow with `leader_epoch`), or the disk's.
        """
        cdef Received received
        cdef LeaderOffsets leader
        cdef int32_t epoch = leader_epoch
        cdef size_t size = <size_t>data.shape[0]
        cdef const uint8_t* raw = &data[0] if size else NULL
        cdef int error
        leader.high_watermark = high_watermark
        leader.start_offset = start_offset
        with nogil:
            error = received_check(raw, size, &received)
            if not error:
                error = partition_append_received(self.partition, epoch, -1, raw, &received, &leader, wall_clock_ms())
        if error:
            raise StorageFailure(
                f"append to {self}: {received_failure(error, &received)}", error, self.log.failed_errno)
        return self.log_end_offset

    def follower_fetched(self, broker_id, end_offset, *, leader_epoch=-1, start_offset=-1, broker_epoch=-1):
        """A follower has everything below `end_offset`; the high watermark moves once all in-sync replicas have it. Returns whether
        the follower may join the ISR now."""
        cdef FollowerFetch fetch
        cdef FollowerFetched fetched
        fetch.broker_id = broker_id
        fetch.leader_epoch = leader_epoch
        fetch.end_offset = end_offset
        fetch.start_offset = start_offset
        fetch.broker_epoch = broker_epoch
        with nogil:
            fetched = partition_follower_fetched(self.partition, &fetch)
        return bool(fetched & FETCHED_MAY_JOIN)

    def propose_isr(self, leader_epoch, joining=None):
        """Note that the controller is asked to add `joining` to the ISR, or (None) to remove members. False: another change is in
        flight, or this broker does not lead with this epoch."""
        cdef int32_t epoch = leader_epoch
        cdef int32_t broker_id = -1 if joining is None else joining
        cdef IsrChange change = ISR_SHRINKING if joining is None else ISR_EXPANDING
        cdef bint done
        with nogil:
            done = partition_propose_isr(self.partition, epoch, change, broker_id)
        return done

    def withdraw_isr(self, leader_epoch):
        """The controller has refused the change of this epoch: the ISR that it has stored holds."""
        cdef int32_t epoch = leader_epoch
        with nogil:
            partition_withdraw_isr(self.partition, epoch)

    def joinable(self):
        """The replicas that may join the ISR now: (broker id, broker epoch of its last fetch or -1)."""
        cdef int32_t[LAGGING_MAX] found
        cdef int64_t[LAGGING_MAX] epochs
        cdef int32_t count
        with nogil:
            count = partition_joinable(self.partition, found, epochs, LAGGING_MAX)
        return [(found[i], epochs[i]) for i in range(count)]

    def lagging(self):
        """Broker ids of the members of the ISR that are not caught up; [] while a change of the ISR is in flight.

        The high watermark moves if it has waited for a replica outside of the ISR that is not alive or not caught up any more.
        """
        cdef int32_t[LAGGING_MAX] found
        cdef int32_t count
        with nogil:
            count = partition_lagging(self.partition, found, LAGGING_MAX)
        return [found[i] for i in range(count)]

    def truncate_to(self, offset):
        """Keep batches that end below `offset`; the high watermark is lowered to the log's end. Raises StorageFailure."""
        cdef int64_t to = offset
        cdef int error
        with nogil:
            error = partition_truncate_to(self.partition, to)
        if error:
            raise StorageFailure(
                f"truncate {self} to {offset}: {STORAGE_ERROR_NAMES.get(error, error)}", error, self.log.failed_errno)

    def truncate_fully(self, offset):
        """Remove all records; the log begins anew at `offset`. Raises StorageFailure."""
        cdef int64_t to = offset
        cdef int error
        with nogil:
            error = partition_truncate_fully(self.partition, to)
        if error:
            raise StorageFailure(
                f"truncate {self} fully: {STORAGE_ERROR_NAMES.get(error, error)}", error, self.log.failed_errno)

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
        """Raise the log start offset; -1 means the high watermark. Returns the new one."""
        return self.log.delete_records(self.high_watermark if offset == -1 else offset)

    def low_watermark(self):
        """The least log start offset of the leader and the followers that live: below it, the records are deleted everywhere. -1:
        a follower has not told its own yet. None: it cannot be seen at this moment. Raises StorageFailure: this broker does not
        lead, or the log has failed."""
        cdef int64_t offset = -1
        cdef bint is_known = False
        cdef int error
        with nogil:
            error = partition_low_watermark(self.partition, LOW_WATERMARK_WAIT_NS, &offset, &is_known)
        if error:
            raise role_failure(self, error)
        return offset if is_known else None

    @property
    def high_watermark(self):
        return atomic_load_i64(&self.partition.high_watermark)

    @property
    def follower_lag(self):
        """Of a follower: how many committed records it lacked at its last fetch; -1 unknown."""
        return atomic_load_i64(&self.partition.follower_lag)

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
    def leader_since_epoch(self):
        """The epoch in which this broker began to lead; it has led in all later ones."""
        return atomic_load_i32(&self.partition.leader_since_epoch)

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
