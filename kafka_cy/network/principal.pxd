"""Who a client is, after it has authenticated (KafkaPrincipal; its type is always User).

Owner: whoever has a reference; read-only. No principal (NULL) is User:ANONYMOUS.
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from kafka_cy.base.atomics cimport atomic_add_i64

cdef struct Principal:
    int64_t references      # (a)
    int32_t size
    bint token_authenticated           # authenticated with a delegation token of this user (KafkaPrincipal.tokenAuthenticated)
    char name[1]            # UTF-8


cdef inline Principal* principal_new(const char* name, int32_t size, bint token_authenticated) noexcept nogil:
    """Return a principal with one reference; NULL: no memory."""
    cdef Principal* made = <Principal*>malloc(sizeof(Principal) + <size_t>size)
    if made != NULL:
        made.references = 1
        made.size = size
        made.token_authenticated = token_authenticated
        memcpy(made.name, name, <size_t>size)
    return made


cdef inline Principal* principal_ref(Principal* principal) noexcept nogil:
    if principal != NULL:
        atomic_add_i64(&principal.references, 1)
    return principal


cdef inline void principal_unref(Principal* principal) noexcept nogil:
    if principal != NULL and atomic_add_i64(&principal.references, -1) == 0:
        free(principal)


cdef inline bint principal_is(const Principal* principal, const Principal* other) noexcept nogil:
    """Whether both are the same user."""
    if principal == NULL or other == NULL:
        return principal == other
    return principal.size == other.size and memcmp(principal.name, other.name, <size_t>principal.size) == 0
