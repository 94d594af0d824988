"""Re-scanning one segment: which batches are whole, and what they say. See segment_recovery.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.records.batch cimport BatchHeader
from kafka_cy.storage.leader_epochs cimport LeaderEpochs
from kafka_cy.storage.producer_state cimport ProducerState
from kafka_cy.storage.segment cimport Segment
from kafka_cy.storage.transaction_index cimport TransactionIndex

# Check every batch of a pinned segment, rebuild its indexes in memory, record producers, epochs, aborted transactions.
# `end_offset` is the offset after the last good batch. The segment ends with it; what follows in the file is for the caller to
# cut off (`was_cut`). A batch is good if its checksum is right and its offsets follow those before it, within
# [offset_min, offset_limit): the checksum does not cover the base offset.
cdef int recover_segment(
    Segment* segment, int64_t offset_min, int64_t offset_limit, int32_t index_interval_bytes, ProducerState* producers,
    TransactionIndex* aborted, LeaderEpochs* epochs, int64_t* end_offset, bint* was_cut
) noexcept nogil
# Record the producers of batches in [from_offset, until_offset) of a pinned segment. `bytes`: of the segment. `aborted` gets the
# transactions that were aborted there, if it is not NULL.
cdef int replay_producers(
    Segment* segment, int64_t bytes, int64_t from_offset, int64_t until_offset, ProducerState* producers, TransactionIndex* aborted
) noexcept nogil
# Of a whole batch of any magic.
cdef bint checksum_matches(const BatchHeader* header, const uint8_t* data) noexcept nogil
