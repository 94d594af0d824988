"""Reads an index of ACLs without the GIL, as reactors do, for tests."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.authorizer.acl_image cimport AclImage
from kafka_cy.authorizer.acl_index cimport AclIndex, AclWho, acl_allows, acl_index_acquire, acl_index_release, acl_who_init


cdef int64_t count_allowed(
    AclIndex* index, const AclWho* who, int resource_type, const char* a, int32_t a_size, const char* b, int32_t b_size,
    int operation, int64_t times,
) noexcept nogil:
    """How often exactly one of two names was allowed. Takes over the reference."""
    cdef int64_t found = 0
    cdef int64_t _i
    for _i in range(times):
        found += (
            acl_allows(index, who, resource_type, a, a_size, operation)
            != acl_allows(index, who, resource_type, b, b_size, operation)
        )
    acl_index_release(index)
    return found


class Reader:
    """Reads the index that an image has now, later and without the image."""

    def __init__(self, AclImage image not None):
        self.index = <size_t>acl_index_acquire(image.index)

    def exactly_one(self, bytes user, bytes host, int resource_type, bytes a, bytes b, int operation, int64_t times):
        """How often exactly one of two names was allowed; once only. The GIL is free meanwhile."""
        cdef AclIndex* index = <AclIndex*><size_t>self.index
        cdef AclWho who
        cdef const char* a_text = a
        cdef const char* b_text = b
        cdef int32_t a_size = <int32_t>len(a)
        cdef int32_t b_size = <int32_t>len(b)
        cdef int64_t found
        acl_who_init(&who, user, <int32_t>len(user), host, <int32_t>len(host))
        with nogil:
            found = count_allowed(index, &who, resource_type, a_text, a_size, b_text, b_size, operation, times)
        return found
