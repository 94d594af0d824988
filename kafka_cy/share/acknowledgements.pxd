"""What a member says about its records of one share partition; see acknowledgements.pyx."""
from libc.stdint cimport int8_t, int32_t

from kafka_cy.share.in_flight_acknowledge cimport Acknowledgement

# Immutable. Owner: a request. Limit: its body.
cdef class Acknowledgements:
    cdef Acknowledgement* items
    cdef int8_t* types              # of all items
    cdef int32_t count

cdef Acknowledgements acknowledgements_of(rows)
