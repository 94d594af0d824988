"""Look-ups by time, which read and decompress batches; see list_offsets_job.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.api.list_offsets cimport ListOffsetsHeader, ListOffsetsResume, LookUpJob
from kafka_cy.api.named_partitions cimport NamedPartitions
from kafka_cy.network.dispatch cimport Reactor, Request
from kafka_cy.storage.partition cimport Partition

# A job without look-ups; NULL without memory.
cdef LookUpJob* look_up_job_new() noexcept nogil
# Adds a look-up and takes a partition reference. 0, or 1 without memory.
cdef int look_up_add(LookUpJob* work, Partition* partition, int32_t number, int64_t timestamp_ms) noexcept nogil
cdef void look_up_job_free(LookUpJob* work) noexcept nogil
# Submits the look-ups and takes ownership of `work`; the connection is held until the job has ended. The handler's result.
cdef int look_up_suspend(
    Reactor* reactor, Request* request, ListOffsetsHeader* header, NamedPartitions* named, LookUpJob* work,
    ListOffsetsResume resume,
) noexcept nogil
