"""Makes indexes of ACLs (acl_index.pyx), for the control plane and for tests.

A change makes a new index. It shares with the old one all shards but those of the changed resources, so it costs 256
copied pointers, and some hundred more for each changed resource.

Owner: the control thread. Limits: ACLS_MAX and TEXT_BYTES_MAX for all ACLs together, beyond which an index is not made
(TooManyAcls).
"""
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, malloc, realloc
from libc.string cimport memcpy, memmove

from kafka_cy.authorizer.acl_index cimport (
    ACL_LITERAL, ACL_PREFIXED, ACL_SHARDS, ACL_TYPES, RULES_SCANNED_MAX, AclIndex, AclMasks, AclPrefixes, AclResource, AclRule,
    AclShard, AclSuperUsers, AclUser, AclWho, acl_add_resource, acl_allows, acl_decide, acl_find, acl_find_in_shard,
    acl_index_release, acl_is_super, acl_masks, acl_resource_hash, acl_resource_release, acl_shard_release,
    acl_supers_release, acl_who_init,
)
from kafka_cy.base.atomics cimport atomic_add_i32, atomic_load_i32
from kafka_cy.base.hash cimport hash_of_bytes, hash_of_pair
from kafka_cy.base.hash_table cimport hash_table_insert, hash_table_remove, hash_table_renumber, hash_table_reserve

# One more request than CreateAcls allows: two brokers that are asked at once do not see each other's ACLs.
ACLS_MAX = 110_000
TEXT_BYTES_MAX = 80 << 20

cdef enum:
    ALL_OPERATIONS = 0xfffffff8     # every bit from READ on
    OP_ALL = 2
    OP_READ = 3
    OP_WRITE = 4
    OP_DELETE = 6
    OP_ALTER = 7
    OP_DESCRIBE = 8
    OP_DESCRIBE_CONFIGS = 10
    OP_ALTER_CONFIGS = 11
    OPERATIONS_END = 32
    DENY = 2


class TooManyAcls(Exception):
    """There would be more than ACLS_MAX ACLs, or more than TEXT_BYTES_MAX bytes of text in them."""


cdef int copy_prefixes(AclPrefixes* to, const AclPrefixes* source) except -1:
    cdef size_t size = <size_t>source.count * sizeof(int32_t)
    if source.count == 0:
        return 0
    to.sizes = <int32_t*>malloc(size)
    to.resources = <int32_t*>malloc(size)
    if to.sizes == NULL or to.resources == NULL:
        raise MemoryError
    memcpy(to.sizes, source.sizes, size)
    memcpy(to.resources, source.resources, size)
    to.count = source.count
    return 0


cdef int grow_prefixes(AclPrefixes* prefixes) except -1:
    """Make room for one more size."""
    cdef size_t size = (<size_t>prefixes.count + 1) * sizeof(int32_t)
    cdef int32_t* grown = <int32_t*>realloc(prefixes.sizes, size)
    if grown == NULL:
        raise MemoryError
    prefixes.sizes = grown
    grown = <int32_t*>realloc(prefixes.resources, size)
    if grown == NULL:
        raise MemoryError
    prefixes.resources = grown
    return 0


cdef int count_prefix(AclPrefixes* prefixes, int32_t size, int32_t more) except -1:
    """One more (or, with -1, one less) prefix has this size."""
    cdef int32_t place = 0
    cdef size_t after
    while place < prefixes.count and prefixes.sizes[place] < size:
        place += 1
    after = <size_t>(prefixes.count - place)
    if place == prefixes.count or prefixes.sizes[place] != size:
        grow_prefixes(prefixes)
        memmove(prefixes.sizes + place + 1, prefixes.sizes + place, after * sizeof(int32_t))
        memmove(prefixes.resources + place + 1, prefixes.resources + place, after * sizeof(int32_t))
        prefixes.sizes[place] = size
        prefixes.resources[place] = 0
        prefixes.count += 1
        after += 1
    prefixes.resources[place] += more
    if prefixes.resources[place] == 0:
        memmove(prefixes.sizes + place, prefixes.sizes + place + 1, (after - 1) * sizeof(int32_t))
        memmove(prefixes.resources + place, prefixes.resources + place + 1, (after - 1) * sizeof(int32_t))
        prefixes.count -= 1
    return 0


cdef int shard_reserve(AclShard* shard) except -1:
    """Make room for one more resource."""
    cdef AclResource** grown
    if shard.count == shard.capacity:
        grown = <AclResource**>realloc(shard.resources, (<size_t>shard.capacity * 2 + 4) * sizeof(void*))
        if grown == NULL:
            raise MemoryError
        shard.resources = grown
        shard.capacity = shard.capacity * 2 + 4
    if hash_table_reserve(&shard.table, <uint32_t>shard.count + 1) < 0:
        raise MemoryError
    return 0


