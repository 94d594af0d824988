"""Committed offsets of a group as Python sees them."""
from kafka_cy.coordinator.offset_map cimport OffsetMap


cdef class CommittedOffsets:
    cdef OffsetMap map
