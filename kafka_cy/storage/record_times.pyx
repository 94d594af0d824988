"""The exact timestamp of the record at an offset, for consumer lag in seconds."""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc

from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.records.batch cimport (
    ATTRIBUTE_CONTROL, ATTRIBUTE_DELETE_HORIZON, ATTRIBUTE_LOG_APPEND_TIME, BATCH_HEADER_SIZE, BATCH_OK, BATCH_TRUNCATED,
    BatchHeader, batch_find_timestamp, batch_header_read,
)
from kafka_cy.records.compression cimport Codecs, codecs_free, codecs_new
from kafka_cy.storage.hosted_partition cimport HostedPartition
from kafka_cy.storage.log_lifetime cimport log_ref, log_unref
from kafka_cy.storage.log_read cimport log_read
from kafka_cy.storage.log_struct cimport Log, ReadResult, log_config, log_start_offset
from kafka_cy.storage.segment cimport segment_read, segment_release
from kafka_cy.storage.storage_error cimport STORAGE_OK

cdef enum:
    BATCHES_PER_LOOK_UP_MAX = 64    # skips control batches and batches with only earlier records left
cdef int64_t ANY_TIMESTAMP = -0x7fffffffffffffff

# The record to find: the first one at or after `offset`, below `end`.
cdef struct LookUp:
    Log* log                        # one reference
    int64_t offset
    int64_t end
    int64_t timestamp_ms            # -1: no such record
    bint done


cdef int64_t time_in_batch(Codecs* codecs, Log* log, ReadResult* read, int64_t offset, int64_t* next_offset) noexcept nogil:
    """Timestamp of the first record at or after `offset` in the batch that was read; -1 if it has none, -2 on an error.

    The batch header gives the time of its first record and, with LogAppendTime, of all records. Only for a record in
    the middle of a batch are the records read and unpacked.
    """
    cdef uint8_t head[BATCH_HEADER_SIZE]
    cdef uint8_t* data
    cdef size_t head_size = <size_t>min(<int64_t>BATCH_HEADER_SIZE, read.size)
    cdef BatchHeader header
    cdef int64_t at = -1
    cdef int64_t timestamp_ms = -1
    cdef int found
    if segment_read(read.segment, read.position, head, head_size) != STORAGE_OK:
        return -2
    found = batch_header_read(head, head_size, &header)
    if found == BATCH_OK or (found == BATCH_TRUNCATED and head_size == BATCH_HEADER_SIZE):
        next_offset[0] = header.base_offset + header.last_offset_delta + 1
        if header.attributes & ATTRIBUTE_CONTROL:
            return -1
        if header.attributes & ATTRIBUTE_LOG_APPEND_TIME:
            return header.max_timestamp
        if offset <= header.base_offset and not header.attributes & ATTRIBUTE_DELETE_HORIZON:
            return header.base_timestamp
    else:
        next_offset[0] = header.base_offset + 1     # magic 0 and 1: a wrapper's base offset is its last offset
    data = <uint8_t*>malloc(<size_t>read.size)
    if data == NULL:
        return -2
    if segment_read(read.segment, read.position, data, <size_t>read.size) == STORAGE_OK:
        found = batch_find_timestamp(codecs, data, <size_t>read.size, ANY_TIMESTAMP, offset,
                                     log_config(log).rules.unpacked_bytes_max, &at, &timestamp_ms)
    else:
        found = -1
    free(data)
    if found < 0:
        return -2
    return timestamp_ms if found else -1


cdef void look_up(Codecs* codecs, LookUp* wanted) noexcept nogil:
    cdef ReadResult read
    cdef int64_t offset = max(wanted.offset, log_start_offset(wanted.log))
    cdef int64_t next_offset = -1
    cdef int32_t i
    wanted.done = True
    for i in range(BATCHES_PER_LOOK_UP_MAX):  # no-cython-lint
        if log_read(wanted.log, offset, wanted.end, 0, True, &read) != STORAGE_OK or read.segment == NULL:
            return
        next_offset = offset
        wanted.timestamp_ms = time_in_batch(codecs, wanted.log, &read, offset, &next_offset)
        segment_release(read.segment)
        if wanted.timestamp_ms != -1 or next_offset <= offset:
            break
        offset = next_offset
    wanted.timestamp_ms = max(wanted.timestamp_ms, <int64_t>-1)


cdef class RecordTimes:
    """Finds timestamps of records. Owner: one thread. It takes no lock that an append waits for."""

    cdef Codecs* codecs

    def __cinit__(self):
        self.codecs = codecs_new()
        if self.codecs == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.codecs != NULL:
            codecs_free(self.codecs)

    def find(self, wanted, budget_s):
        """For each (HostedPartition, offset): timestamp in ms of the first record at or after it. Runs without the GIL.

        -1: no such record below the high watermark, or the log cannot be read. None: the budget of `budget_s`
        seconds ran out first. Control batches do not count as records.
        """
        cdef list pairs = list(wanted)
        cdef int32_t count = <int32_t>len(pairs)
        cdef int32_t ready = 0
        cdef int32_t i
        cdef int64_t until = monotonic_ns() + <int64_t>(1e9 * budget_s)
        cdef HostedPartition partition
        cdef LookUp* look_ups = <LookUp*>calloc(<size_t>max(count, 1), sizeof(LookUp))
        if look_ups == NULL:
            raise MemoryError
        try:
            for i in range(count):
                partition, offset = pairs[i]
                look_ups[i].offset = offset
                look_ups[i].end = partition.high_watermark
                look_ups[i].timestamp_ms = -1
                look_ups[i].log = log_ref(partition.log.log)
                ready += 1
            with nogil:
                for i in range(count):
                    if monotonic_ns() > until:
                        break
                    look_up(self.codecs, &look_ups[i])
            return [look_ups[i].timestamp_ms if look_ups[i].done else None for i in range(count)]
        finally:
            with nogil:
                for i in range(ready):
                    log_unref(look_ups[i].log)
            free(look_ups)
