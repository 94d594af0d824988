"""Client quotas as Python sees them: what the control plane sets, uses and reads; see kafka_cy/quota and throttle.pyx."""
from typing import NamedTuple

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.network.server cimport Server
from kafka_cy.network.throttle cimport ANONYMOUS, ANONYMOUS_SIZE
from kafka_cy.quota.entities cimport NAME_DEFAULT, NAME_GIVEN, NAME_NONE, Name
from kafka_cy.quota.sensor cimport (
    QUOTA_KINDS, QUOTA_MUTATION, Sensor, sensor_delayed, sensor_limit, sensor_read, sensor_release, sensor_take,
)
from kafka_cy.quota.table cimport (
    Quotas, quota_is_on, quotas_expire, quotas_list, quotas_put, quotas_put_address, quotas_sensor,
)

cdef enum:
    WINDOWS_MAX = 1000          # a sensor takes 24 bytes for each
    EXPIRED_AT_ONCE = 128       # sensors that are looked at while the table's mutex is held
    EXPIRED_TIMES_MAX = 64
    SHOWN_MAX = 1000            # sensors that the metrics show: those used last

KINDS = ("produce", "fetch", "request", "mutation", "connection")   # by QuotaKind


class SensorReading(NamedTuple):
    """What a sensor shows: its kind, names ("": not of the quota), quota, rate, average throttle time in ms and tokens.

    A number that there is not is NaN.
    """

    kind: str
    user: str
    client_id: str
    limit: float
    rate: float
    throttle_ms: float
    tokens: float


cdef void fill_name(Name* name, bytes text, bint given):
    name.form = NAME_NONE if not given else NAME_DEFAULT if text is None else NAME_GIVEN
    name.text = text if text is not None else b""
    name.size = <int32_t>len(text) if text is not None else 0


