"""A token bucket as Kafka's metrics.stats.TokenBucket (KIP-599): it may hold what the quota gives in all windows, and may be
overdrawn."""
from libc.stdint cimport int64_t

# Owner: a Sensor, whose mutex guards it.
cdef struct TokenBucket:
    double tokens
    int64_t refilled_ms         # 0: never; the first refill fills it


cdef inline void bucket_refill(TokenBucket* bucket, double per_second, double tokens_max, int64_t now_ms) noexcept nogil:
    cdef double tokens = tokens_max
    if bucket.refilled_ms:
        tokens = bucket.tokens + per_second * (<double>(now_ms - bucket.refilled_ms) / 1000.0)
    bucket.tokens = tokens if tokens < tokens_max else tokens_max
    bucket.refilled_ms = now_ms


cdef inline int64_t bucket_throttle_ms(const TokenBucket* bucket, double per_second) noexcept nogil:
    """How long it takes until the bucket is not overdrawn any more."""
    cdef double wait_ms
    if not bucket.tokens < 0.0:         # a quota that is not a number limits nothing
        return 0
    wait_ms = -bucket.tokens / per_second * 1000.0 + 0.5
    return <int64_t>wait_ms if wait_ms < 2147483647.0 else 2147483647
