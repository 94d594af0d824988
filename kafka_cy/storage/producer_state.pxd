"""A partition's knowledge of its producers: last sequences, epochs, open transactions. See producer_state.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kafka_cy.base.hash_table cimport HashTable
from kafka_cy.records.batch cimport BatchHeader
from kafka_cy.records.wire cimport Writer
from kafka_cy.storage.transaction_index cimport AbortedTransaction

cdef enum:
    RETAINED_BATCHES = 5
    ENDED_MAX = 16              # ended transactions above the high watermark; beyond this, the newest two are merged
    SNAPSHOT_HEADER_SIZE = 10
    SNAPSHOT_ENTRY_SIZE = 46

cdef struct RetainedBatch:
    int32_t last_sequence
    int64_t last_offset
    int32_t offset_delta        # last offset - first offset
    int64_t timestamp_ms

cdef struct ProducerEntry:
    int64_t producer_id
    int16_t epoch
    int32_t coordinator_epoch   # -1: no marker yet
    int64_t last_timestamp_ms
    int64_t transaction_first_offset    # -1: none open
    int32_t next_open           # with an open transaction: the entry of the next younger one, -1: none
    int32_t prior_open          # of the next older one
    int32_t batches_count
    RetainedBatch batches[RETAINED_BATCHES]     # oldest first

# An ended transaction whose marker is not yet below the high watermark (Kafka's unreplicatedTxns).
cdef struct EndedTransaction:
    int64_t first_offset
    int64_t last_offset         # offset of the marker

# Owner: the log's appender (append mutex). Clients choose producer ids, so the table's hash is seeded.
cdef struct ProducerState:
    ProducerEntry* entries      # the first `count` are used, unordered
    int64_t entries_capacity
    int64_t count
    HashTable table             # indexes into `entries`
    int32_t oldest_open         # entry of the oldest open transaction, -1: none
    int32_t youngest_open
    int64_t first_unstable      # first offset of the oldest open transaction; -1 none
    EndedTransaction ended[ENDED_MAX]   # by last_offset
    int32_t ended_count

# End of a producer's last data batch, -1 if its epoch has none: the cleaner must keep that batch.
cdef struct LastRecord:
    int64_t producer_id
    int64_t last_data_offset
    int16_t epoch

# The fields of a producer that DescribeProducers shows.
cdef struct ProducerSummary:
    int64_t producer_id
    int64_t last_timestamp_ms
    int64_t transaction_first_offset    # -1: none open
    int32_t last_sequence       # -1: unknown
    int32_t coordinator_epoch
    int16_t epoch

# A control batch's marker, read by marker_read.
cdef struct Marker:
    bint present                # False: another kind of control record
    bint commit
    int32_t coordinator_epoch

cdef void producers_init(ProducerState* producers) noexcept nogil
cdef void producers_clear(ProducerState* producers) noexcept nogil
cdef ProducerEntry* producers_find(ProducerState* producers, int64_t producer_id) noexcept nogil
# May this batch come next? Returns a StorageError (0, 5, 7, 8). For a repeat of a retained batch, sets its offsets in
# `repeated`.
cdef int producers_check(
    ProducerState* producers, const BatchHeader* header, bint check_sequence, RetainedBatch* repeated, bint* is_repeat
) noexcept nogil
# May this marker come next? `version_2`: of a transaction of version 2, whose epoch must be above that of its batches. Returns
# a StorageError (0, 7, 17).
cdef int producers_check_marker(
    ProducerState* producers, const BatchHeader* header, const uint8_t* batch, size_t size, bint version_2
) noexcept nogil
# Whether the producer has an open transaction with this epoch. Returns a StorageError: 0 yes, 7 its epoch is older than the
# producer's, 18 no. `version_2`: a producer without batches must then begin with sequence 0 (`begins_wrongly`).
cdef int producers_check_transaction(
    ProducerState* producers, const BatchHeader* header, bint version_2, bint* begins_wrongly
) noexcept nogil
# Record an appended data batch. 0, or -1 when out of memory (reserve before the write, so that it cannot fail after
# it).
cdef int producers_reserve(ProducerState* producers) noexcept nogil
cdef void producers_append(
    ProducerState* producers, const BatchHeader* header, int64_t base_offset, int64_t last_offset
) noexcept nogil
# Record a marker; returns the first offset of the transaction it ends, or -1.
cdef int64_t producers_end_transaction(
    ProducerState* producers, const BatchHeader* header, const Marker* marker
) noexcept nogil
# The last stable offset stays below an ended transaction until its marker is below the high watermark.
cdef int64_t producers_first_unreplicated(const ProducerState* producers) noexcept nogil    # -1 none
cdef void producers_forget_replicated(ProducerState* producers, int64_t high_watermark) noexcept nogil
cdef void producers_expire(ProducerState* producers, int64_t before_ms) noexcept nogil
cdef void marker_read(const uint8_t* batch, size_t size, const BatchHeader* header, Marker* marker) noexcept nogil
# A .snapshot file in two steps: the first is quick, for a caller that holds locks; the second sorts by producer id and
# adds the CRC.
cdef void producers_copy_snapshot(ProducerState* producers, Writer* output) noexcept nogil
cdef void snapshot_finish(uint8_t* data, size_t size) noexcept nogil
# Of every producer, by producer id, malloc'ed. 0, or -1: out of memory.
cdef int producers_last_records(const ProducerState* producers, LastRecord** records, int32_t* count) noexcept nogil
cdef int producers_summarize(
    const ProducerState* producers, ProducerSummary** summaries, int64_t* count
) noexcept nogil                        # of every producer, malloc'ed. 0, or -1: out of memory
cdef int producers_read_snapshot(ProducerState* producers, const uint8_t* data, size_t size) noexcept nogil     # 0 or -1
# Record any appended batch, data or marker. True: it aborted a transaction, described in `aborted`.
cdef bint producers_apply(
    ProducerState* producers, const BatchHeader* header, const uint8_t* batch, size_t size, AbortedTransaction* aborted
) noexcept nogil
