"""What compaction leaves of one batch; behaviour in cleaned_batch.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kafka_cy.records.batch cimport BatchHeader
from kafka_cy.records.compression cimport Codecs
from kafka_cy.records.wire cimport Writer
from kafka_cy.storage.cleaned_transactions cimport CleanedTransactions
from kafka_cy.storage.offset_map cimport OffsetMap
from kafka_cy.storage.producer_state cimport LastRecord

# What a cleaning round knows when it looks at a batch. Owner: one cleaner thread.
# Limits: a batch unpacks to `unpacked_bytes_max` at most, else it counts as corrupt.
cdef struct BatchFilter:
    OffsetMap* latest
    int64_t latest_offset       # of what is in the map; records after it stay
    int64_t round_end           # the first offset that the round does not look at
    CleanedTransactions* transactions
    LastRecord* last_records    # of live producers, by producer id
    int32_t last_records_count
    int64_t now_ms
    int64_t delete_retention_ms
    bint keep_legacy_tombstones # magic 0 and 1 have no delete horizon: the segment's age decides
    size_t unpacked_bytes_max
    Codecs* codecs
    Writer kept                 # one byte a record: does it stay?
    Writer plain                # scratch: records before they are compressed

# Note the keys of a data batch, at offsets from `first_offset` on. 0 done, 1 the map is full (some keys may be in it),
# negative: -StorageError.
cdef int batch_note_keys(
    BatchFilter* filter, const uint8_t* data, const BatchHeader* header, int64_t first_offset
) noexcept nogil
# Note what the batch says of transactions. 1: aborted data, or a marker of which no data was seen. 0: neither. -1: no memory.
cdef int batch_see_transaction(BatchFilter* filter, const uint8_t* data, const BatchHeader* header) noexcept nogil
# Append what stays of the batch to `output`: its bytes, a smaller batch at the same offsets, an empty one, or nothing.
# `max_timestamp` is that of the records that stay, -1 none. Returns a StorageError.
cdef int batch_clean(
    BatchFilter* filter, const uint8_t* data, const BatchHeader* header, Writer* output, int64_t* max_timestamp
) noexcept nogil
