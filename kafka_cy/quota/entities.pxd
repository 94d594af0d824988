"""The quotas of users, client ids, both together, and addresses; see entities.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from kafka_cy.base.hash cimport hash_of_number
from kafka_cy.base.hash_table cimport HashTable
from kafka_cy.quota.sensor cimport QUOTA_KINDS

# A name, or which names are meant.
cdef enum NameForm:
    NAME_NONE = 0               # the entity has no name of this type
    NAME_DEFAULT = 1            # all names without a quota of their own
    NAME_GIVEN = 2

cdef struct Name:
    NameForm form
    const char* text
    int32_t size

# The quotas of one entity: a user, a client id, both, or an address.
cdef struct EntityQuotas:
    uint64_t user[2]
    uint64_t client[2]
    double limits[QUOTA_KINDS]  # below 0: none

# Purpose: see above. Owner: a Quotas (table.pxd), whose mutex guards it. Lifetime: that of its owner.
# Limits: AlterClientQuotas accepts 100,000 users, client ids and addresses each.
cdef struct Entities:
    EntityQuotas* all
    int32_t count
    int32_t capacity
    HashTable table
    int32_t having[QUOTA_KINDS] # entities that have a quota of the kind

# The hashes of a name. An address (NULL: all without a quota of their own) takes the place of a user.
cdef void hash_name(const Name* name, uint64_t* hash) noexcept nogil
cdef void hash_address(const uint8_t* address, uint64_t* user, uint64_t* client) noexcept nogil

cdef void entities_free(Entities* entities) noexcept nogil
# The limits of an entity; NULL: it has no quotas. Valid until the next entities_put.
cdef const double* entities_find(Entities* entities, const uint64_t* user, const uint64_t* client) noexcept nogil
# Replaces the quotas of an entity. Returns a bit for each QuotaKind of which any entity has a quota now; -1: out of memory.
cdef int64_t entities_put(
    Entities* entities, const uint64_t* user, const uint64_t* client, const double* limits
) noexcept nogil


cdef inline uint32_t hash_of_names(const uint64_t* user, const uint64_t* client, int kind) noexcept nogil:
    return hash_of_number(user[0] ^ (client[0] << 1) ^ <uint64_t>kind)


cdef inline bint same_name(const uint64_t* a, const uint64_t* b) noexcept nogil:
    return a[0] == b[0] and a[1] == b[1]


cdef inline bint is_quota(double limit) noexcept nogil:
    return not limit < 0.0      # also if it is not a number
