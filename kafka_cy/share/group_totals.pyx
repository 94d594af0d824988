"""What happens to the records of one share group, counted for its metrics.

Kafka: InFlightMessageCount, InFlightBatchCount and InFlightBatchMessageCount of SharePartitionMetrics, which has them for each
share partition; RequestTopicPartitionsFetchRatio and TopicPartitionsAcquireTimeMs of ShareGroupMetrics.
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from kafka_cy.base.atomics cimport atomic_add_i32, atomic_load_relaxed_i64, atomic_sub_i32
from kafka_cy.share.share_totals cimport counts_of


cdef GroupTotals* group_totals_acquire(GroupTotals* group) noexcept nogil:
    if group != NULL:
        atomic_add_i32(&group.references, 1)
    return group


cdef void group_totals_release(GroupTotals* group) noexcept nogil:
    if group != NULL and atomic_sub_i32(&group.references, 1) == 0:
        free(group)


cdef class GroupCounts:
    """Of the share partitions of one group on this broker. Any thread may use it."""

    def __cinit__(self):
        self.totals = <GroupTotals*>malloc(sizeof(GroupTotals))
        if self.totals == NULL:
            raise MemoryError
        memset(self.totals, 0, sizeof(GroupTotals))
        self.totals.references = 1

    def __dealloc__(self):
        group_totals_release(self.totals)

    @property
    def records(self):
        return atomic_load_relaxed_i64(&self.totals.records)

    @property
    def ranges(self):
        return atomic_load_relaxed_i64(&self.totals.ranges)

    @property
    def full_looks(self):
        return atomic_load_relaxed_i64(&self.totals.full_looks)

    @property
    def range_records(self):
        return counts_of(&self.totals.range_records)

    @property
    def fetch_percents(self):
        return counts_of(&self.totals.fetch_percent)

    @property
    def acquire_times(self):
        return counts_of(&self.totals.acquire_ns)

    def acquired(self, double duration_s):
        """A fetch could lock records of some share partition, or it has ended, so long after it began to try."""
        group_acquired(self.totals, <int64_t>(duration_s * 1e9))

    def fetch_ended(self, int32_t acquired, int32_t wanted):
        """A fetch has ended. It could lock records of so many of the share partitions that it asked for."""
        group_fetch_ended(self.totals, acquired, wanted)
