"""Which quotas each entity has.

Names are compared by their hashes of 128 bits with a secret (base/hash), so an entity needs no memory for names that clients
choose.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from kafka_cy.base.hash cimport hash_seed, siphash_128
from kafka_cy.base.hash_table cimport (
    hash_table_free, hash_table_insert, hash_table_next, hash_table_remove, hash_table_renumber, hash_table_reserve,
    hash_table_start,
)

# What stands for a name besides its hash, in the first word.
cdef enum:
    FORM_NONE = 0
    FORM_DEFAULT = 1
    FORM_ADDRESS = 2                # as the client of an entity: its user is an address


cdef inline void hash_form(uint64_t form, uint64_t* hash) noexcept nogil:
    hash[0] = form
    hash[1] = 0


cdef inline void hash_text(const void* text, int32_t size, uint64_t* hash) noexcept nogil:
    siphash_128(hash_seed.key, text, <size_t>size, hash)


cdef void hash_name(const Name* name, uint64_t* hash) noexcept nogil:
    if name.form == NAME_GIVEN:
        hash_text(name.text, name.size, hash)
    else:
        hash_form(FORM_DEFAULT if name.form == NAME_DEFAULT else FORM_NONE, hash)


cdef void hash_address(const uint8_t* address, uint64_t* user, uint64_t* client) noexcept nogil:
    if address == NULL:
        hash_form(FORM_DEFAULT, user)
    else:
        hash_text(address, 16, user)
    hash_form(FORM_ADDRESS, client)


cdef void entities_free(Entities* entities) noexcept nogil:
    free(entities.all)
    hash_table_free(&entities.table)


cdef int32_t find(Entities* entities, const uint64_t* user, const uint64_t* client) noexcept nogil:
    """Return the place of an entity; -1: it has no quotas."""
    cdef uint32_t hash = hash_of_names(user, client, 0)
    cdef uint32_t place = hash_table_start(&entities.table, hash)
    cdef int32_t found = hash_table_next(&entities.table, hash, &place)
    while found >= 0 and not (same_name(entities.all[found].user, user) and same_name(entities.all[found].client, client)):
        found = hash_table_next(&entities.table, hash, &place)
    return found


cdef const double* entities_find(Entities* entities, const uint64_t* user, const uint64_t* client) noexcept nogil:
    cdef int32_t found = find(entities, user, client)
    return entities.all[found].limits if found >= 0 else NULL


cdef int32_t add(Entities* entities, const uint64_t* user, const uint64_t* client) noexcept nogil:
    """Add an entity without quotas; -1 without memory."""
    cdef int32_t capacity = 2 * entities.capacity + 16
    cdef EntityQuotas* entity
    cdef int i
    if entities.count == entities.capacity:
        entity = <EntityQuotas*>realloc(entities.all, <size_t>capacity * sizeof(EntityQuotas))
        if entity == NULL:
            return -1
        entities.all = entity
        entities.capacity = capacity
    if hash_table_reserve(&entities.table, <uint32_t>entities.count + 1) < 0:
        return -1
    entity = &entities.all[entities.count]
    memcpy(entity.user, user, 16)
    memcpy(entity.client, client, 16)
    for i in range(<int>QUOTA_KINDS):
        entity.limits[i] = -1.0
    hash_table_insert(&entities.table, hash_of_names(user, client, 0), entities.count)
    entities.count += 1
    return entities.count - 1


cdef void remove(Entities* entities, int32_t place) noexcept nogil:
    cdef EntityQuotas* entity = &entities.all[place]
    cdef EntityQuotas* last = &entities.all[entities.count - 1]
    hash_table_remove(&entities.table, hash_of_names(entity.user, entity.client, 0), place)
    entities.count -= 1
    if place != entities.count:
        hash_table_renumber(&entities.table, hash_of_names(last.user, last.client, 0), entities.count, place)
        entities.all[place] = last[0]


cdef int64_t entities_put(
    Entities* entities, const uint64_t* user, const uint64_t* client, const double* limits
) noexcept nogil:
    cdef bint any_limit = False
    cdef int32_t place = find(entities, user, client)
    cdef int64_t on = 0
    cdef int i
    for i in range(<int>QUOTA_KINDS):
        any_limit = any_limit or is_quota(limits[i])
    if place < 0 and any_limit:
        place = add(entities, user, client)
        if place < 0:
            return -1
    for i in range(<int>QUOTA_KINDS):
        if place >= 0:
            entities.having[i] += is_quota(limits[i]) - is_quota(entities.all[place].limits[i])
            entities.all[place].limits[i] = limits[i]
        if entities.having[i]:
            on |= <int64_t>1 << i
    if place >= 0 and not any_limit:
        remove(entities, place)
    return on
