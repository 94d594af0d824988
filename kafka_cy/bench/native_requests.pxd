"""Sending of the native load generator; see native_requests.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.bench.native_state cimport Connection, Load

cdef int fill(Load* load, Connection* c, int64_t now) noexcept nogil
