"""The index of all ACLs: immutable, read by any thread without locks, replaced as a whole (acl_image.pyx).

A decision costs 1 + 1 + L look-ups of resources, L being the number of different sizes that prefixes have: the resource's
name, `*`, and one prefix of each size. A resource that is found costs 4 look-ups more: the user or `*`, at the host or `*`.
The number of ACLs does not matter. Hashes are seeded, because clients choose the names that are looked up.

References are counted: whoever holds one may read the index while it is replaced. Reactors need no count of their own if the
metadata image that they announce (metadata_image.pyx) holds the reference.

Owner: the control plane makes it; its last reference is released by any thread. Limits: see acl_image.pyx.
"""
from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memcmp

from kafka_cy.base.atomics cimport atomic_add_i32, atomic_sub_i32
from kafka_cy.base.hash cimport hash_of_bytes, hash_of_pair
from kafka_cy.base.hash_table cimport hash_table_free, hash_table_next, hash_table_start

cdef enum:
    OPERATIONS_END = 32


cdef uint32_t acl_resource_hash(int resource_type, int pattern, const char* name, int32_t size) noexcept nogil:
    return hash_of_pair(hash_of_bytes(name, <size_t>size), <uint32_t>(resource_type << 8 | pattern))


cdef AclResource* acl_find_in_shard(
    const AclShard* shard, uint32_t hash, int resource_type, int pattern, const char* name, int32_t size, int32_t* position
) noexcept nogil:
    cdef AclResource* resource
    cdef uint32_t place = hash_table_start(&shard.table, hash)
    cdef int32_t found = hash_table_next(&shard.table, hash, &place)
    while found >= 0:
        resource = shard.resources[found]
        if (
            resource.type == resource_type and resource.pattern == pattern and resource.name_size == size
            and memcmp(resource.name, name, <size_t>size) == 0
        ):
            position[0] = found
            return resource
        found = hash_table_next(&shard.table, hash, &place)
    return NULL


cdef AclResource* acl_find(
    const AclIndex* index, int resource_type, int pattern, const char* name, int32_t size
) noexcept nogil:
    cdef uint32_t hash = acl_resource_hash(resource_type, pattern, name, size)
    cdef const AclShard* shard = index.shards[hash >> 24]
    cdef int32_t position
    if shard == NULL:
        return NULL
    return acl_find_in_shard(shard, hash, resource_type, pattern, name, size, &position)


cdef inline bint is_text(const char* a, int32_t a_size, const char* b, int32_t b_size) noexcept nogil:
    return a_size == b_size and memcmp(a, b, <size_t>a_size) == 0


cdef void add_rule(const AclRule* rule, const AclWho* who, int form, AclMasks* masks) noexcept nogil:
    """Add what a rule says, if it is that of the user (`form` 0, 1) or `*` (2, 3), at the host (0, 2) or `*` (1, 3)."""
    cdef const char* user = who.user
    cdef const char* host = who.host
    cdef int32_t user_size = who.user_size
    cdef int32_t host_size = who.host_size
    if form >= 2:
        user = b"*"
        user_size = 1
    if form & 1:
        host = b"*"
        host_size = 1
    if not is_text(rule.user, rule.user_size, user, user_size) or not is_text(rule.host, rule.host_size, host, host_size):
        return
    masks.allow |= rule.allow
    masks.deny |= rule.deny


cdef void acl_add_resource(const AclResource* resource, const AclWho* who, AclMasks* masks) noexcept nogil:
    cdef uint32_t place
    cdef int32_t found
    cdef int form
    cdef int32_t i
    masks.found = True
    if resource.table.slots == NULL:
        for i in range(resource.rules_count):
            for form in range(4):
                if resource.rules[i].hash == who.hashes[form]:
                    add_rule(&resource.rules[i], who, form, masks)
        masks.looks += resource.rules_count
        return
    for form in range(4):
        masks.looks += 1
        place = hash_table_start(&resource.table, who.hashes[form])
        found = hash_table_next(&resource.table, who.hashes[form], &place)
        while found >= 0:
            add_rule(&resource.rules[found], who, form, masks)
            found = hash_table_next(&resource.table, who.hashes[form], &place)


cdef void acl_who_init(
    AclWho* who, const char* user, int32_t user_size, const char* host, int32_t host_size
) noexcept nogil:
    cdef uint32_t host_hash = hash_of_bytes(host, <size_t>host_size)
    cdef uint32_t all_hash = hash_of_bytes(<const char*>b"*", 1)
    who.user = user
    who.user_size = user_size
    who.host = host
    who.host_size = host_size
    who.user_hash = hash_of_bytes(user, <size_t>user_size)
    who.hashes[0] = hash_of_pair(who.user_hash, host_hash)
    who.hashes[1] = hash_of_pair(who.user_hash, all_hash)
    who.hashes[2] = hash_of_pair(all_hash, host_hash)
    who.hashes[3] = hash_of_pair(all_hash, all_hash)