cdef void shard_add(AclShard* shard, AclResource* resource) noexcept:
    """Takes over the reference. There is room."""
    hash_table_insert(&shard.table, resource.hash, shard.count)
    shard.resources[shard.count] = resource
    shard.count += 1


cdef void shard_drop(AclShard* shard, int32_t position) noexcept:
    cdef AclResource* resource = shard.resources[position]
    cdef AclResource* last
    hash_table_remove(&shard.table, resource.hash, position)
    shard.count -= 1
    if position != shard.count:
        last = shard.resources[shard.count]
        hash_table_renumber(&shard.table, last.hash, shard.count, position)
        shard.resources[position] = last
    acl_resource_release(resource)


cdef AclShard* own_shard(AclIndex* index, uint32_t number) except NULL:
    """The shard, which no other index has; copied if it was shared."""
    cdef AclShard* old = index.shards[number]
    cdef AclShard* shard
    cdef int32_t i
    if old != NULL and atomic_load_i32(&old.references) == 1:
        return old                          # only this index has it, which only this thread knows; others have read it to the end
    shard = <AclShard*>calloc(1, sizeof(AclShard))
    if shard == NULL:
        raise MemoryError
    shard.references = 1
    try:
        for i in range(old.count if old != NULL else 0):
            shard_reserve(shard)
            atomic_add_i32(&old.resources[i].references, 1)
            shard_add(shard, old.resources[i])
    except BaseException:
        acl_shard_release(shard)
        raise
    acl_shard_release(old)
    index.shards[number] = shard
    return shard


cdef uint32_t bits_of(int operation, int permission):
    """The operations that one ACL allows or denies."""
    cdef uint32_t bits
    if operation == OP_ALL:
        return ALL_OPERATIONS
    bits = <uint32_t>1 << operation
    if permission != DENY and operation in (OP_READ, OP_WRITE, OP_DELETE, OP_ALTER):
        bits |= <uint32_t>1 << OP_DESCRIBE
    if permission != DENY and operation == OP_ALTER_CONFIGS:
        bits |= <uint32_t>1 << OP_DESCRIBE_CONFIGS
    return bits


cdef dict rules_of(rows):
    """(user, host) -> [allowed, denied]. ACLs of principals that are not users concern nobody."""
    cdef dict rules = {}
    for user, host, operation, permission in rows:
        if not OP_ALL <= operation < OPERATIONS_END:
            raise ValueError(f"operation {operation}")
        if user is not None:
            masks = rules.setdefault((user, host), [0, 0])
            masks[1 if permission == DENY else 0] |= bits_of(operation, permission)
    return rules


cdef int fill_rules(AclResource* resource, dict rules) except -1:
    cdef AclRule* rule
    cdef char* text
    cdef bytes user, host
    cdef size_t size = <size_t>len(rules) * sizeof(AclRule) + 1
    for user, host in rules:
        size += <size_t>(len(user) + len(host))
    resource.rules = <AclRule*>malloc(size)
    if resource.rules == NULL:
        raise MemoryError
    text = <char*>(resource.rules + len(rules))
    if len(rules) > RULES_SCANNED_MAX and hash_table_reserve(&resource.table, <uint32_t>len(rules)) < 0:
        raise MemoryError
    for (user, host), (allow, deny) in rules.items():
        rule = &resource.rules[resource.rules_count]
        rule.user = text
        rule.user_size = <int32_t>len(user)
        memcpy(text, <const char*>user, <size_t>len(user))
        text += len(user)
        rule.host = text
        rule.host_size = <int32_t>len(host)
        memcpy(text, <const char*>host, <size_t>len(host))
        text += len(host)
        rule.allow = allow
        rule.deny = deny
        rule.hash = hash_of_pair(
            hash_of_bytes(rule.user, <size_t>rule.user_size), hash_of_bytes(rule.host, <size_t>rule.host_size)
        )
        if len(rules) > RULES_SCANNED_MAX:
            hash_table_insert(&resource.table, rule.hash, resource.rules_count)
        resource.rules_count += 1
    return 0


cdef AclResource* build_resource(int resource_type, int pattern, bytes name, list rows) except NULL:
    """A resource with one reference."""
    cdef AclResource* resource = <AclResource*>calloc(1, sizeof(AclResource) + <size_t>len(name) + 1)
    if resource == NULL:
        raise MemoryError
    try:
        resource.references = 1
        resource.type = resource_type
        resource.pattern = pattern
        resource.name = <char*>(resource + 1)
        resource.name_size = <int32_t>len(name)
        memcpy(resource.name, <const char*>name, <size_t>len(name))
        resource.hash = acl_resource_hash(resource_type, pattern, resource.name, resource.name_size)
        resource.acls = <int32_t>len(rows)
        resource.bytes = len(name) + sum([len(row[0] or b"") + len(row[1]) for row in rows])
        fill_rules(resource, rules_of(rows))
    except BaseException:
        acl_resource_release(resource)
        raise
    return resource


