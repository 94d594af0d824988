"""Re-scanning one segment: which batches are whole, and what they say. Nobody else uses the segment meanwhile: no locks."""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, realloc

from kafka_cy.base.posix cimport EIO, ENOMEM, read_some
from kafka_cy.records.batch cimport ATTRIBUTE_CONTROL, BATCH_OK, LOG_OVERHEAD, BatchHeader, batch_crc_matches
from kafka_cy.records.legacy cimport LegacyMessage, legacy_crc_matches, legacy_message_read
from kafka_cy.storage.batch_cursor cimport BatchCursor, cursor_header, cursor_init, records_timestamp
from kafka_cy.storage.index_table cimport table_free
from kafka_cy.storage.leader_epochs cimport LeaderEpochs, epochs_assign, epochs_latest
from kafka_cy.storage.producer_state cimport ProducerState, producers_apply, producers_reserve
from kafka_cy.storage.segment cimport Segment
from kafka_cy.storage.segment_index cimport segment_index_batch
from kafka_cy.storage.transaction_index cimport AbortedTransaction, TransactionIndex, transactions_append

cdef int64_t SEGMENT_OFFSETS_MAX = 1 << 31     # the offset index stores offsets relative to the segment's base offset in 31 bits


cdef int recover_segment(
    Segment* segment, int64_t offset_min, int64_t offset_limit, int32_t index_interval_bytes, ProducerState* producers,
    TransactionIndex* aborted, LeaderEpochs* epochs, int64_t* end_offset, bint* was_cut
) noexcept nogil:
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef int64_t position = 0
    cdef uint8_t* buffer = NULL
    cdef size_t capacity = 0
    cdef int failed = 0
    cdef int there
    cdef int64_t next_offset = max(offset_min, segment.base_offset)
    offset_limit = segment.base_offset + min(offset_limit - segment.base_offset, SEGMENT_OFFSETS_MAX)
    table_free(&segment.offsets)
    table_free(&segment.times)
    cursor_init(&cursor, segment, segment.size)
    there = cursor_header(&cursor, position, &header)
    while there > 0 and in_place(&header, next_offset, offset_limit):
        if header.base_offset > next_offset:
            there = follower_goes_back(&cursor, segment, &header, position, &buffer, &capacity)
            if there != 0:
                break
        failed = read_batch(segment, position, <size_t>(LOG_OVERHEAD + header.length), &buffer, &capacity)
        if failed or not checksum_matches(&header, buffer):
            break
        failed = recover_batch(
            segment, &header, buffer if header.magic == 2 else NULL, position, index_interval_bytes, producers, aborted, epochs)
        if failed:
            break
        position += LOG_OVERHEAD + header.length
        next_offset = header.base_offset + header.last_offset_delta + 1
        there = cursor_header(&cursor, position, &header)
    free(buffer)
    if failed or there < 0:     # unreadable is not torn: nothing is cut
        return failed if failed else -there
    end_offset[0] = next_offset
    was_cut[0] = position < segment.size
    segment.size = position
    return 0


cdef int recover_batch(
    Segment* segment, const BatchHeader* header, const uint8_t* data, int64_t position, int32_t interval_bytes,
    ProducerState* producers, TransactionIndex* aborted, LeaderEpochs* epochs
) noexcept nogil:
    cdef size_t size = <size_t>(LOG_OVERHEAD + header.length)
    cdef AbortedTransaction transaction
    if producers_reserve(producers) < 0:
        return ENOMEM
    if producers_apply(producers, header, data, size, &transaction) and transactions_append(aborted, &transaction) < 0:
        return ENOMEM
    if header.leader_epoch > epochs_latest(epochs) and epochs_assign(epochs, header.leader_epoch, header.base_offset) < 0:
        return ENOMEM
    return segment_index_batch(
        segment, header.base_offset + header.last_offset_delta, records_timestamp(header), position, <int64_t>size,
        interval_bytes)


cdef int read_batch(Segment* segment, int64_t position, size_t size, uint8_t** buffer, size_t* capacity) noexcept nogil:
    """Read the bytes of one batch into a reusable buffer; 0 or an errno."""
    cdef uint8_t* grown
    cdef int64_t there
    if size > capacity[0]:
        grown = <uint8_t*>realloc(buffer[0], size)
        if grown == NULL:
            return ENOMEM
        buffer[0] = grown
        capacity[0] = size
    there = read_some(segment.fd, buffer[0], size, position)
    if there < 0:
        return <int>-there
    return 0 if there == <int64_t>size else EIO


cdef bint in_place(const BatchHeader* header, int64_t offset_min, int64_t offset_limit) noexcept nogil:
    """Are all offsets of a batch in [offset_min, offset_limit)?"""
    return (
        header.base_offset >= offset_min and 0 <= header.last_offset_delta < offset_limit - offset_min
        and header.base_offset < offset_limit - header.last_offset_delta
    )


cdef bint checksum_matches(const BatchHeader* header, const uint8_t* data) noexcept nogil:
    cdef LegacyMessage message
    if header.magic == 2:
        return batch_crc_matches(data, header)
    return (
        legacy_message_read(data, <size_t>(LOG_OVERHEAD + header.length), &message) == BATCH_OK
        and legacy_crc_matches(data, &message)
    )


cdef int follower_goes_back(
    BatchCursor* cursor, Segment* segment, const BatchHeader* header, int64_t position, uint8_t** buffer, size_t* capacity
) noexcept nogil:
    """Detect a damaged base offset, which the checksum does not cover: this batch lies after an offset gap, yet the
    next batch is whole and begins below this one's end. Returns 1 if so; negative: minus an errno."""
    cdef BatchHeader following
    cdef int64_t next_position = position + LOG_OVERHEAD + header.length
    cdef int there = cursor_header(cursor, next_position, &following)
    cdef int failed
    if there <= 0 or following.base_offset > header.base_offset + header.last_offset_delta:
        return there if there < 0 else 0
    failed = read_batch(segment, next_position, <size_t>(LOG_OVERHEAD + following.length), buffer, capacity)
    return -failed if failed else checksum_matches(&following, buffer[0])


cdef int replay_producers(
    Segment* segment, int64_t bytes, int64_t from_offset, int64_t until_offset, ProducerState* producers, TransactionIndex* aborted
) noexcept nogil:
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef AbortedTransaction transaction
    cdef bint was_aborted
    cdef int64_t position = 0
    cdef uint8_t* buffer = NULL
    cdef size_t capacity = 0
    cdef int failed = 0
    cdef int there
    cursor_init(&cursor, segment, bytes)
    there = cursor_header(&cursor, position, &header)
    while not failed and there > 0 and header.base_offset < until_offset:
        if header.producer_id >= 0 and header.base_offset >= from_offset:
            if header.attributes & ATTRIBUTE_CONTROL:
                failed = read_batch(segment, position, <size_t>(LOG_OVERHEAD + header.length), &buffer, &capacity)
            if not failed and producers_reserve(producers) < 0:
                failed = ENOMEM
            if not failed:      # a marker needs more than the header
                was_aborted = producers_apply(
                    producers, &header, buffer, <size_t>(LOG_OVERHEAD + header.length), &transaction)
                if was_aborted and aborted != NULL and transactions_append(aborted, &transaction) < 0:
                    failed = ENOMEM
        position += LOG_OVERHEAD + header.length
        there = cursor_header(&cursor, position, &header)
    free(buffer)
    return -there if there < 0 and not failed else failed