cdef class ClientQuotas:
    """The quotas of a server. Any thread may call. The locks of kafka_cy/quota are never waited for with the GIL."""

    cdef Server server

    def __init__(self, Server server not None):
        self.server = server

    def set_windows(self, str kind, int windows_num, int window_s):
        """Set in how many windows (at most WINDOWS_MAX) of which length a kind is measured. Before the server starts."""
        cdef Quotas* quotas = <Quotas*>self.server.network.quotas
        cdef int place = KINDS.index(kind)
        quotas.windows_num[place] = max(1, min(windows_num, WINDOWS_MAX))
        quotas.window_ms[place] = window_s * <int64_t>1000

    def set_client(self, names, limits):
        """Replace the quotas of users and client ids.

        `names` has "user", "client-id" or both, each a name or None (the default); `limits` is a dict by kind (KINDS).
        """
        cdef Quotas* quotas = <Quotas*>self.server.network.quotas
        cdef double[QUOTA_KINDS] wanted
        cdef bytes user = names["user"].encode("utf-8", "surrogatepass") if names.get("user") is not None else None
        cdef bytes client = names["client-id"].encode("utf-8", "surrogatepass") if names.get("client-id") is not None else None
        cdef Name user_name
        cdef Name client_name
        cdef int result
        cdef int i
        for i in range(<int>QUOTA_KINDS):
            wanted[i] = limits.get(KINDS[i], -1.0)
        fill_name(&user_name, user, "user" in names)
        fill_name(&client_name, client, "client-id" in names)
        with nogil:
            result = quotas_put(quotas, &user_name, &client_name, wanted)
        if result < 0:
            raise MemoryError

    def set_address(self, bytes address, double limit):
        """Replace the quota of new connections of an address (4 or 16 bytes); None: of all others. Below 0: none."""
        cdef Quotas* quotas = <Quotas*>self.server.network.quotas
        cdef uint8_t[16] padded
        cdef uint8_t* given = NULL
        cdef int result
        if address is not None:
            memset(padded, 0, 16)
            memcpy(padded, <const char*>address, <size_t>min(len(address), <Py_ssize_t>16))
            given = padded
        with nogil:
            result = quotas_put_address(quotas, given, limit)
        if result < 0:
            raise MemoryError

    def take_mutations(self, str user, str client_id, double permits, bint strict):
        """Count changes of partitions by this client; `user` None is the anonymous one.

        Returns whether they are allowed, and for how long the client is throttled, in ms. With `strict`, they are not allowed while
        the quota is overdrawn, and only then the client is throttled; otherwise it is throttled as soon as they overdraw it.
        """
        cdef Quotas* quotas = <Quotas*>self.server.network.quotas
        cdef bytes client
        cdef bytes user_name
        cdef const char* text
        cdef const char* user_text = ANONYMOUS
        cdef int32_t size
        cdef int32_t user_size = ANONYMOUS_SIZE
        cdef Sensor* sensor
        cdef int64_t throttle_ms = 0
        cdef int64_t now_ms = monotonic_ns() // 1000000
        cdef bint allowed = True
        if not quota_is_on(quotas, 1 << QUOTA_MUTATION):
            return True, 0
        client = (client_id or "").encode("utf-8", "replace")
        text = client
        size = <int32_t>len(client)
        if user is not None:
            user_name = user.encode()
            user_text, user_size = user_name, <int32_t>len(user_name)
        with nogil:
            sensor = quotas_sensor(quotas, QUOTA_MUTATION, user_text, user_size, text, size, now_ms)
            if sensor != NULL:
                allowed = sensor_take(sensor, permits, strict, now_ms, &throttle_ms)
                if strict and allowed:
                    throttle_ms = 0
                if throttle_ms > 0:
                    sensor_delayed(sensor, throttle_ms, now_ms)
                sensor_release(sensor)
        return allowed, throttle_ms

    def expire(self):
        """Drop sensors that were not used for an hour, of those that were not used for longest. Call it now and then."""
        cdef Quotas* quotas = <Quotas*>self.server.network.quotas
        cdef int64_t now_ms = monotonic_ns() // 1000000
        cdef int i
        with nogil:
            for i in range(EXPIRED_TIMES_MAX):  # no-cython-lint
                if quotas_expire(quotas, now_ms, EXPIRED_AT_ONCE) < EXPIRED_AT_ONCE:
                    break

    @property
    def dropped(self):
        """How many sensors made room for others."""
        return atomic_load_relaxed_i64(&(<Quotas*>self.server.network.quotas).dropped)

    @property
    def sensors_count(self):
        """How many sensors there are."""
        return (<Quotas*>self.server.network.quotas).sensors_count

    def sensors(self):
        """Return SensorReadings, those of the clients that came last first; at most SHOWN_MAX."""
        cdef Quotas* quotas = <Quotas*>self.server.network.quotas
        cdef Sensor** found = <Sensor**>calloc(SHOWN_MAX, sizeof(Sensor*))
        cdef int64_t now_ms = monotonic_ns() // 1000000
        cdef double rate = 0.0
        cdef double throttle_ms = 0.0
        cdef double tokens = 0.0
        cdef Sensor* sensor
        cdef list readings = []
        cdef set seen = set()
        cdef int count
        cdef int i
        if found == NULL:
            raise MemoryError
        with nogil:
            count = quotas_list(quotas, found, SHOWN_MAX)
        try:
            for i in range(count):
                sensor = found[i]
                with nogil:
                    sensor_read(sensor, now_ms, &rate, &throttle_ms, &tokens)
                reading = SensorReading(
                    KINDS[sensor.kind], sensor.user_name[:sensor.user_size].decode("utf-8", "replace"),
                    sensor.client_name[:sensor.client_size].decode("utf-8", "replace"), sensor_limit(sensor), rate,
                    throttle_ms, tokens,
                )
                if reading[:3] not in seen:     # names that are not UTF-8 may look the same
                    seen.add(reading[:3])
                    readings.append(reading)
        finally:
            for i in range(count):
                sensor_release(found[i])
            free(found)
        return readings
