"""The partitions of the open transactions, as the transaction coordinator knows them; see transaction_table.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

# Purpose: tell an append whether the coordinator has the partition in the producer's open transaction.
# Owner: the coordinator's thread adds and removes; any thread looks up.
# Locks: one short mutex per shard (hash of the producer id). It may be taken with a log's append mutex.
# Lifetime: as long as the process. Limits: TRANSACTION_PARTITIONS_MAX.
cdef enum:
    TRANSACTION_PARTITIONS_MAX = 2097152        # 56 bytes each in the table, and up to 32 for its hash

cdef bint transaction_contains(
    int64_t producer_id, int16_t epoch, const uint8_t* topic_id, int32_t partition
) noexcept nogil