cdef int index_put(AclIndex* index, int resource_type, int pattern, bytes name, list rows) except -1:
    """Replace the ACLs of a resource in an index that is being made."""
    cdef AclResource* fresh = build_resource(resource_type, pattern, name, rows)
    cdef AclResource* old
    cdef AclShard* shard
    cdef int32_t position = -1
    try:
        shard = own_shard(index, fresh.hash >> 24)
        old = acl_find_in_shard(shard, fresh.hash, resource_type, pattern, fresh.name, fresh.name_size, &position)
        if pattern == ACL_PREFIXED and (old == NULL) != (not rows):
            count_prefix(&index.prefixes[resource_type], fresh.name_size, 1 if rows else -1)
        if rows and old == NULL:
            shard_reserve(shard)
    except BaseException:
        acl_resource_release(fresh)
        raise
    if old != NULL:
        index.acls -= old.acls
        index.bytes -= old.bytes
        index.resources -= 1
    if not rows:
        acl_resource_release(fresh)
        if old != NULL:
            shard_drop(shard, position)
        return 0
    index.acls += fresh.acls
    index.bytes += fresh.bytes
    index.resources += 1
    if old != NULL:
        shard.resources[position] = fresh
        acl_resource_release(old)
    else:
        shard_add(shard, fresh)
    return 0


cdef AclSuperUsers* build_supers(list names) except NULL:
    cdef AclSuperUsers* supers = <AclSuperUsers*>calloc(1, sizeof(AclSuperUsers))
    cdef AclUser* user
    cdef char* text
    cdef bytes name
    if supers == NULL:
        raise MemoryError
    supers.references = 1
    supers.users = <AclUser*>malloc(<size_t>len(names) * sizeof(AclUser) + <size_t>sum([len(name) for name in names]) + 1)
    if supers.users == NULL or hash_table_reserve(&supers.table, <uint32_t>len(names)) < 0:
        acl_supers_release(supers)
        raise MemoryError
    text = <char*>(supers.users + len(names))
    for name in names:
        user = &supers.users[supers.count]
        user.name = text
        user.size = <int32_t>len(name)
        memcpy(text, <const char*>name, <size_t>len(name))
        text += len(name)
        hash_table_insert(&supers.table, hash_of_bytes(user.name, <size_t>user.size), supers.count)
        supers.count += 1
    return supers


cdef bint is_above(int64_t count, int64_t most, int64_t before) noexcept:
    return count > most and count > before


