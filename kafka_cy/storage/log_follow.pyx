"""Appending as a follower: the leader's bytes as they are, in as few writes as segments allow.

Offsets and leader epochs were assigned by the leader, and what producers may do was its decision. So there is one check of
lengths, checksums and offsets, before the append mutex. Indexes, producer state and leader epochs are updated batch by batch as
in an append of the leader (log_append), so that both write the same files.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.base.posix cimport cut_file
from kafka_cy.records.batch cimport (
    ATTRIBUTE_CONTROL, BATCH_BAD_CRC, BATCH_BAD_LENGTH, BATCH_BAD_MAGIC, BATCH_HEADER_SIZE, LOG_OVERHEAD, MAGIC_AT, BatchHeader,
    ValidBatch,
)
from kafka_cy.records.wire cimport load_be32, load_be64
from kafka_cy.storage.batch_cursor cimport entry_header
from kafka_cy.storage.log_append cimport log_reserve_for_marker, must_roll, publish_batch
from kafka_cy.storage.log_failure cimport fail_log
from kafka_cy.storage.log_roll cimport roll_locked
from kafka_cy.storage.log_struct cimport Log, LogConfig, active_segment, log_check_appendable, log_config, roll_jitter_ms
from kafka_cy.storage.producer_state cimport producers_reserve
from kafka_cy.storage.segment cimport Segment, segment_append_bytes, segment_pin, segment_unpin
from kafka_cy.storage.segment_recovery cimport checksum_matches
from kafka_cy.storage.storage_error cimport (
    STORAGE_CORRUPT, STORAGE_NO_MEMORY, STORAGE_OFFSET_OUT_OF_RANGE, STORAGE_OK,
)


cdef bint is_cut_off(const uint8_t* data, size_t size) noexcept nogil:
    """Are these bytes the beginning of a batch whose end the leader did not send?"""
    if size <= MAGIC_AT:
        return True
    return data[MAGIC_AT] <= 2 and <int64_t><int32_t>load_be32(data + 8) > <int64_t>size - LOG_OVERHEAD


cdef int check_next(const uint8_t* data, size_t size, int64_t end_offset, BatchHeader* header) noexcept nogil:
    """The batch at `data`: 0, a BatchError, or RECEIVED_BACKWARDS."""
    if entry_header(data, min(<int64_t>size, BATCH_HEADER_SIZE), <int64_t>size, header) <= 0:
        return BATCH_BAD_MAGIC if data[MAGIC_AT] > 2 else BATCH_BAD_LENGTH
    if not checksum_matches(header, data):
        return BATCH_BAD_CRC
    return RECEIVED_BACKWARDS if header.base_offset < end_offset else 0


cdef int received_check(const uint8_t* data, size_t size, Received* received) noexcept nogil:
    cdef BatchHeader header
    cdef size_t position = 0
    received.batches = 0
    received.first_offset = -1
    received.first_last_offset = -1
    received.end_offset = -1
    received.last_epoch = -1
    received.bad_position = -1
    received.bad_offset = -1
    received.bad_why = 0
    received.rolled = False
    while position < size and not is_cut_off(data + position, size - position):
        received.bad_why = check_next(data + position, size - position, received.end_offset, &header)
        if received.bad_why:
            received.bad_position = <int64_t>position
            received.bad_offset = <int64_t>load_be64(data + position)
            received.size = position
            return STORAGE_CORRUPT
        if received.batches == 0:
            received.first_offset = header.base_offset
            received.first_last_offset = header.base_offset + header.last_offset_delta
        received.batches += 1
        received.end_offset = header.base_offset + header.last_offset_delta + 1
        received.last_epoch = header.leader_epoch
        position += LOG_OVERHEAD + <size_t>header.length
    received.size = position
    return STORAGE_OK


cdef inline bint still_fits(
    const Segment* active, const LogConfig* config, int64_t jitter_ms, int64_t bytes, int32_t batches, const BatchHeader* header
) noexcept nogil:
    """Would an append one by one surely have kept this batch in the segment, behind `batches` others? See begins_segment."""
    return (
        active.first_timestamp >= 0
        and active.size + bytes <= config.segment_bytes - (LOG_OVERHEAD + header.length)
        and active.offsets.count + batches < config.segment_index_bytes // 8
        and active.times.count + batches < config.segment_index_bytes // 12 - 1
        and header.base_offset + header.last_offset_delta - active.base_offset <= 0x7fffffff
        and header.max_timestamp - active.first_timestamp <= config.segment_ms - jitter_ms
    )


cdef size_t run_of(
    Log* log, const LogConfig* config, const uint8_t* data, size_t size, const BatchHeader* first, int32_t* batches
) noexcept nogil:
    """Bytes of the batches that go into the active segment with one write, the first one in any case."""
    cdef int64_t jitter_ms = roll_jitter_ms(log, config)
    cdef BatchHeader header
    cdef size_t run = <size_t>(LOG_OVERHEAD + first.length)
    batches[0] = 1
    while run < size:
        entry_header(data + run, min(<int64_t>(size - run), BATCH_HEADER_SIZE), <int64_t>(size - run), &header)
        if not still_fits(active_segment(log), config, jitter_ms, <int64_t>run, batches[0], &header):
            break
        run += <size_t>(LOG_OVERHEAD + header.length)
        batches[0] += 1
    return run


cdef int publish_run(Log* log, const uint8_t* data, size_t size) noexcept nogil:
    """The bytes are in the file. 0, or a StorageError: what was not published is cut off."""
    cdef LogConfig config = log_config(log)
    cdef ValidBatch batch
    cdef size_t position = 0
    cdef int error = STORAGE_OK
    while position < size and not error:
        entry_header(
            data + position, min(<int64_t>(size - position), BATCH_HEADER_SIZE), <int64_t>(size - position), &batch.header)
        batch.data = <uint8_t*>data + position
        batch.size = <size_t>(LOG_OVERHEAD + batch.header.length)
        if batch.header.producer_id >= 0 and producers_reserve(&log.producers) < 0:
            error = STORAGE_NO_MEMORY
        elif batch.header.attributes & ATTRIBUTE_CONTROL:
            error = log_reserve_for_marker(log, &batch)
        if error:
            cut_file(active_segment(log).fd, active_segment(log).size)
            return error
        log.unflushed_messages += batch.header.last_offset_delta + 1
        error = publish_batch(log, &config, &batch)
        position += batch.size
    return error


cdef int append_run(Log* log, const uint8_t* data, size_t size) noexcept nogil:
    cdef Segment* active = active_segment(log)
    cdef int error
    cdef int failed = segment_pin(active)
    if failed:
        return fail_log(log, failed)
    failed = segment_append_bytes(active, data, size)
    if failed:
        cut_file(active.fd, active.size)
        error = fail_log(log, failed)
    else:
        error = publish_run(log, data, size)
    segment_unpin(active)
    return error


cdef int log_append_received_locked(Log* log, const uint8_t* data, int64_t now_ms, Received* received) noexcept nogil:
    cdef LogConfig config = log_config(log)
    cdef ValidBatch first
    cdef size_t position = 0
    cdef size_t run
    cdef int32_t batches = 0
    cdef int error = log_check_appendable(log)
    received.rolled = False
    if not error and received.first_offset < log.end_offset and received.batches > 0:
        error = STORAGE_OFFSET_OUT_OF_RANGE
    while position < received.size and not error:
        entry_header(
            data + position, min(<int64_t>(received.size - position), BATCH_HEADER_SIZE),
            <int64_t>(received.size - position), &first.header)
        first.size = <size_t>(LOG_OVERHEAD + first.header.length)
        if must_roll(active_segment(log), &config, roll_jitter_ms(log, &config), &first, now_ms):
            error = roll_locked(log, first.header.base_offset)
            received.rolled = received.rolled or not error
        if not error:
            run = run_of(log, &config, data + position, received.size - position, &first.header, &batches)
            error = append_run(log, data + position, run)
            position += run
    return error
