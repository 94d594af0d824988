"""Holds an index of ACLs for Python; see acl_image.pyx."""
from kafka_cy.authorizer.acl_index cimport AclIndex


cdef class AclImage:
    """Holds one reference to an index."""

    cdef AclIndex* index
