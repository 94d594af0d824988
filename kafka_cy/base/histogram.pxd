"""A log-linear histogram: eight buckets an octave, so none is wider than an eighth of its values; memory is bounded.

Owner: one writer; readers copy the counts at any time, without a lock. Values below 8 have a bucket each. A quantile is
exact to half a bucket (6 %), mostly better: values are taken to lie evenly in their bucket.
"""
from libc.stdint cimport int64_t

from kafka_cy.base.atomics cimport atomic_add_relaxed_i64, counter_add
from kafka_cy.base.bits cimport highest_bit

cdef enum:
    HISTOGRAM_BUCKETS = 488             # to 2^63 - 1: no value has to be cut

cdef struct Histogram:
    int64_t counts[HISTOGRAM_BUCKETS]


cdef inline int histogram_bucket(int64_t value) noexcept nogil:
    cdef int octave
    if value < 8:
        return <int>value if value > 0 else 0
    octave = highest_bit(value) - 3
    return (octave << 3) + <int>(value >> octave)       # the second is 8 to 15


cdef inline double histogram_floor(int bucket) noexcept nogil:
    """The smallest value of a bucket; also the first that is too large for the one before (2^63 after the last)."""
    if bucket < 8:
        return bucket
    return <double>(8 + (bucket & 7)) * <double>(<int64_t>1 << ((bucket >> 3) - 1))


cdef inline void histogram_add(Histogram* histogram, int64_t value, int64_t times) noexcept nogil:
    counter_add(&histogram.counts[histogram_bucket(value)], times)


cdef inline void histogram_add_shared(Histogram* histogram, int64_t value) noexcept nogil:
    """For several writers."""
    atomic_add_relaxed_i64(&histogram.counts[histogram_bucket(value)], 1)


cdef inline int64_t counts_total(const int64_t* counts) noexcept nogil:
    cdef int64_t total = 0
    cdef int i
    for i in range(HISTOGRAM_BUCKETS):
        total += counts[i]
    return total


cdef inline double counts_quantile(const int64_t* counts, int64_t total, double quantile) noexcept nogil:
    """The value below which `quantile` (0 to 1) of the values lie; 0 when there are none."""
    cdef double rank = quantile * <double>total
    cdef double before = 0
    cdef double low, high
    cdef int i
    for i in range(HISTOGRAM_BUCKETS):
        if counts[i] > 0 and before + <double>counts[i] >= rank:
            if i == 0:
                return 0
            low = histogram_floor(i)
            high = histogram_floor(i + 1)
            return low + (high - low) * (rank - before) / <double>counts[i]
        before += <double>counts[i]
    return 0
