"""Following: a partition that another broker leads. See partition_follower.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.storage.log_follow cimport Received
from kafka_cy.storage.partition cimport Partition

# What came with the batches in the leader's response.
cdef struct LeaderOffsets:
    int64_t high_watermark
    int64_t start_offset        # of its log; -1 not said

# Follow with this epoch. Producers and consumers that wait are woken. STORAGE_OK, or STORAGE_OFFLINE, STORAGE_DELETED: unchanged.
cdef int partition_become_follower(Partition* partition, int32_t leader_epoch) noexcept nogil
# The first batch of an empty log begins below the log's start, which the leader has inside that batch: begin the log at `offset`,
# the batch's base offset. A StorageError: STORAGE_NOT_LEADER as below; STORAGE_OFFSET_OUT_OF_RANGE if the log is not empty, or
# does not begin behind `offset`.
cdef int partition_begin_below(Partition* partition, int32_t leader_epoch, int64_t offset) noexcept nogil
# Append what was fetched with `leader_epoch` from `fetch_offset` on (received_check has passed) and take the leader's offsets. A
# StorageError: STORAGE_NOT_LEADER when the partition does not follow with this epoch any more, STORAGE_OFFSET_OUT_OF_RANGE when its
# log does not end at `fetch_offset` (-1: anywhere) any more; nothing has changed then.
cdef int partition_append_received(
    Partition* partition, int32_t leader_epoch, int64_t fetch_offset, const uint8_t* data, Received* received,
    const LeaderOffsets* leader, int64_t now_ms
) noexcept nogil
