"""The quotas of all entities and the sensors of the clients that they apply to; see table.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64
from kafka_cy.base.hash_table cimport HashTable
from kafka_cy.base.posix cimport pthread_mutex_t
from kafka_cy.quota.entities cimport Entities, Name
from kafka_cy.quota.sensor cimport QUOTA_KINDS, Sensor

cdef enum:
    SENSORS_MAX = 65536         # of all kinds, about 1 KiB each; the one that was not used for longest makes room

# Purpose: see above. Owner: the network's Server. Threads: all; (a) atomics, everything else is guarded by `quotas.mutex`, which is
# held for a look-up or for one change.
cdef struct Quotas:
    int64_t on                  # (a) a bit for each QuotaKind of which any entity has a quota
    int64_t version             # (a) whoever keeps a sensor looks it up again when this changes
    pthread_mutex_t mutex
    int32_t windows_num[QUOTA_KINDS]    # set before the first sensor is created
    int64_t window_ms[QUOTA_KINDS]
    Entities entities
    Sensor** sensors
    int32_t sensors_count
    int32_t sensors_capacity
    HashTable sensors_table
    Sensor* newest              # in the order of use
    Sensor* oldest
    int64_t dropped             # sensors that made room for others
    int64_t told_ms             # when `version` changed last because a sensor was dropped
    bint untold                 # a sensor was dropped since then

cdef void quotas_init(Quotas* quotas) noexcept nogil
cdef void quotas_free(Quotas* quotas) noexcept nogil
# Replaces the quotas of a user, a client id, or both. 0, or -1 without memory.
cdef int quotas_put(Quotas* quotas, const Name* user, const Name* client, const double* limits) noexcept nogil
# The same for an address of 16 bytes; NULL: all addresses without a quota of their own.
cdef int quotas_put_address(Quotas* quotas, const uint8_t* address, double limit) noexcept nogil
# The sensor of a client, with a reference (sensor_release); NULL: no quota of this kind applies to it, or memory is short.
cdef Sensor* quotas_sensor(
    Quotas* quotas, int kind, const char* user, int32_t user_size, const char* client, int32_t client_size, int64_t now_ms
) noexcept nogil
cdef Sensor* quotas_address_sensor(
    Quotas* quotas, const uint8_t* address, const char* text, int32_t text_size, int64_t now_ms
) noexcept nogil
# Drops sensors that were not used for an hour, of the next `most` that might be. The number that was looked at.
cdef int quotas_expire(Quotas* quotas, int64_t now_ms, int most) noexcept nogil
# Copies references of at most `most` sensors, those last looked up first. The caller releases them.
cdef int quotas_list(Quotas* quotas, Sensor** found, int most) noexcept nogil


cdef inline bint quota_is_on(const Quotas* quotas, int kinds) noexcept nogil:
    """Whether any entity has a quota of one of these kinds (bits). One load; nothing else is done without quotas."""
    return (atomic_load_relaxed_i64(<int64_t*>&quotas.on) & kinds) != 0
