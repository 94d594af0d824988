"""A log-linear (HDR) histogram of durations in nanoseconds: constant memory, bounded relative error, mergeable.

Each octave has 2^SUB_BITS buckets (base/histogram.pxd), so a bucket is never wider than 1/2^SUB_BITS (0.8 %) of its values.
Values above 2^VALUE_BITS (73 minutes) count in the last bucket; `max` stays exact.

Owner: one writing thread. Another thread may copy it at the same time: each counter is a whole word, so counters of
a copy differ by at most a few values.
"""
from libc.stdint cimport int64_t

from kafka_cy.base.histogram cimport log_linear_bucket, log_linear_floor

cdef enum:
    SUB_BITS = 7
    VALUE_BITS = 42
    BUCKETS = (VALUE_BITS - SUB_BITS + 1) << SUB_BITS

cdef struct Histogram:
    int64_t count
    int64_t sum_ns
    int64_t max_ns
    int64_t buckets[BUCKETS]


cdef inline int bucket_of(int64_t value_ns) noexcept nogil:
    return log_linear_bucket(value_ns, SUB_BITS) if value_ns < <int64_t>1 << VALUE_BITS else BUCKETS - 1


cdef inline int64_t bucket_upper_ns(int bucket) noexcept nogil:
    """The highest value that counts in this bucket."""
    return <int64_t>log_linear_floor(bucket + 1, SUB_BITS) - 1


cdef inline void histogram_record(Histogram* h, int64_t value_ns) noexcept nogil:
    if value_ns < 0:
        value_ns = 0
    h.count += 1
    h.sum_ns += value_ns
    if value_ns > h.max_ns:
        h.max_ns = value_ns
    h.buckets[bucket_of(value_ns)] += 1


cdef class LatencyHistogram:
    cdef Histogram* data
