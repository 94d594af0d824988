"""What happens to the records of one share group, counted for its metrics; see group_totals.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.atomics cimport atomic_add_relaxed_i64
from kafka_cy.base.histogram cimport Histogram, histogram_add_shared

# Owner: GroupCounts and each share partition of the group. Lifetime: reference counted. Fields marked (a) are atomics, for any
# thread. Limit: GroupSeries has SERIES_MAX of them, of about 12 KB; the other groups have none (NULL).
cdef struct GroupTotals:
    int32_t references              # (a)
    int64_t records                 # (a) between the first that is not finished and the last that was delivered
    int64_t ranges                  # (a) of these records
    int64_t full_looks              # (a) looks into a share partition that had as many records in flight as it may have
    Histogram range_records         # (a) how many records a range had when it was made
    Histogram fetch_percent         # (a) share partitions of a fetch that it could lock records of, of all that it asked for
    Histogram acquire_ns            # (a) how long a fetch waited until it could lock records of any

# Both do nothing with NULL, and so do all below.
cdef GroupTotals* group_totals_acquire(GroupTotals* group) noexcept nogil
cdef void group_totals_release(GroupTotals* group) noexcept nogil


cdef inline void group_in_flight(GroupTotals* group, int64_t records, int64_t ranges) noexcept nogil:
    """There are so many more records in flight, in so many more ranges."""
    if group == NULL:
        return
    if records:
        atomic_add_relaxed_i64(&group.records, records)
    if ranges:
        atomic_add_relaxed_i64(&group.ranges, ranges)


cdef inline void group_found_full(GroupTotals* group) noexcept nogil:
    """A fetch got nothing of a share partition: as many records are in flight as may be, and all are locked."""
    if group != NULL:
        atomic_add_relaxed_i64(&group.full_looks, 1)


cdef inline void group_range_made(GroupTotals* group, int64_t records) noexcept nogil:
    """A range of so many records was delivered, or read from the stored state."""
    if group != NULL:
        histogram_add_shared(&group.range_records, records)


cdef inline void group_acquired(GroupTotals* group, int64_t duration_ns) noexcept nogil:
    """A fetch could lock records of some share partition, or it has ended, so long after it began to try."""
    if group != NULL:
        histogram_add_shared(&group.acquire_ns, duration_ns)


cdef inline void group_fetch_ended(GroupTotals* group, int32_t acquired, int32_t wanted) noexcept nogil:
    """A fetch has ended. It could lock records of `acquired` of the `wanted` share partitions."""
    if group != NULL and wanted > 0:
        histogram_add_shared(&group.fetch_percent, 100 * <int64_t>acquired // wanted)


cdef class GroupCounts:
    cdef GroupTotals* totals
