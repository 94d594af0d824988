"""The loop of the native load generator; see native_loop.pyx."""
from kafka_cy.bench.native_state cimport Load

cdef void load_run(Load* load) noexcept nogil
