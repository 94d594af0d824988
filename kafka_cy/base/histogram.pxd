"""Log-linear histograms: each octave (power of two) is divided into the same number of buckets; memory is bounded.

`log_linear_bucket` and `log_linear_floor` are the arithmetic, for any number of buckets an octave. `Histogram` has eight: the
broker keeps many of them. The benchmark has 128 and keeps exact sums (bench/histogram.pxd).

Owner of a Histogram: one writer; readers copy the counts at any time, without a lock. A quantile is exact to half a bucket
(6 %), mostly better: values are taken to lie evenly in their bucket.
"""
from libc.stdint cimport int64_t

from kafka_cy.base.atomics cimport atomic_add_relaxed_i64, counter_add
from kafka_cy.base.bits cimport highest_bit

cdef enum:
    HISTOGRAM_BITS = 3                  # eight buckets an octave: none is wider than an eighth of its values
    HISTOGRAM_BUCKETS = 488             # to 2^63 - 1: no value has to be cut

cdef struct Histogram:
    int64_t counts[HISTOGRAM_BUCKETS]


cdef inline int log_linear_bucket(int64_t value, int bits) noexcept nogil:
    """The bucket of a value with 2^bits buckets an octave. Values below 2^(bits + 1) have one each; negative ones count as 0."""
    cdef int octave
    if value < <int64_t>1 << bits:
        return <int>value if value > 0 else 0
    octave = highest_bit(value) - bits
    return (octave << bits) + <int>(value >> octave)    # the second is 2^bits to 2^(bits + 1) - 1


cdef inline double log_linear_floor(int bucket, int bits) noexcept nogil:
    """The smallest value of a bucket; also the first that is too large for the one before."""
    cdef int buckets = 1 << bits
    if bucket < buckets:
        return bucket
    return <double>(buckets + (bucket & (buckets - 1))) * <double>(<int64_t>1 << ((bucket >> bits) - 1))


cdef inline int histogram_bucket(int64_t value) noexcept nogil:
    return log_linear_bucket(value, HISTOGRAM_BITS)


cdef inline double histogram_floor(int bucket) noexcept nogil:
    """2^63 after the last bucket."""
    return log_linear_floor(bucket, HISTOGRAM_BITS)


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