cdef class AclImage:
    """An index, for the control plane and for tests. Immutable; any thread.

    Texts are bytes. Users are without "User:". A new one has no ACLs and is closed.
    """

    def __cinit__(self):
        self.index = <AclIndex*>calloc(1, sizeof(AclIndex))
        if self.index == NULL:
            raise MemoryError
        self.index.references = 1
        self.index.closed = True

    def __init__(self, super_users=(), bint everyone=False):
        """`super_users`: names of users; `everyone`: allow.everyone.if.no.acl.found."""
        if self.index.supers == NULL:
            self.index.supers = build_supers(sorted(set(super_users)))
            self.index.everyone = everyone

    def __dealloc__(self):
        acl_index_release(self.index)

    def replaced(self, changes, bint closed=False):
        """A new index, in which each (resource type, pattern type, name, rows) of `changes` is the whole of a resource.

        A row is (user or None, host, operation, permission); None: a principal that is not a user. No rows: the resource has
        no ACLs any more. Raises TooManyAcls; then, as after any exception, there is no new index.
        """
        cdef AclImage fresh = AclImage.__new__(AclImage)
        cdef AclIndex* index = fresh.index
        cdef int i
        index.supers = self.index.supers
        atomic_add_i32(&index.supers.references, 1)
        index.closed = closed
        index.everyone = self.index.everyone
        index.generation = self.index.generation + 1
        index.acls = self.index.acls
        index.resources = self.index.resources
        index.bytes = self.index.bytes
        for i in range(ACL_TYPES):
            copy_prefixes(&index.prefixes[i], &self.index.prefixes[i])
        for i in range(ACL_SHARDS):
            if self.index.shards[i] != NULL:
                atomic_add_i32(&self.index.shards[i].references, 1)
                index.shards[i] = self.index.shards[i]
        for resource_type, pattern, name, rows in changes:
            if not 0 <= resource_type < ACL_TYPES or pattern not in (ACL_LITERAL, ACL_PREFIXED):
                raise ValueError(f"resource type {resource_type}, pattern type {pattern}")
            index_put(index, resource_type, pattern, name, list(rows))
            if is_above(index.acls, ACLS_MAX, self.index.acls) or is_above(
                index.bytes, TEXT_BYTES_MAX, self.index.bytes
            ):
                raise TooManyAcls(f"at most {ACLS_MAX} ACLs and {TEXT_BYTES_MAX} bytes of text in them")
        return fresh

    def allows(self, bytes user not None, bytes host not None, int operation, int resource_type, bytes name not None):
        """The whole decision."""
        cdef AclWho who
        acl_who_init(&who, user, <int32_t>len(user), host, <int32_t>len(host))
        return bool(acl_allows(self.index, &who, resource_type, name, <int32_t>len(name), operation))

    def decide(self, bytes user not None, bytes host not None, int operation, int resource_type, bytes name not None):
        """What the ACLs say: 0 nobody has one on the resource, 1 allowed, 2 denied."""
        cdef AclWho who
        acl_who_init(&who, user, <int32_t>len(user), host, <int32_t>len(host))
        return acl_decide(self.index, &who, resource_type, name, <int32_t>len(name), operation)

    def masks(self, bytes user not None, bytes host not None, int resource_type, bytes name not None):
        """(allowed operations, denied operations, whether anybody has an ACL on the resource, look-ups)."""
        cdef AclWho who
        cdef AclMasks masks
        acl_who_init(&who, user, <int32_t>len(user), host, <int32_t>len(host))
        acl_masks(self.index, &who, resource_type, name, <int32_t>len(name), &masks)
        return masks.allow, masks.deny, bool(masks.found), masks.looks

    def pattern_masks(self, bytes user not None, bytes host not None, int resource_type, int pattern, bytes name not None):
        """The same of the ACLs with this pattern and name only: (allowed, denied, whether there are any)."""
        cdef AclWho who
        cdef AclMasks masks
        cdef AclResource* resource = NULL
        masks.allow = masks.deny = 0
        masks.found = False
        masks.looks = 0
        acl_who_init(&who, user, <int32_t>len(user), host, <int32_t>len(host))
        if 0 <= resource_type < ACL_TYPES:
            resource = acl_find(self.index, resource_type, pattern, name, <int32_t>len(name))
        if resource != NULL:
            acl_add_resource(resource, &who, &masks)
        return masks.allow, masks.deny, bool(masks.found)

    def allows_some(
        self, bytes user not None, bytes host not None, int operation, int resource_type, int pattern, bytes name not None
    ):
        """Whether the ACLs with this pattern and name allow a resource that no prefix denies: the one of that name, or some."""
        cdef AclWho who
        cdef AclMasks masks
        cdef AclResource* resource = NULL
        cdef AclPrefixes* prefixes
        cdef int32_t size = <int32_t>len(name)
        cdef int32_t i
        if not 0 <= resource_type < ACL_TYPES or not 0 <= operation < OPERATIONS_END:
            return False
        resource = acl_find(self.index, resource_type, pattern, name, size)
        if resource == NULL:
            return False
        masks.allow = masks.deny = 0
        masks.looks = 0
        acl_who_init(&who, user, <int32_t>len(user), host, <int32_t>len(host))
        acl_add_resource(resource, &who, &masks)
        if not masks.allow >> operation & 1:
            return False
        prefixes = &self.index.prefixes[resource_type]
        for i in range(prefixes.count):
            if prefixes.sizes[i] > size or masks.deny >> operation & 1:
                break
            resource = acl_find(self.index, resource_type, ACL_PREFIXED, name, prefixes.sizes[i])
            if resource != NULL:
                acl_add_resource(resource, &who, &masks)
        return not masks.deny >> operation & 1

    def is_super(self, bytes user not None):
        """Whether it is a super user."""
        cdef AclWho who
        acl_who_init(&who, user, <int32_t>len(user), b"", 0)
        return bool(acl_is_super(self.index, &who))

    def prefix_sizes(self, int resource_type):
        """The sizes that prefixes of resources of this type have, ascending."""
        cdef AclPrefixes* prefixes
        if not 0 <= resource_type < ACL_TYPES:
            return []
        prefixes = &self.index.prefixes[resource_type]
        return [prefixes.sizes[i] for i in range(prefixes.count)]

    @property
    def generation(self):
        return self.index.generation

    @property
    def closed(self):
        return bool(self.index.closed)

    @property
    def everyone(self):
        return bool(self.index.everyone)

    @property
    def acls(self):
        return self.index.acls

    @property
    def resources(self):
        return self.index.resources

    @property
    def text_bytes(self):
        return self.index.bytes

    @property
    def references(self):
        return self.index.references
