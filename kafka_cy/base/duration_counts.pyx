"""How often something took how long, for metrics: a histogram that Python code fills."""
from libc.stdint cimport int64_t
from libc.string cimport memset

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64
from kafka_cy.base.histogram cimport HISTOGRAM_BUCKETS, Histogram, histogram_add


cdef class DurationCounts:
    """Owner: one thread that adds; any thread reads. Memory: 4 KB."""

    cdef Histogram histogram

    def __cinit__(self):
        memset(&self.histogram, 0, sizeof(Histogram))

    def add(self, double duration_s):
        """It took so long."""
        histogram_add(&self.histogram, <int64_t>(duration_s * 1e9), 1)

    def counts(self):
        """By bucket of base/histogram, in nanoseconds, since the start."""
        cdef int i
        return [atomic_load_relaxed_i64(&self.histogram.counts[i]) for i in range(HISTOGRAM_BUCKETS)]
