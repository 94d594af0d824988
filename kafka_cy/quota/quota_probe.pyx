"""Sensors and the table of quotas for tests; times are given."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.quota.entities cimport NAME_DEFAULT, NAME_GIVEN, NAME_NONE, Name
from kafka_cy.quota.sensor cimport (
    Sensor, sensor_delayed, sensor_limit, sensor_read, sensor_record, sensor_record_slow, sensor_release, sensor_take,
    sensor_throttle_ms,
)
from kafka_cy.quota.table cimport (
    Quotas, quota_is_on, quotas_expire, quotas_free, quotas_init, quotas_put, quotas_sensor,
)


cdef class SensorProbe:
    """A sensor, with a reference."""

    cdef Sensor* sensor

    def __dealloc__(self):
        if self.sensor != NULL:
            sensor_release(self.sensor)

    def record(self, int64_t value, int64_t now_ms):
        """Return the throttle time in ms."""
        cdef int64_t throttle_ms
        with nogil:
            throttle_ms = sensor_record(self.sensor, value, now_ms * 1000000)
        return throttle_ms

    def record_slowly(self, int64_t value, int64_t now_ms):
        """The same, always under the mutex."""
        cdef int64_t total
        with nogil:
            total = sensor_record_slow(self.sensor, value, now_ms)
        return sensor_throttle_ms(self.sensor, total, now_ms)

    def take(self, double permits, bint strict, int64_t now_ms):
        """Return whether mutations are allowed, and the throttle time in ms."""
        cdef int64_t throttle_ms = 0
        cdef bint allowed
        with nogil:
            allowed = sensor_take(self.sensor, permits, strict, now_ms, &throttle_ms)
        return allowed, throttle_ms

    def delayed(self, int64_t throttle_ms, int64_t now_ms):
        with nogil:
            sensor_delayed(self.sensor, throttle_ms, now_ms)

    def read(self, int64_t now_ms):
        """Return rate, average throttle time, tokens."""
        cdef double rate = 0.0
        cdef double throttle_ms = 0.0
        cdef double tokens = 0.0
        with nogil:
            sensor_read(self.sensor, now_ms, &rate, &throttle_ms, &tokens)
        return rate, throttle_ms, tokens

    @property
    def limit(self):
        return sensor_limit(self.sensor)

    @property
    def window_max(self):
        return self.sensor.harmless

    @property
    def is_listed(self):
        return self.sensor.place >= 0

    @property
    def names(self):
        return (
            self.sensor.user_name[:self.sensor.user_size].decode(), self.sensor.client_name[:self.sensor.client_size].decode()
        )

    def __eq__(self, other):
        return isinstance(other, SensorProbe) and self.sensor == (<SensorProbe>other).sensor


cdef void fill_name(Name* name, text):
    """`text`: bytes; None: the default; False: no name of this type."""
    cdef bytes given = text if text else b""
    name.form = NAME_NONE if text is False else NAME_DEFAULT if text is None else NAME_GIVEN
    name.text = given
    name.size = <int32_t>len(given)


cdef class QuotasProbe:
    """A table of quotas."""

    cdef Quotas quotas

    def __cinit__(self, int windows_num=11, int64_t window_ms=1000):
        quotas_init(&self.quotas)
        for kind in range(5):
            self.quotas.windows_num[kind] = windows_num
            self.quotas.window_ms[kind] = window_ms

    def __dealloc__(self):
        quotas_free(&self.quotas)

    def put(self, user, client, limits):
        """Names are bytes, None (default) or False (none); `limits` are five numbers."""
        cdef double[5] wanted
        cdef Name user_name
        cdef Name client_name
        for i in range(5):
            wanted[i] = limits[i]
        fill_name(&user_name, user)
        fill_name(&client_name, client)
        cdef int result
        with nogil:
            result = quotas_put(&self.quotas, &user_name, &client_name, wanted)
        assert result == 0

    def find(self, int kind, bytes user not None, bytes client not None, int64_t now_ms=1):
        """Return the SensorProbe of a client; None: no quota applies."""
        cdef SensorProbe probe = SensorProbe.__new__(SensorProbe)
        cdef const char* user_text = user
        cdef const char* client_text = client
        cdef int32_t user_size = <int32_t>len(user)
        cdef int32_t client_size = <int32_t>len(client)
        with nogil:
            probe.sensor = quotas_sensor(&self.quotas, kind, user_text, user_size, client_text, client_size, now_ms)
        return probe if probe.sensor != NULL else None

    def is_on(self, int kind):
        return quota_is_on(&self.quotas, 1 << kind)

    def expire(self, int64_t now_ms, int most):
        cdef int looked_at
        with nogil:
            looked_at = quotas_expire(&self.quotas, now_ms, most)
        return looked_at

    @property
    def version(self):
        return self.quotas.version

    @property
    def counts(self):
        """Entities, sensors, sensors that made room."""
        return self.quotas.entities.count, self.quotas.sensors_count, self.quotas.dropped
