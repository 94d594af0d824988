"""How much the throttled replicas of this broker send, fetch and copy (Kafka: ReplicationQuotaManager).

Who asks decides which replicas are throttled. The rate is Kafka's SimpleRate: the sum of the samples, divided by the time since the
oldest one began, at least one window. Without a limit, a question is one atomic load.
"""
from libc.stdint cimport int64_t

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64, counter_set
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.posix cimport pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.quota.rate cimport (
    MS, rate_init, rate_is_valid, rate_purge, rate_record_fast, rate_record_slow, rate_settle,
)

cdef enum:
    WINDOWS_NUM = 11            # Kafka's defaults
    WINDOW_MS = 1000

cdef int64_t UNLIMITED = 0x7fffffffffffffff
cdef int64_t FOREVER_MS = 0x7fffffffffff
cdef ReplicationQuota quotas[REPLICATION_KINDS]

KINDS = ("leader", "follower", "log dirs")      # by ReplicationKind


cdef void init_quotas() noexcept nogil:
    cdef int i
    for i in range(<int>REPLICATION_KINDS):
        quotas[i].limit = UNLIMITED
        pthread_mutex_init(&quotas[i].mutex, NULL)
        rate_init(&quotas[i].rate, quotas[i].samples, WINDOWS_NUM, WINDOW_MS, monotonic_ns() // MS)


init_quotas()


cdef int64_t covered_ms(ReplicationQuota* replication, int64_t now_ms) noexcept nogil:
    return max(now_ms - atomic_load_relaxed_i64(&replication.rate.oldest_ms), replication.rate.window_ms)


cdef void forget_obsolete(ReplicationQuota* replication, int64_t now_ns) noexcept nogil:
    if not rate_is_valid(&replication.rate, now_ns):
        pthread_mutex_lock(&replication.mutex)
        rate_settle(&replication.rate, now_ns // MS)
        rate_purge(&replication.rate, now_ns // MS)
        pthread_mutex_unlock(&replication.mutex)


cdef void replication_record(ReplicationKind kind, int64_t bytes, int64_t now_ns) noexcept nogil:
    cdef ReplicationQuota* replication = &quotas[<int>kind]
    if rate_is_valid(&replication.rate, now_ns):
        rate_record_fast(&replication.rate, bytes, now_ns)
        return
    pthread_mutex_lock(&replication.mutex)
    rate_record_slow(&replication.rate, bytes, now_ns // MS)
    pthread_mutex_unlock(&replication.mutex)


cdef int64_t replication_wait_ms(ReplicationKind kind, int64_t now_ns) noexcept nogil:
    cdef ReplicationQuota* replication = &quotas[<int>kind]
    cdef int64_t limit = atomic_load_relaxed_i64(&replication.limit)
    cdef int64_t elapsed
    cdef double byte_ms
    if limit == UNLIMITED:
        return 0
    forget_obsolete(replication, now_ns)
    elapsed = now_ns // MS - atomic_load_relaxed_i64(&replication.rate.oldest_ms)
    byte_ms = <double>atomic_load_relaxed_i64(&replication.rate.total) * 1000.0
    if not byte_ms > <double>limit * <double>covered_ms(replication, now_ns // MS):
        return 0
    if limit == 0 or byte_ms > <double>limit * <double>FOREVER_MS:
        return FOREVER_MS
    return <int64_t>(byte_ms / <double>limit) - elapsed + 1


def set_limit(str kind, limit):
    """Set the bytes a second of a kind (KINDS); None: no limit."""
    counter_set(&quotas[KINDS.index(kind)].limit, UNLIMITED if limit is None else min(limit, UNLIMITED))


cdef inline int64_t time_of(int64_t now_ms) noexcept nogil:
    return now_ms * MS if now_ms >= 0 else monotonic_ns()


def set_windows(str kind, int windows_num, int window_s, *, int64_t now_ms=-1):
    """Set in how many windows (at most REPLICATION_WINDOWS_MAX) of which length a kind is measured, and forget what was counted.

    Here and below, `now_ms` is a time that a test gives.
    """
    cdef ReplicationQuota* replication = &quotas[KINDS.index(kind)]
    windows_num = max(1, min(windows_num, <int>REPLICATION_WINDOWS_MAX))
    with nogil:
        pthread_mutex_lock(&replication.mutex)
        rate_init(
            &replication.rate, replication.samples, windows_num, window_s * <int64_t>1000, time_of(now_ms) // MS)
        counter_set(&replication.rate.total, 0)
        pthread_mutex_unlock(&replication.mutex)


def record(str kind, int64_t size, *, int64_t now_ms=-1):
    """Count bytes that were copied."""
    cdef ReplicationKind which = KINDS.index(kind)
    with nogil:
        replication_record(which, size, time_of(now_ms))


def wait_ms(str kind, *, int64_t now_ms=-1):
    """See replication_wait_ms."""
    cdef ReplicationKind which = KINDS.index(kind)
    cdef int64_t found
    with nogil:
        found = replication_wait_ms(which, time_of(now_ms))
    return found


def byte_rate(str kind, *, int64_t now_ms=-1):
    """The rate now, in bytes a second."""
    cdef ReplicationQuota* replication = &quotas[KINDS.index(kind)]
    cdef int64_t now_ns = time_of(now_ms)
    with nogil:
        forget_obsolete(replication, now_ns)
    return 1000.0 * atomic_load_relaxed_i64(&replication.rate.total) / covered_ms(replication, now_ns // MS)
