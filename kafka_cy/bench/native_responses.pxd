"""Receiving of the native load generator; see native_responses.pyx."""
from kafka_cy.bench.native_state cimport Connection, Load

cdef int receive(Load* load, Connection* c) noexcept nogil
