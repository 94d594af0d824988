"""Which follower a consumer should read from (KIP-392). See preferred_replica.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.storage.partition cimport Partition

# The most caught up of these brokers that is in sync and whose log has the offset; -1: none, or another thread appends just now.
# Does not wait. For the leader.
cdef int32_t partition_preferred_replica(
    Partition* partition, const int32_t* broker_ids, int32_t count, int64_t offset
) noexcept nogil
