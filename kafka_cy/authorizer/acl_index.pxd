"""The immutable index of all ACLs that decides about requests; see acl_index.pyx."""
from libc.stdint cimport int32_t, int64_t, uint32_t

from kafka_cy.base.hash_table cimport HashTable

cdef enum:
    ACL_SHARDS = 256
    ACL_TYPES = 8               # resource types are 0 to 7
    ACL_LITERAL = 3
    ACL_PREFIXED = 4
    RULES_SCANNED_MAX = 4       # a resource with more rules has a hash table of them

cdef enum AclVerdict:
    ACL_NO_ACLS = 0             # nobody has an ACL on the resource
    ACL_ALLOWED = 1
    ACL_DENIED = 2

# Who asks. The texts belong to the caller; it may be kept as long as they exist, for any index.
cdef struct AclWho:
    const char* user            # the name, without "User:"
    const char* host            # text of the IP address
    int32_t user_size
    int32_t host_size
    uint32_t user_hash
    uint32_t hashes[4]          # of the user or `*`, with the host or `*`

# What the ACLs of a resource say to somebody: bits by operation.
cdef struct AclMasks:
    uint32_t allow              # with what an allowed operation implies
    uint32_t deny
    bint found                  # somebody has an ACL on the resource
    int32_t looks               # look-ups (for tests)

# What a resource's ACLs say about one user (or `*`) at one host (or `*`).
cdef struct AclRule:
    const char* user
    const char* host
    int32_t user_size
    int32_t host_size
    uint32_t hash
    uint32_t allow
    uint32_t deny

# All ACLs of one resource pattern. Immutable, reference counted, shared between successive indexes.
cdef struct AclResource:
    int32_t references
    uint32_t hash
    int32_t type
    int32_t pattern
    int32_t name_size
    int32_t acls
    int64_t bytes               # of all texts
    int32_t rules_count
    AclRule* rules              # the texts of the rules, too, share this allocation
    HashTable table             # positions in `rules`; empty: there are RULES_SCANNED_MAX at most
    char* name                  # shares the allocation of this struct

# The resources whose hashes begin with the same byte. Immutable once its index is complete, reference counted.
cdef struct AclShard:
    int32_t references
    int32_t count
    int32_t capacity
    AclResource** resources
    HashTable table

# The sizes that prefixes of one resource type have, ascending, and how many have each.
cdef struct AclPrefixes:
    int32_t count
    int32_t* sizes
    int32_t* resources

cdef struct AclUser:
    const char* name
    int32_t size

# Users that no ACL concerns. Reference counted.
cdef struct AclSuperUsers:
    int32_t references
    int32_t count
    AclUser* users              # the names share this allocation
    HashTable table

cdef struct AclIndex:
    int32_t references
    bint closed                 # the ACLs are not known: only super users are allowed anything
    bint everyone               # allow.everyone.if.no.acl.found
    int64_t generation          # increases with each index; caches of verdicts compare it
    int32_t acls
    int32_t resources
    int64_t bytes               # of all texts
    AclPrefixes prefixes[ACL_TYPES]
    AclShard* shards[ACL_SHARDS]
    AclSuperUsers* supers

# All functions: any thread that holds a reference (acl_index_acquire), without a lock.
cdef AclIndex* acl_index_acquire(AclIndex* index) noexcept nogil
cdef void acl_index_release(AclIndex* index) noexcept nogil
cdef void acl_who_init(
    AclWho* who, const char* user, int32_t user_size, const char* host, int32_t host_size
) noexcept nogil
cdef bint acl_is_super(const AclIndex* index, const AclWho* who) noexcept nogil
# What the ACLs say about all operations on a resource. Super users, `closed` and `everyone` do not count.
cdef void acl_masks(
    const AclIndex* index, const AclWho* who, int resource_type, const char* name, int32_t size, AclMasks* masks
) noexcept nogil
# An AclVerdict: what the ACLs say, deny before allow. Super users, `closed` and `everyone` do not count.
cdef int acl_decide(
    const AclIndex* index, const AclWho* who, int resource_type, const char* name, int32_t size, int operation
) noexcept nogil
# The whole decision, for all operations at once: bits of those that are allowed.
cdef uint32_t acl_allowed(
    const AclIndex* index, const AclWho* who, int resource_type, const char* name, int32_t size
) noexcept nogil
# The whole decision.
cdef bint acl_allows(
    const AclIndex* index, const AclWho* who, int resource_type, const char* name, int32_t size, int operation
) noexcept nogil

# For acl_image.pyx.
cdef uint32_t acl_resource_hash(int resource_type, int pattern, const char* name, int32_t size) noexcept nogil
cdef AclResource* acl_find(
    const AclIndex* index, int resource_type, int pattern, const char* name, int32_t size
) noexcept nogil                # NULL unknown
cdef AclResource* acl_find_in_shard(
    const AclShard* shard, uint32_t hash, int resource_type, int pattern, const char* name, int32_t size, int32_t* position
) noexcept nogil
cdef void acl_add_resource(const AclResource* resource, const AclWho* who, AclMasks* masks) noexcept nogil
cdef void acl_resource_release(AclResource* resource) noexcept nogil
cdef void acl_shard_release(AclShard* shard) noexcept nogil
cdef void acl_supers_release(AclSuperUsers* supers) noexcept nogil
