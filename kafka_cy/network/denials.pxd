"""What reactors have denied, for the audit: fixed-size C events in a ring that the control plane drains.

Owner: any reactor adds, Python takes. Lock: `mutex` (a reactor tells a denial once for each connection, resource and operation).
Limits: DENIALS_MAX waiting, DENIALS_OF_ONE_MAX of one principal, so that who is denied very often does not take the room of others;
those beyond are only counted. Principals whose hashes have the same place in `waiting` share their room.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint8_t

from kafka_cy.base.posix cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
)

cdef enum:
    DENIALS_MAX = 256
    DENIALS_OF_ONE_MAX = 64
    DENIAL_PRINCIPALS = 256             # places of `waiting`
    DENIAL_TEXT_BYTES_MAX = 256         # of a user and a name; a topic's name has at most 249
    DENIAL_DIGEST_BYTES = 32            # SHA-256
    DENIAL_CLIENT_ID_BYTES_MAX = 48
    HOST_BYTES_MAX = 40                 # "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" and a zero

cdef struct Denial:
    int64_t acls_generation             # of the ACLs that decided
    uint32_t user_hash
    int32_t api_key
    int32_t operation
    int32_t resource_type
    int32_t user_size                   # what is longer than DENIAL_TEXT_BYTES_MAX is cut; then its digest tells it from others
    int32_t name_size
    int32_t client_id_size              # -1: none
    char[HOST_BYTES_MAX] host           # ends with a zero
    char[DENIAL_TEXT_BYTES_MAX] user
    char[DENIAL_TEXT_BYTES_MAX] name
    uint8_t[DENIAL_DIGEST_BYTES] user_digest
    uint8_t[DENIAL_DIGEST_BYTES] name_digest
    char[DENIAL_CLIENT_ID_BYTES_MAX] client_id

cdef struct Denials:
    pthread_mutex_t mutex
    Denial* ring                        # [DENIALS_MAX]
    int32_t start
    int32_t count
    int64_t dropped                     # since the last take
    int32_t[DENIAL_PRINCIPALS] waiting  # in the ring, by a part of the principal's hash


cdef inline void denials_init(Denials* denials, Denial* ring) noexcept nogil:
    """`denials` is zeroed."""
    pthread_mutex_init(&denials.mutex, NULL)
    denials.ring = ring


cdef inline void denials_free(Denials* denials) noexcept nogil:
    pthread_mutex_destroy(&denials.mutex)


cdef inline bint denials_has_room(Denials* denials, uint32_t user_hash) noexcept nogil:
    """If not, the denial is counted: who is denied very often shall cost no more than that."""
    cdef bint has_room
    pthread_mutex_lock(&denials.mutex)
    has_room = denials.count < DENIALS_MAX and denials.waiting[user_hash % DENIAL_PRINCIPALS] < DENIALS_OF_ONE_MAX
    if not has_room:
        denials.dropped += 1
    pthread_mutex_unlock(&denials.mutex)
    return has_room


cdef inline void denials_add(Denials* denials, const Denial* denial) noexcept nogil:
    cdef uint32_t place = denial.user_hash % DENIAL_PRINCIPALS
    pthread_mutex_lock(&denials.mutex)
    if denials.count == DENIALS_MAX or denials.waiting[place] == DENIALS_OF_ONE_MAX:
        denials.dropped += 1
    else:
        denials.ring[(denials.start + denials.count) % DENIALS_MAX] = denial[0]
        denials.count += 1
        denials.waiting[place] += 1
    pthread_mutex_unlock(&denials.mutex)


cdef inline bint denials_take(Denials* denials, Denial* denial, int64_t* dropped) noexcept nogil:
    """Copy the oldest one out; False if there is none. Adds to `dropped` how many found no room meanwhile."""
    cdef bint found
    pthread_mutex_lock(&denials.mutex)
    found = denials.count > 0
    if found:
        denial[0] = denials.ring[denials.start]
        denials.start = (denials.start + 1) % DENIALS_MAX
        denials.count -= 1
        denials.waiting[denial.user_hash % DENIAL_PRINCIPALS] -= 1
    dropped[0] += denials.dropped
    denials.dropped = 0
    pthread_mutex_unlock(&denials.mutex)
    return found
