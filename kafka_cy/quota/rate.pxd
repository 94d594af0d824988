"""A rate as Kafka measures it (metrics.stats.Rate over SampledStat): a sum over samples, by the time that they cover.

A sample is complete after `window_ms`; there are `windows_num` of them, and the one that is being filled. The rate is the sum
divided by the time since the oldest sample began, but at least by `windows_num - 1` whole windows and a part. All of this is in
whole milliseconds, as in Kafka; nanoseconds only save a division for each value.

Any thread may record. While neither a sample is complete nor another one is obsolete (until `valid_until_ns`), a value is only
added to the sum; what the current sample has is the sum without that of the `others`. Otherwise the samples change, under the
owner's mutex. An addition by another thread at that moment counts for the sample before or after it.
"""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.atomics cimport atomic_add_relaxed_i64, atomic_load_relaxed_i64, counter_set

cdef enum:
    MS = 1000000                # ns

# Under the mutex of its Rate's owner. Of the current sample, `value` and `last_ms` are those of the last rate_settle.
cdef struct Sample:
    int64_t begun_ms
    int64_t last_ms             # when a value was recorded last
    int64_t value

# Owner: a Sensor, whose mutex guards what is not atomic. (a) atomics
cdef struct Rate:
    int64_t valid_until_ns      # (a)
    int64_t total               # (a) sum of all samples
    int64_t last_ns             # (a) when a value was recorded last
    int64_t oldest_ms           # (a) when the oldest sample began
    int64_t others              # sum of all samples but the current one
    int64_t window_ms
    int32_t windows_num
    int32_t samples_count       # up to windows_num + 1
    int32_t current
    Sample* samples             # windows_num + 1


cdef inline void rate_init(Rate* rate, Sample* samples, int32_t windows_num, int64_t window_ms, int64_t now_ms) noexcept nogil:
    rate.valid_until_ns = 0
    rate.total = 0
    rate.last_ns = now_ms * MS
    rate.oldest_ms = now_ms
    rate.others = 0
    rate.window_ms = window_ms
    rate.windows_num = windows_num
    rate.samples_count = 0
    rate.current = 0
    rate.samples = samples


cdef inline void sample_begin(Sample* sample, int64_t now_ms) noexcept nogil:
    sample.begun_ms = now_ms
    sample.last_ms = now_ms
    sample.value = 0


cdef inline void rate_settle(Rate* rate, int64_t now_ms) noexcept nogil:
    """Let the current sample have what was added. Under the mutex."""
    cdef Sample* sample = &rate.samples[rate.current]
    if rate.samples_count == 0:
        sample_begin(sample, now_ms)
        rate.samples_count = 1
    else:
        sample.last_ms = atomic_load_relaxed_i64(&rate.last_ns) // MS
    sample.value = atomic_load_relaxed_i64(&rate.total) - rate.others


cdef inline void rate_advance(Rate* rate, int64_t now_ms) noexcept nogil:
    """Begin the next sample if the current one is complete. Under the mutex, after rate_settle."""
    cdef Sample* sample = &rate.samples[rate.current]
    if now_ms - sample.begun_ms < rate.window_ms:
        return
    rate.others += sample.value
    rate.current = (rate.current + 1) % (rate.windows_num + 1)
    sample = &rate.samples[rate.current]
    if rate.current == rate.samples_count:
        rate.samples_count += 1
    else:                               # the oldest one is used again
        rate.others -= sample.value
        atomic_add_relaxed_i64(&rate.total, -sample.value)
    sample_begin(sample, now_ms)
    counter_set(&rate.last_ns, now_ms * MS)


cdef inline void rate_purge(Rate* rate, int64_t now_ms) noexcept nogil:
    """Empty obsolete samples; as in Kafka, they begin now. Under the mutex, after rate_settle."""
    cdef int64_t obsolete_ms = rate.windows_num * rate.window_ms
    cdef int64_t valid_until_ms = 0x7fffffffffff
    cdef int64_t oldest_ms = now_ms
    cdef Sample* sample
    cdef int32_t i
    for i in range(rate.samples_count):
        sample = &rate.samples[i]
        if now_ms - sample.last_ms >= obsolete_ms:
            atomic_add_relaxed_i64(&rate.total, -sample.value)
            if i != rate.current:
                rate.others -= sample.value
            sample_begin(sample, now_ms)
        oldest_ms = min(oldest_ms, sample.begun_ms)
        if i != rate.current:
            valid_until_ms = min(valid_until_ms, sample.last_ms + obsolete_ms)
    valid_until_ms = min(valid_until_ms, rate.samples[rate.current].begun_ms + rate.window_ms)
    counter_set(&rate.oldest_ms, oldest_ms)
    counter_set(&rate.last_ns, rate.samples[rate.current].last_ms * MS)
    counter_set(&rate.valid_until_ns, valid_until_ms * MS)


cdef inline int64_t rate_record_slow(Rate* rate, int64_t value, int64_t now_ms) noexcept nogil:
    """Add a value, and return the sum. Under the mutex."""
    rate_settle(rate, now_ms)
    rate_advance(rate, now_ms)
    rate.samples[rate.current].value += value
    rate.samples[rate.current].last_ms = now_ms
    atomic_add_relaxed_i64(&rate.total, value)
    rate_purge(rate, now_ms)
    return atomic_load_relaxed_i64(&rate.total)


cdef inline bint rate_is_valid(Rate* rate, int64_t now_ns) noexcept nogil:
    """Whether rate_record_fast may be used now."""
    return now_ns < atomic_load_relaxed_i64(&rate.valid_until_ns)


cdef inline int64_t rate_record_fast(Rate* rate, int64_t value, int64_t now_ns) noexcept nogil:
    """Add a value, and return the sum. Any thread, without the mutex."""
    counter_set(&rate.last_ns, now_ns)
    return atomic_add_relaxed_i64(&rate.total, value)


cdef inline int64_t rate_covered_ms(Rate* rate, int64_t now_ms) noexcept nogil:
    """The time by which the sum is divided."""
    cdef int64_t covered_ms = now_ms - atomic_load_relaxed_i64(&rate.oldest_ms)
    cdef int64_t whole = covered_ms // rate.window_ms
    if whole < rate.windows_num - 1:
        covered_ms += (rate.windows_num - 1 - whole) * rate.window_ms
    return covered_ms if covered_ms > 1 else 1
