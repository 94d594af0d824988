"""What happens to a sensor under its mutex: samples change, it is read, and partitions are created or deleted (KIP-599)."""
from libc.math cimport NAN
from libc.stdint cimport int64_t
from libc.stdlib cimport free

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64, atomic_sub_i32, counter_set
from kafka_cy.base.posix cimport pthread_mutex_destroy, pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.quota.rate cimport MS, rate_covered_ms, rate_purge, rate_record_slow, rate_settle
from kafka_cy.quota.token_bucket cimport bucket_refill, bucket_throttle_ms


cdef void sensor_release(Sensor* sensor) noexcept nogil:
    if atomic_sub_i32(&sensor.references, 1) == 0:
        pthread_mutex_destroy(&sensor.mutex)
        free(sensor)


cdef int64_t sensor_record_slow(Sensor* sensor, int64_t value, int64_t now_ms) noexcept nogil:
    cdef int64_t total
    pthread_mutex_lock(&sensor.mutex)
    total = rate_record_slow(&sensor.rate, value, now_ms)
    pthread_mutex_unlock(&sensor.mutex)
    return total


cdef int64_t sensor_throttle_ms(Sensor* sensor, int64_t total, int64_t now_ms) noexcept nogil:
    cdef int64_t covered_ms = rate_covered_ms(&sensor.rate, now_ms)
    cdef double rate = <double>total * sensor.unit / (<double>covered_ms / 1000.0)
    cdef double limit = sensor_limit(sensor)
    cdef double wait_ms
    if not rate > limit:        # a quota that is not a number limits nothing
        return 0
    wait_ms = (rate - limit) / limit * <double>covered_ms + 0.5
    return <int64_t>wait_ms if wait_ms < <double>THROTTLE_MS_MAX else THROTTLE_MS_MAX


cdef void sensor_delayed(Sensor* sensor, int64_t throttle_ms, int64_t now_ms) noexcept nogil:
    cdef Delays* delays = &sensor.delays
    pthread_mutex_lock(&sensor.mutex)
    if delays.count[delays.current] and now_ms - delays.begun_ms[delays.current] >= DELAY_WINDOW_MS:
        delays.current = 1 - delays.current
        delays.count[delays.current] = 0
        delays.sum_ms[delays.current] = 0
    if delays.count[delays.current] == 0:
        delays.begun_ms[delays.current] = now_ms
    delays.count[delays.current] += 1
    delays.sum_ms[delays.current] += throttle_ms
    pthread_mutex_unlock(&sensor.mutex)


cdef void sensor_read(Sensor* sensor, int64_t now_ms, double* rate, double* delay_ms, double* tokens) noexcept nogil:
    cdef int64_t total
    cdef int64_t count = 0
    cdef int64_t sum_ms = 0
    cdef int i
    pthread_mutex_lock(&sensor.mutex)
    rate_settle(&sensor.rate, now_ms)
    rate_purge(&sensor.rate, now_ms)
    total = atomic_load_relaxed_i64(&sensor.rate.total)
    for i in range(DELAY_WINDOWS):
        if sensor.delays.count[i] and now_ms - sensor.delays.begun_ms[i] < DELAY_WINDOWS * DELAY_WINDOW_MS:
            count += sensor.delays.count[i]
            sum_ms += sensor.delays.sum_ms[i]
    tokens[0] = NAN
    if sensor.kind == QUOTA_MUTATION:
        refill(sensor, now_ms)
        tokens[0] = sensor.bucket.tokens
    pthread_mutex_unlock(&sensor.mutex)
    rate[0] = <double>total * sensor.unit * 1000.0 / <double>rate_covered_ms(&sensor.rate, now_ms)
    delay_ms[0] = <double>sum_ms / <double>count if count else NAN


# -- controller mutations --

cdef void refill(Sensor* sensor, int64_t now_ms) noexcept nogil:
    cdef double limit = sensor_limit(sensor)
    cdef double most = limit * sensor.rate.windows_num * (<double>sensor.rate.window_ms / 1000.0)
    bucket_refill(&sensor.bucket, limit, most, now_ms)


cdef bint sensor_take(Sensor* sensor, double permits, bint strict, int64_t now_ms, int64_t* throttle_ms) noexcept nogil:
    cdef bint allowed = True
    pthread_mutex_lock(&sensor.mutex)
    refill(sensor, now_ms)
    counter_set(&sensor.rate.last_ns, now_ms * MS)
    if strict and sensor.bucket.tokens < 0.0:
        allowed = False
    else:
        sensor.bucket.tokens -= permits
        rate_record_slow(&sensor.rate, <int64_t>permits, now_ms)
    throttle_ms[0] = bucket_throttle_ms(&sensor.bucket, sensor_limit(sensor))
    pthread_mutex_unlock(&sensor.mutex)
    return allowed
