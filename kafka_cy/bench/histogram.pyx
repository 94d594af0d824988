"""See histogram.pxd for the layout. `LatencyHistogram` is the histogram for Python."""
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

PERCENTILES = (("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("p999_ms", 0.999), ("p9999_ms", 0.9999))


cdef class LatencyHistogram:
    """Durations in nanoseconds. Owner: one writing thread; `copy` may be called by another."""

    def __cinit__(self):
        self.data = <Histogram*>calloc(1, sizeof(Histogram))
        if self.data == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.data)

    def record(self, int64_t value_ns):
        """Count one duration; a negative one counts as 0."""
        histogram_record(self.data, value_ns)

    @property
    def count(self):
        return self.data.count

    @property
    def max_ns(self):
        """The longest, exact; 0 when empty."""
        return self.data.max_ns

    @property
    def mean_ns(self):
        """The exact mean; 0 when empty."""
        return self.data.sum_ns / <double>self.data.count if self.data.count else 0.0

    def merge(self, LatencyHistogram other):
        """Add everything that `other` has counted."""
        cdef int bucket
        for bucket in range(BUCKETS):
            self.data.buckets[bucket] += other.data.buckets[bucket]
        self.data.count += other.data.count
        self.data.sum_ns += other.data.sum_ns
        if other.data.max_ns > self.data.max_ns:
            self.data.max_ns = other.data.max_ns

    def copy(self):
        """The count so far."""
        cdef LatencyHistogram copied = LatencyHistogram()
        memcpy(copied.data, self.data, sizeof(Histogram))
        return copied

    def since(self, LatencyHistogram earlier):
        """The difference to `earlier`, a copy of this histogram; its max is that of the highest bucket."""
        cdef LatencyHistogram difference = LatencyHistogram()
        cdef int bucket
        for bucket in range(BUCKETS):
            difference.data.buckets[bucket] = self.data.buckets[bucket] - earlier.data.buckets[bucket]
            difference.data.count += difference.data.buckets[bucket]
            if difference.data.buckets[bucket]:
                difference.data.max_ns = min(bucket_upper_ns(bucket), self.data.max_ns)
        difference.data.sum_ns = self.data.sum_ns - earlier.data.sum_ns
        return difference

    def quantile_ns(self, double q):
        """The smallest recorded value that at least the share `q` of all values does not exceed, up to 1/128 too high.

        Never above the maximum; 0 when empty.
        """
        cdef int64_t wanted, seen = 0
        cdef int bucket
        cdef int64_t total = 0
        for bucket in range(BUCKETS):
            total += self.data.buckets[bucket]
        wanted = <int64_t>(q * total)
        if wanted < q * total or wanted == 0:
            wanted += 1
        for bucket in range(BUCKETS):
            seen += self.data.buckets[bucket]
            if seen >= wanted and seen > 0:
                return self.data.max_ns if bucket == BUCKETS - 1 else min(bucket_upper_ns(bucket), self.data.max_ns)
        return 0

    def buckets(self):
        """[upper bound in ms, count] of every bucket that is not empty, ascending."""
        cdef int bucket
        listed = []
        for bucket in range(BUCKETS):
            if self.data.buckets[bucket]:
                upper_ns = self.data.max_ns if bucket == BUCKETS - 1 else bucket_upper_ns(bucket)
                listed.append([upper_ns / 1e6, self.data.buckets[bucket]])
        return listed

    def export(self):
        """The fields of `results.Latency`."""
        if not self.data.count:
            return {"count": 0}
        exported = {
            "count": self.data.count,
            "mean_ms": round(self.mean_ns / 1e6, 6),
            "max_ms": self.data.max_ns / 1e6,
            "buckets": self.buckets(),
        }
        for name, q in PERCENTILES:
            exported[name] = self.quantile_ns(q) / 1e6
        return exported
