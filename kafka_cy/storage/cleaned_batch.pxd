"""What compaction keeps of one batch. See cleaned_batch.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kafka_cy.records.batch cimport BatchHeader
from kafka_cy.records.compression cimport Codecs
from kafka_cy.records.wire cimport Writer
from kafka_cy.storage.cleaned_transactions cimport CleanedTransactions
from kafka_cy.storage.offset_map cimport OffsetMap
from kafka_cy.storage.producer_state cimport LastRecord

# State of a cleaning round that batch filtering needs.
# Owner: one cleaner thread.
# Limits: a batch that unpacks to more than `unpacked_bytes_max` counts as corrupt.
cdef struct BatchFilter:
    OffsetMap* latest
    int64_t latest_offset       # end offset of the map; later records stay
    int64_t round_end           # the first offset outside the round
    CleanedTransactions* transactions
    LastRecord* last_records    # of active producers, sorted by producer id
    int32_t last_records_count
    int64_t now_ms
    int64_t delete_retention_ms
    bint keep_legacy_tombstones # magic 0 and 1 have no delete horizon: the segment's age decides
    size_t unpacked_bytes_max
    Codecs* codecs
    Writer kept                 # one byte per record: does it stay?
    Writer plain                # scratch buffer: records before compression

# Add the keys of a data batch to the map, from offset `first_offset` on. 0 done, 1 the map is full (some keys may
# already be in it), negative: -StorageError.
cdef int batch_note_keys(
    BatchFilter* filter, const uint8_t* data, const BatchHeader* header, int64_t first_offset
) noexcept nogil
# Track the batch's transaction. 1: aborted data, or a marker without data. 0: neither. -1: out of memory.
cdef int batch_see_transaction(BatchFilter* filter, const uint8_t* data, const BatchHeader* header) noexcept nogil
# Append what remains of the batch to `output`: the unchanged bytes, a smaller batch with the same offsets, an empty
# batch, or nothing. `max_timestamp` is that of the remaining records, -1 none. Returns a StorageError.
cdef int batch_clean(
    BatchFilter* filter, const uint8_t* data, const BatchHeader* header, Writer* output, int64_t* max_timestamp
) noexcept nogil
