"""Finds the quota that applies to a client, and the sensor that counts what it uses.

Names are compared by their hashes (entities.pyx), so a sensor needs no memory for names that clients choose, except for what the
metrics show of them.

The quota of a kind is that of the first of these entities that has one: the user with the client id, the user with the default
client id, the user, the default user with the client id, both defaults, the default user, the client id, the default client id.
Clients of one user share a sensor if the quota is that of a user, and those of one client id if it is that of a client id.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from kafka_cy.base.atomics cimport atomic_add_i32, atomic_add_i64, atomic_load_relaxed_i64, counter_set
from kafka_cy.base.hash_table cimport (
    hash_table_free, hash_table_insert, hash_table_next, hash_table_remove, hash_table_renumber, hash_table_reserve,
    hash_table_start,
)
from kafka_cy.base.posix cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.quota.entities cimport (
    NAME_DEFAULT, NAME_GIVEN, NAME_NONE, Name, NameForm, entities_find, entities_free, entities_put, hash_address, hash_name,
    hash_of_names, is_quota, same_name,
)
from kafka_cy.quota.rate cimport MS, Sample, rate_init
from kafka_cy.quota.sensor cimport (
    NAME_BYTES_MAX, QUOTA_CONNECTION, QUOTA_REQUEST, sensor_release, sensor_set_limit,
)

cdef enum:
    UNUSED_MS = 3600000             # then a sensor is dropped, as in Kafka
    EVICTIONS_TRIED_MAX = 8         # sensors that are looked at to make room for one
    RECENT_MS = 11000               # a sensor that was used since then is spared
    TOLD_EVERY_MS = 1000
    LEVELS = 8

cdef double PERCENT_PER_NS = 1e-7   # of a thread, in one second

# Which names each level of entities has, in the order of precedence.
cdef struct Level:
    NameForm user
    NameForm client

cdef Level[LEVELS] levels
levels[0] = Level(NAME_GIVEN, NAME_GIVEN)
levels[1] = Level(NAME_GIVEN, NAME_DEFAULT)
levels[2] = Level(NAME_GIVEN, NAME_NONE)
levels[3] = Level(NAME_DEFAULT, NAME_GIVEN)
levels[4] = Level(NAME_DEFAULT, NAME_DEFAULT)
levels[5] = Level(NAME_DEFAULT, NAME_NONE)
levels[6] = Level(NAME_NONE, NAME_GIVEN)
levels[7] = Level(NAME_NONE, NAME_DEFAULT)


cdef void quotas_init(Quotas* quotas) noexcept nogil:
    cdef int kind
    memset(quotas, 0, sizeof(Quotas))
    for kind in range(<int>QUOTA_KINDS):
        quotas.windows_num[kind] = 11           # Kafka's defaults
        quotas.window_ms[kind] = 1000
    pthread_mutex_init(&quotas.mutex, NULL)


cdef void quotas_free(Quotas* quotas) noexcept nogil:
    cdef int32_t i
    for i in range(quotas.sensors_count):
        sensor_release(quotas.sensors[i])
    free(quotas.sensors)
    entities_free(&quotas.entities)
    hash_table_free(&quotas.sensors_table)
    pthread_mutex_destroy(&quotas.mutex)


# -- entities --

cdef int put(Quotas* quotas, const uint64_t* user, const uint64_t* client, const double* limits) noexcept nogil:
    cdef int64_t on
    pthread_mutex_lock(&quotas.mutex)
    on = entities_put(&quotas.entities, user, client, limits)
    if on >= 0:
        counter_set(&quotas.on, on)
        atomic_add_i64(&quotas.version, 1)
    pthread_mutex_unlock(&quotas.mutex)
    return 0 if on >= 0 else -1


cdef int quotas_put(Quotas* quotas, const Name* user, const Name* client, const double* limits) noexcept nogil:
    cdef uint64_t[2] user_hash
    cdef uint64_t[2] client_hash
    hash_name(user, user_hash)
    hash_name(client, client_hash)
    return put(quotas, user_hash, client_hash, limits)


cdef int quotas_put_address(Quotas* quotas, const uint8_t* address, double limit) noexcept nogil:
    cdef double[QUOTA_KINDS] limits
    cdef uint64_t[2] user
    cdef uint64_t[2] client
    cdef int i
    for i in range(<int>QUOTA_KINDS):
        limits[i] = -1.0
    limits[<int>QUOTA_CONNECTION] = limit
    hash_address(address, user, client)
    return put(quotas, user, client, limits)


# -- sensors --

cdef void unlink_sensor(Quotas* quotas, Sensor* sensor) noexcept nogil:
    if sensor.newer != NULL:
        sensor.newer.older = sensor.older
    else:
        quotas.newest = sensor.older
    if sensor.older != NULL:
        sensor.older.newer = sensor.newer
    else:
        quotas.oldest = sensor.newer


cdef void link_newest(Quotas* quotas, Sensor* sensor) noexcept nogil:
    sensor.newer = NULL
    sensor.older = quotas.newest
    if sensor.older != NULL:
        sensor.older.newer = sensor
    else:
        quotas.oldest = sensor
    quotas.newest = sensor


cdef void tell_of_drops(Quotas* quotas, int64_t now_ms) noexcept nogil:
    """Let connections that use dropped sensors look for others. Under the mutex."""
    quotas.told_ms = now_ms
    quotas.untold = False
    atomic_add_i64(&quotas.version, 1)


cdef void sensor_drop(Quotas* quotas, Sensor* sensor) noexcept nogil:
    """Take a sensor out of the table. Under the mutex, and then tell_of_drops now or soon."""
    cdef int32_t place = sensor.place
    cdef Sensor* last = quotas.sensors[quotas.sensors_count - 1]
    hash_table_remove(&quotas.sensors_table, hash_of_names(sensor.user, sensor.client, sensor.kind), place)
    quotas.sensors_count -= 1
    if place != quotas.sensors_count:
        hash_table_renumber(
            &quotas.sensors_table, hash_of_names(last.user, last.client, last.kind), quotas.sensors_count, place
        )
        quotas.sensors[place] = last
        last.place = place
    unlink_sensor(quotas, sensor)
    sensor.place = -1
    quotas.untold = True
    sensor_release(sensor)


cdef bint unused_since(Quotas* quotas, Sensor* sensor, int64_t before_ms) noexcept nogil:
    """Whether it was not used since then. If it was, it moves to the newest. Under the mutex."""
    if atomic_load_relaxed_i64(&sensor.rate.last_ns) // MS <= before_ms:
        return True
    unlink_sensor(quotas, sensor)
    link_newest(quotas, sensor)
    return False


cdef void make_room(Quotas* quotas, int64_t now_ms) noexcept nogil:
    """Drop a sensor that was not used for long. Under the mutex.

    With more clients than sensors this happens all the time. All connections look for their sensors again then, but not each time.
    """
    cdef int i
    for i in range(EVICTIONS_TRIED_MAX):  # no-cython-lint
        if unused_since(quotas, quotas.oldest, now_ms - RECENT_MS):
            break
    quotas.dropped += 1
    sensor_drop(quotas, quotas.oldest)
    if now_ms - quotas.told_ms >= TOLD_EVERY_MS:
        tell_of_drops(quotas, now_ms)


cdef int32_t copy_name(char* kept, const char* text, int32_t size, const uint64_t* hash) noexcept nogil:
    """Keep a name for the metrics; a hash at the end of a long one makes it differ from others. Characters stay whole."""
    cdef int32_t cut = NAME_BYTES_MAX - 20
    if size <= NAME_BYTES_MAX:
        memcpy(kept, text, <size_t>size)
        return size
    while cut > 0 and (<uint8_t>text[cut] & 0xc0) == 0x80:
        cut -= 1
    memcpy(kept, text, <size_t>cut)
    return cut + snprintf(kept + cut, <size_t>(NAME_BYTES_MAX - cut), b"~%016llx", <unsigned long long>hash[0])


cdef Sensor* sensor_new(Quotas* quotas, int kind, const uint64_t* user, const uint64_t* client, int64_t now_ms) noexcept nogil:
    cdef size_t samples = <size_t>(quotas.windows_num[kind] + 1) * sizeof(Sample)
    cdef Sensor* sensor = <Sensor*>calloc(1, sizeof(Sensor) + samples)
    if sensor == NULL:
        return NULL
    pthread_mutex_init(&sensor.mutex, NULL)
    sensor.references = 1
    sensor.kind = kind
    sensor.unit = PERCENT_PER_NS if kind == QUOTA_REQUEST else 1.0
    rate_init(&sensor.rate, <Sample*>(sensor + 1), quotas.windows_num[kind], quotas.window_ms[kind], now_ms)
    memcpy(sensor.user, user, 16)
    memcpy(sensor.client, client, 16)
    return sensor


cdef bint sensor_add(Quotas* quotas, Sensor* sensor, int64_t now_ms) noexcept nogil:
    """Put a new sensor into the table, which takes over the reference; False without memory. Under the mutex."""
    cdef int32_t capacity = 2 * quotas.sensors_capacity + 16
    cdef Sensor** grown
    if quotas.sensors_count >= SENSORS_MAX:
        make_room(quotas, now_ms)
    if quotas.sensors_count == quotas.sensors_capacity:
        grown = <Sensor**>realloc(quotas.sensors, <size_t>capacity * sizeof(Sensor*))
        if grown == NULL:
            return False
        quotas.sensors = grown
        quotas.sensors_capacity = capacity
    if hash_table_reserve(&quotas.sensors_table, <uint32_t>quotas.sensors_count + 1) < 0:
        return False
    sensor.place = quotas.sensors_count
    quotas.sensors[sensor.place] = sensor
    quotas.sensors_count += 1
    hash_table_insert(&quotas.sensors_table, hash_of_names(sensor.user, sensor.client, sensor.kind), sensor.place)
    link_newest(quotas, sensor)
    return True


cdef Sensor* sensor_find(Quotas* quotas, int kind, const uint64_t* user, const uint64_t* client) noexcept nogil:
    """Under the mutex."""
    cdef uint32_t hash = hash_of_names(user, client, kind)
    cdef uint32_t place = hash_table_start(&quotas.sensors_table, hash)
    cdef int32_t found = hash_table_next(&quotas.sensors_table, hash, &place)
    cdef Sensor* sensor
    while found >= 0:
        sensor = quotas.sensors[found]
        if sensor.kind == kind and same_name(sensor.user, user) and same_name(sensor.client, client):
            return sensor
        found = hash_table_next(&quotas.sensors_table, hash, &place)
    return NULL


cdef Sensor* sensor_for(
    Quotas* quotas, int kind, const uint64_t* user, const uint64_t* client, const Name* user_name, const Name* client_name,
    double limit, int64_t now_ms,
) noexcept nogil:
    """Return the sensor with a reference for the caller; NULL without memory. Under the mutex."""
    cdef Sensor* sensor = sensor_find(quotas, kind, user, client)
    if sensor == NULL:
        sensor = sensor_new(quotas, kind, user, client, now_ms)
        if sensor == NULL:
            return NULL
        if user_name.form == NAME_GIVEN:
            sensor.user_size = copy_name(sensor.user_name, user_name.text, user_name.size, user)
        if client_name.form == NAME_GIVEN:
            sensor.client_size = copy_name(sensor.client_name, client_name.text, client_name.size, client)
        if not sensor_add(quotas, sensor, now_ms):
            sensor_release(sensor)
            return NULL
    else:
        unlink_sensor(quotas, sensor)
        link_newest(quotas, sensor)
    sensor_set_limit(sensor, limit)
    atomic_add_i32(&sensor.references, 1)
    return sensor


cdef Sensor* quotas_sensor(
    Quotas* quotas, int kind, const char* user, int32_t user_size, const char* client, int32_t client_size, int64_t now_ms
) noexcept nogil:
    cdef uint64_t[3][2] users       # by NameForm
    cdef uint64_t[3][2] clients
    cdef Name user_name
    cdef Name client_name
    cdef Sensor* sensor = NULL
    cdef const Level* level
    cdef const double* limits
    cdef int i
    for i in range(3):
        user_name = Name(<NameForm>i, user, user_size)
        client_name = Name(<NameForm>i, client, client_size)
        hash_name(&user_name, users[i])
        hash_name(&client_name, clients[i])
    pthread_mutex_lock(&quotas.mutex)
    for i in range(LEVELS):
        level = &levels[i]
        limits = entities_find(&quotas.entities, users[<int>level.user], clients[<int>level.client])
        if limits != NULL and is_quota(limits[kind]):
            # Clients have a sensor of their own also if the quota is a default.
            user_name = Name(NAME_GIVEN if level.user != NAME_NONE else NAME_NONE, user, user_size)
            client_name = Name(NAME_GIVEN if level.client != NAME_NONE else NAME_NONE, client, client_size)
            sensor = sensor_for(
                quotas, kind, users[<int>user_name.form], clients[<int>client_name.form], &user_name, &client_name,
                limits[kind], now_ms,
            )
            break
    pthread_mutex_unlock(&quotas.mutex)
    return sensor


cdef Sensor* quotas_address_sensor(
    Quotas* quotas, const uint8_t* address, const char* text, int32_t text_size, int64_t now_ms
) noexcept nogil:
    cdef uint64_t[2] user
    cdef uint64_t[2] default_user
    cdef uint64_t[2] client
    cdef Name user_name = Name(NAME_GIVEN, text, text_size)
    cdef Name client_name = Name(NAME_NONE, NULL, 0)
    cdef Sensor* sensor = NULL
    cdef const double* limits
    hash_address(NULL, default_user, client)
    hash_address(address, user, client)
    pthread_mutex_lock(&quotas.mutex)
    limits = entities_find(&quotas.entities, user, client)
    if limits == NULL:
        limits = entities_find(&quotas.entities, default_user, client)
    if limits != NULL:
        sensor = sensor_for(
            quotas, QUOTA_CONNECTION, user, client, &user_name, &client_name,
            limits[<int>QUOTA_CONNECTION], now_ms,
        )
    pthread_mutex_unlock(&quotas.mutex)
    return sensor


cdef int quotas_expire(Quotas* quotas, int64_t now_ms, int most) noexcept nogil:
    cdef int i = 0
    pthread_mutex_lock(&quotas.mutex)
    while i < most and quotas.oldest != NULL:
        i += 1
        if unused_since(quotas, quotas.oldest, now_ms - UNUSED_MS):
            sensor_drop(quotas, quotas.oldest)
    if quotas.untold:
        tell_of_drops(quotas, now_ms)
    pthread_mutex_unlock(&quotas.mutex)
    return i


# -- reading --

cdef int quotas_list(Quotas* quotas, Sensor** found, int most) noexcept nogil:
    cdef Sensor* sensor
    cdef int count = 0
    pthread_mutex_lock(&quotas.mutex)
    sensor = quotas.newest
    while sensor != NULL and count < most:
        atomic_add_i32(&sensor.references, 1)
        found[count] = sensor
        count += 1
        sensor = sensor.older
    pthread_mutex_unlock(&quotas.mutex)
    return count