cdef bint acl_is_super(const AclIndex* index, const AclWho* who) noexcept nogil:
    cdef const AclSuperUsers* supers = index.supers
    cdef uint32_t place = hash_table_start(&supers.table, who.user_hash)
    cdef int32_t found = hash_table_next(&supers.table, who.user_hash, &place)
    while found >= 0:
        if is_text(supers.users[found].name, supers.users[found].size, who.user, who.user_size):
            return True
        found = hash_table_next(&supers.table, who.user_hash, &place)
    return False


cdef void acl_masks(
    const AclIndex* index, const AclWho* who, int resource_type, const char* name, int32_t size, AclMasks* masks
) noexcept nogil:
    cdef const AclPrefixes* prefixes
    cdef AclResource* resource
    cdef int32_t i
    masks.allow = masks.deny = 0
    masks.found = False
    masks.looks = 0
    if resource_type < 0 or resource_type >= ACL_TYPES:
        return
    masks.looks = 2
    resource = acl_find(index, resource_type, ACL_LITERAL, name, size)
    if resource != NULL:
        acl_add_resource(resource, who, masks)
    resource = acl_find(index, resource_type, ACL_LITERAL, b"*", 1)
    if resource != NULL:
        acl_add_resource(resource, who, masks)
    prefixes = &index.prefixes[resource_type]
    for i in range(prefixes.count):
        if prefixes.sizes[i] > size:
            break
        masks.looks += 1
        resource = acl_find(index, resource_type, ACL_PREFIXED, name, prefixes.sizes[i])
        if resource != NULL:
            acl_add_resource(resource, who, masks)


cdef int verdict_of(const AclMasks* masks, int operation) noexcept nogil:
    if masks.deny >> operation & 1:
        return ACL_DENIED
    if masks.allow >> operation & 1:
        return ACL_ALLOWED
    return ACL_DENIED if masks.found else ACL_NO_ACLS


cdef int acl_decide(
    const AclIndex* index, const AclWho* who, int resource_type, const char* name, int32_t size, int operation
) noexcept nogil:
    cdef AclMasks masks
    if operation < 0 or operation >= OPERATIONS_END:
        return ACL_DENIED
    acl_masks(index, who, resource_type, name, size, &masks)
    return verdict_of(&masks, operation)


cdef uint32_t acl_allowed(
    const AclIndex* index, const AclWho* who, int resource_type, const char* name, int32_t size
) noexcept nogil:
    cdef AclMasks masks
    if acl_is_super(index, who):
        return ~<uint32_t>0
    if index.closed:
        return 0
    acl_masks(index, who, resource_type, name, size, &masks)
    if not masks.found:
        return ~<uint32_t>0 if index.everyone else 0
    return masks.allow & ~masks.deny


cdef bint acl_allows(
    const AclIndex* index, const AclWho* who, int resource_type, const char* name, int32_t size, int operation
) noexcept nogil:
    cdef int verdict
    if acl_is_super(index, who):
        return True
    if index.closed:
        return False
    verdict = acl_decide(index, who, resource_type, name, size, operation)
    return verdict == ACL_ALLOWED or (verdict == ACL_NO_ACLS and index.everyone)


# -- references --

cdef void acl_resource_release(AclResource* resource) noexcept nogil:
    if resource != NULL and atomic_sub_i32(&resource.references, 1) == 0:
        hash_table_free(&resource.table)
        free(resource.rules)
        free(resource)


cdef void acl_shard_release(AclShard* shard) noexcept nogil:
    cdef int32_t i
    if shard == NULL or atomic_sub_i32(&shard.references, 1) != 0:
        return
    for i in range(shard.count):
        acl_resource_release(shard.resources[i])
    hash_table_free(&shard.table)
    free(shard.resources)
    free(shard)


cdef void acl_supers_release(AclSuperUsers* supers) noexcept nogil:
    if supers != NULL and atomic_sub_i32(&supers.references, 1) == 0:
        hash_table_free(&supers.table)
        free(supers.users)
        free(supers)


cdef AclIndex* acl_index_acquire(AclIndex* index) noexcept nogil:
    atomic_add_i32(&index.references, 1)
    return index


cdef void acl_index_release(AclIndex* index) noexcept nogil:
    cdef int i
    if index == NULL or atomic_sub_i32(&index.references, 1) != 0:
        return
    for i in range(ACL_SHARDS):
        acl_shard_release(index.shards[i])
    for i in range(ACL_TYPES):
        free(index.prefixes[i].sizes)
        free(index.prefixes[i].resources)
    acl_supers_release(index.supers)
    free(index)
