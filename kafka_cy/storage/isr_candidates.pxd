"""Partitions with a replica that may join the ISR. See isr_candidates.pyx."""
from kafka_cy.storage.partition cimport Partition

# Any thread; no lock. A partition that is in the list already is not added again.
cdef void isr_candidate_note(Partition* partition) noexcept nogil
