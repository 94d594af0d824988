"""Batches of committed offsets, byte for byte those that coordinator/records and build_batch make (and Kafka).

Key: int16 1, group and topic with int16 lengths, int32 partition. Value: version 4 of OffsetCommitValue, or version 1 for an
offset with an expiry of its own.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int16_t, int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from kafka_cy.records.batch cimport (
    ATTRIBUTE_TRANSACTIONAL, ATTRIBUTES_AT, LAST_OFFSET_DELTA_AT, PRODUCER_EPOCH_AT, PRODUCER_ID_AT, RECORDS_COUNT_AT,
    BatchHeader, batch_finish, batch_header_read, batch_header_write,
)
from kafka_cy.records.wire cimport (
    store_be16, store_be32, store_be64, write_int8, write_int16, write_int32, write_int64, write_raw, write_string,
    write_uvarint, write_varint, write_varlong, writer_free, writer_init,
)

cdef enum:
    KEY_TYPE = 1
    VALUE_VERSION_WITH_EXPIRY = 1
    VALUE_VERSION = 4
    METADATA_BYTES_MAX = 0x7fff     # as coordinator/records
    TOPIC_ID_TAG = 0
    BATCH_BYTES_MAX = 0x7fffffff


cdef inline int32_t uvarint_size(uint32_t value) noexcept nogil:
    cdef int32_t size = 1
    while value >= 0x80:
        value >>= 7
        size += 1
    return size


cdef inline int32_t varint_size(int32_t value) noexcept nogil:
    return uvarint_size((<uint32_t>value << 1) ^ <uint32_t>(value >> 31))


cdef void commit_batch_begin(Writer* w, int64_t now_ms) noexcept nogil:
    cdef BatchHeader header
    memset(&header, 0, sizeof(BatchHeader))
    header.base_timestamp = now_ms
    header.max_timestamp = now_ms
    header.leader_epoch = -1            # an append sets it
    header.producer_id = -1
    header.producer_epoch = -1
    batch_header_write(w, &header)


cdef void commit_batch_add(
    Writer* w, int32_t number, const char* group, int32_t group_size, const char* topic, int32_t topic_size, int32_t partition,
    const Committed* committed
) noexcept nogil:
    cdef int32_t key_size = 10 + group_size + topic_size
    cdef int32_t metadata_size = committed.metadata_size
    cdef bint has_expiry = committed.expire_timestamp_ms != -1
    cdef int32_t value_size = 28 + metadata_size if has_expiry else (
        22 + uvarint_size(<uint32_t>metadata_size + 1) + metadata_size + (19 if committed.has_topic_id else 1))
    write_varint(w, 3 + varint_size(number) + varint_size(key_size) + key_size + varint_size(value_size) + value_size)
    write_int8(w, 0)
    write_varlong(w, 0)
    write_varint(w, number)
    write_varint(w, key_size)
    write_int16(w, KEY_TYPE)
    write_string(w, False, group, group_size)
    write_string(w, False, topic, topic_size)
    write_int32(w, partition)
    write_varint(w, value_size)
    if has_expiry:
        write_value_with_expiry(w, committed)
    else:
        write_value(w, committed)
    write_varint(w, 0)                  # headers


cdef inline void write_value_with_expiry(Writer* w, const Committed* committed) noexcept nogil:
    write_int16(w, VALUE_VERSION_WITH_EXPIRY)
    write_int64(w, committed.offset)
    write_string(w, False, committed.metadata, committed.metadata_size)
    write_int64(w, committed.commit_timestamp_ms)
    write_int64(w, committed.expire_timestamp_ms)


cdef inline void write_value(Writer* w, const Committed* committed) noexcept nogil:
    write_int16(w, VALUE_VERSION)
    write_int64(w, committed.offset)
    write_int32(w, committed.leader_epoch)
    write_string(w, True, committed.metadata, committed.metadata_size)
    write_int64(w, committed.commit_timestamp_ms)
    if committed.has_topic_id:
        write_uvarint(w, 1)
        write_uvarint(w, TOPIC_ID_TAG)
        write_uvarint(w, 16)
        write_raw(w, committed.topic_id, 16)
    else:
        write_int8(w, 0)


cdef int commit_batch_end(Writer* w, int32_t count, ValidBatch* batch) noexcept nogil:
    if w.error:
        return -1
    store_be32(w.data + LAST_OFFSET_DELTA_AT, <uint32_t>(count - 1))
    store_be32(w.data + RECORDS_COUNT_AT, <uint32_t>count)
    batch_finish(w, 0)
    memset(batch, 0, sizeof(ValidBatch))
    batch.data = w.data
    batch.size = w.size
    batch_header_read(w.data, w.size, &batch.header)
    batch.max_timestamp_offset_delta = count - 1
    return 0


cdef class CommitBatch:
    # Owner: the coordinator's thread. Limit: the callers bound the number of records.
    cdef Writer w
    cdef int32_t count

    def __cinit__(self, int64_t now_ms):
        writer_init(&self.w, BATCH_BYTES_MAX)
        commit_batch_begin(&self.w, now_ms)

    def __dealloc__(self):
        writer_free(&self.w)

    @property
    def size(self):
        return self.w.size

    def add(self, records):
        cdef Committed committed
        cdef bytes group, topic, metadata, topic_id
        cdef int32_t index
        for (group_id, topic_name, partition), value in records:
            group, topic, metadata = group_id.encode(), topic_name.encode(), value.metadata.encode()
            index = partition
            if max(len(group), len(topic), len(metadata)) > METADATA_BYTES_MAX:
                raise ValueError("a string of more than 32767 bytes")
            memset(&committed, 0, sizeof(Committed))
            committed.offset = value.offset
            committed.leader_epoch = value.leader_epoch
            committed.commit_timestamp_ms = value.commit_timestamp_ms
            committed.expire_timestamp_ms = value.expire_timestamp_ms
            committed.metadata = metadata
            committed.metadata_size = <int32_t>len(metadata)
            committed.has_topic_id = value.topic_id is not None
            if committed.has_topic_id:
                topic_id = value.topic_id.bytes
                memcpy(committed.topic_id, <const char*>topic_id, 16)
            commit_batch_add(
                &self.w, self.count, group, <int32_t>len(group), topic, <int32_t>len(topic), index, &committed)
            self.count += 1

    def finish(self, producer=None):
        cdef ValidBatch batch
        if self.w.error:
            raise MemoryError
        if producer is not None:
            store_be64(self.w.data + PRODUCER_ID_AT, <uint64_t><int64_t>producer[0])
            store_be16(self.w.data + PRODUCER_EPOCH_AT, <uint16_t><int16_t>producer[1])
            store_be16(self.w.data + ATTRIBUTES_AT, ATTRIBUTE_TRANSACTIONAL)
        if commit_batch_end(&self.w, self.count, &batch) < 0:
            raise MemoryError
        return PyBytes_FromStringAndSize(<const char*>self.w.data, <Py_ssize_t>self.w.size)


def commit_batch(bytes group not None, rows, int64_t now_ms):
    """The batch that a reactor appends for a commit; rows of (topic, partition, offset, leader epoch, metadata, topic id), all
    strings as bytes, the id None or 16 bytes. For tests."""
    cdef Writer w
    cdef Committed committed
    cdef ValidBatch batch
    cdef bytes topic, metadata, topic_id
    cdef int32_t number = 0
    writer_init(&w, BATCH_BYTES_MAX)
    try:
        commit_batch_begin(&w, now_ms)
        for topic, partition, offset, leader_epoch, metadata, topic_id in rows:
            memset(&committed, 0, sizeof(Committed))
            committed.offset = offset
            committed.leader_epoch = leader_epoch
            committed.commit_timestamp_ms = now_ms
            committed.expire_timestamp_ms = -1
            committed.metadata = metadata
            committed.metadata_size = <int32_t>len(metadata)
            committed.has_topic_id = topic_id is not None
            for i in range(16 if topic_id is not None else 0):
                committed.topic_id[i] = topic_id[i]
            commit_batch_add(&w, number, group, <int32_t>len(group), topic, <int32_t>len(topic), partition, &committed)
            number += 1
        if commit_batch_end(&w, number, &batch) < 0:
            raise MemoryError
        return w.data[:w.size]
    finally:
        writer_free(&w)
