"""The quota of replication (KIP-73) as a follower applies it to what it asks for. See follower_throttle.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.replication.followed cimport FollowedTable
from kafka_cy.storage.partition cimport Partition

# Before a request: leave out what the quota does not allow. When to look again; 0: nothing is left out. The fetcher's thread.
cdef int64_t throttle_followed(FollowedTable* table, int64_t now_ns) noexcept nogil
# A follower appended batches of this size.
cdef void count_appended(Partition* partition, int64_t size) noexcept nogil
