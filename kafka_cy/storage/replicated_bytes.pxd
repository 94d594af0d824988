"""Bytes that replication moves: Kafka's ReplicationBytesInPerSec, ReassignmentBytesInPerSec and so on, which know no topics."""
from libc.stdint cimport int64_t

cdef enum ReplicatedBytes:
    REPLICATED_IN = 0           # batches that this broker appended as a follower
    REPLICATED_OUT = 1          # batches that it sent to followers
    REASSIGNED_IN = 2           # those of them that a reassignment moved
    REASSIGNED_OUT = 3
    REPLICATED_COUNTS = 4

# Any thread.
cdef void count_replicated(ReplicatedBytes which, int64_t size) noexcept nogil
# Since the start of the process.
cdef int64_t replicated(ReplicatedBytes which) noexcept nogil
