"""What happens to the records of share groups, counted for the metrics (Kafka: ShareGroupMetrics, SharePartitionMetrics)."""
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from kafka_cy.base.atomics cimport atomic_add_i32, atomic_add_relaxed_i64, atomic_load_relaxed_i64, atomic_sub_i32

from kafka_cy.base.histogram cimport HISTOGRAM_BUCKETS, Histogram, histogram_add_shared

NAMES = {1: "Accept", 2: "Release", 3: "Reject", 4: "Renew"}    # AcknowledgeType; a gap counts as none


cdef ShareTotals* totals_acquire(ShareTotals* totals) noexcept nogil:
    atomic_add_i32(&totals.references, 1)
    return totals


cdef void totals_release(ShareTotals* totals) noexcept nogil:
    if atomic_sub_i32(&totals.references, 1) == 0:
        free(totals)


cdef list counts_of(Histogram* histogram):
    cdef int i
    return [atomic_load_relaxed_i64(&histogram.counts[i]) for i in range(HISTOGRAM_BUCKETS)]


cdef class ShareCounts:
    """Of all share partitions of a broker since the start. Any thread may use it."""

    def __cinit__(self):
        self.totals = <ShareTotals*>malloc(sizeof(ShareTotals))
        if self.totals == NULL:
            raise MemoryError
        memset(self.totals, 0, sizeof(ShareTotals))
        self.totals.references = 1

    def __dealloc__(self):
        if self.totals != NULL:
            totals_release(self.totals)

    @property
    def ranges(self):
        return atomic_load_relaxed_i64(&self.totals.ranges)

    @property
    def acknowledged(self):
        return {name: atomic_load_relaxed_i64(&self.totals.acknowledged[<int>kind]) for kind, name in NAMES.items()}

    @property
    def lock_timeouts(self):
        return atomic_load_relaxed_i64(&self.totals.lock_timeouts)

    @property
    def failed_writes(self):
        return atomic_load_relaxed_i64(&self.totals.failed_writes)

    @property
    def refused(self):
        return atomic_load_relaxed_i64(&self.totals.refused)

    @property
    def load_times(self):
        return counts_of(&self.totals.load_ns)

    @property
    def look_times(self):
        return counts_of(&self.totals.look_ns)

    @property
    def look_percents(self):
        return counts_of(&self.totals.look_percent)

    def partition_loaded(self, double duration_s):
        """The state of a share partition was read, or could not be, after that time."""
        histogram_add_shared(&self.totals.load_ns, <int64_t>(duration_s * 1e9))

    def locks_expired(self, int64_t records):
        """The locks of so many records have expired."""
        atomic_add_relaxed_i64(&self.totals.lock_timeouts, records)

    def write_failed(self):
        """A state could not be stored."""
        atomic_add_relaxed_i64(&self.totals.failed_writes, 1)

    def refuse(self):
        """A fetch got nothing because too many ranges are in flight."""
        atomic_add_relaxed_i64(&self.totals.refused, 1)
