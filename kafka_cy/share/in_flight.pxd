"""The coordinator's handle of the records in flight of a share partition; see in_flight.pyx."""
from kafka_cy.share.in_flight_ranges cimport Change as ChangeData
from kafka_cy.share.shared_records cimport SharedRecords
from kafka_cy.share.share_totals cimport ShareCounts


cdef class InFlight:
    cdef SharedRecords* records
    cdef readonly ShareCounts counts


# What is being stored. Without finish or undo it is undone when it ends.
cdef class Change:
    cdef SharedRecords* records         # one reference
    cdef ChangeData* data
