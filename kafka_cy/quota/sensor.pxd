"""A sensor: what one client entity has used of one quota, on this broker; see sensor.pyx."""
from libc.stdint cimport int32_t, int64_t, uint64_t

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64, counter_set
from kafka_cy.base.posix cimport pthread_mutex_t
from kafka_cy.quota.rate cimport MS, Rate, rate_is_valid, rate_record_fast
from kafka_cy.quota.token_bucket cimport TokenBucket

cdef enum QuotaKind:
    QUOTA_PRODUCE = 0           # producer_byte_rate: bytes
    QUOTA_FETCH = 1             # consumer_byte_rate: bytes
    QUOTA_REQUEST = 2           # request_percentage: nanoseconds of threads; 100 are one thread all the time
    QUOTA_MUTATION = 3          # controller_mutation_rate: partitions created or deleted
    QUOTA_CONNECTION = 4        # connection_creation_rate: connections
    QUOTA_KINDS = 5

cdef enum:
    CLIENT_KINDS = 4            # the kinds of users and client ids
    NAME_BYTES_MAX = 200        # of a user or client id, for the metrics; longer names end with a hash
    THROTTLE_MS_MAX = 0x7fffffff
    DELAY_WINDOWS = 2           # Kafka's default of windows of the average throttle time
    DELAY_WINDOW_MS = 30000

# The average of throttle times over two windows of 30 s (metrics.stats.Avg). Under the sensor's mutex.
cdef struct Delays:
    int64_t begun_ms[DELAY_WINDOWS]
    int64_t sum_ms[DELAY_WINDOWS]
    int64_t count[DELAY_WINDOWS]
    int32_t current

# Purpose: see above. Owner: whoever holds a reference: the table (quota/table.pyx) and connections that use it.
# Lock: `mutex`, held while samples change and for a few additions; rates are recorded without it most of the time.
# Lifetime: until the last reference goes. The table drops it after an hour without use, or when others need its place.
cdef struct Sensor:
    pthread_mutex_t mutex
    int32_t references          # (a)
    int32_t kind
    double unit                 # value of one counted unit in the unit of the quota
    int64_t limit               # (a) the bits of a double: the quota; changes when a look-up finds another one
    int64_t harmless            # (a) a sum up to this is within the quota at any time; more, recorded at once, never is
    Rate rate
    TokenBucket bucket          # QUOTA_MUTATION
    Delays delays
    # the table's, under its mutex
    uint64_t user[2]            # hashes: who it belongs to
    uint64_t client[2]
    int32_t place               # index in the table; -1: it was dropped
    Sensor* newer               # in the order of use
    Sensor* older
    int32_t user_size
    int32_t client_size
    char user_name[NAME_BYTES_MAX]
    char client_name[NAME_BYTES_MAX]

cdef extern from *:
    """
    static inline double kafka_cy_double_of(int64_t bits) { double value; memcpy(&value, &bits, 8); return value; }
    static inline int64_t kafka_cy_bits_of(double value) { int64_t bits; memcpy(&bits, &value, 8); return bits; }
    #define kafka_cy_usually(condition) __builtin_expect(!!(condition), 1)
    """
    bint usually "kafka_cy_usually"(bint condition) noexcept nogil      # the other case is placed elsewhere by the C compiler
    double double_of "kafka_cy_double_of"(int64_t bits) noexcept nogil
    int64_t bits_of "kafka_cy_bits_of"(double value) noexcept nogil

cdef void sensor_release(Sensor* sensor) noexcept nogil
# Records a value when samples may change; returns the sum.
cdef int64_t sensor_record_slow(Sensor* sensor, int64_t value, int64_t now_ms) noexcept nogil
# How long to wait until the rate is within the quota again; 0: it is.
cdef int64_t sensor_throttle_ms(Sensor* sensor, int64_t total, int64_t now_ms) noexcept nogil
# Records that the client is throttled for this time.
cdef void sensor_delayed(Sensor* sensor, int64_t throttle_ms, int64_t now_ms) noexcept nogil
# What a sensor shows now: its rate in the unit of the quota, and the average throttle time in ms (not a number: none).
cdef void sensor_read(Sensor* sensor, int64_t now_ms, double* rate, double* delay_ms, double* tokens) noexcept nogil
# Controller mutations (KIP-599). Whether they are allowed: strict ones not while the bucket is overdrawn. `throttle_ms`: how
# long it stays overdrawn.
cdef bint sensor_take(Sensor* sensor, double permits, bint strict, int64_t now_ms, int64_t* throttle_ms) noexcept nogil


cdef inline double sensor_limit(Sensor* sensor) noexcept nogil:
    return double_of(atomic_load_relaxed_i64(&sensor.limit))


cdef inline void sensor_set_limit(Sensor* sensor, double limit) noexcept nogil:
    """A sum is divided by the time of all windows but one at least (rate_covered_ms)."""
    cdef double harmless = limit / sensor.unit * (<double>((sensor.rate.windows_num - 1) * sensor.rate.window_ms) / 1000.0)
    counter_set(&sensor.limit, bits_of(limit))
    # A quota that is not a number limits nothing.
    counter_set(&sensor.harmless, <int64_t>harmless if harmless < 9e18 else 0x7fffffffffffffff)


cdef inline int64_t sensor_record(Sensor* sensor, int64_t value, int64_t now_ns) noexcept nogil:
    """Record that the client used `value`; return how long it is to wait, in ms."""
    cdef int64_t total
    if usually(rate_is_valid(&sensor.rate, now_ns)):
        total = rate_record_fast(&sensor.rate, value, now_ns)
    else:
        total = sensor_record_slow(sensor, value, now_ns // MS)
    if usually(total <= atomic_load_relaxed_i64(&sensor.harmless)):
        return 0
    return sensor_throttle_ms(sensor, total, now_ns // MS)
