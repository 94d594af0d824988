"""Python's handle of a hosted partition. See hosted_partition.pyx."""
from kafka_cy.storage.log cimport PartitionLog
from kafka_cy.storage.partition cimport Partition

# Holds one reference. Created by storage.log_manager.
cdef class HostedPartition:
    cdef Partition* partition
    cdef readonly PartitionLog log
