"""Fetch as a follower sends it: versions 11 (IBP 2.6) to 17 (IBP 3.9), always in incremental sessions (KIP-227)."""
from libc.stdint cimport int16_t, int32_t, uint32_t
from libc.string cimport memcmp

from kafka_cy.records.wire cimport (
    read_array_length, read_bytes, read_int16, read_int32, read_int64, read_raw, read_string, read_uvarint, reader_init,
    skip_tagged_fields, write_array_length, write_int32, write_int64, write_int8, write_no_tags, write_raw,
    write_string, write_uvarint,
)
from kafka_cy.replication.followed cimport FOLLOW_FETCHING, Followed, list_remove, table_find_partition
from kafka_cy.storage.partition cimport Partition, partition_release

cdef enum:
    REPLICA_STATE_BYTES = 13    # id, epoch, no tags


cdef inline bint same_topic(Partition* a, Partition* b) noexcept nogil:
    return memcmp(a.topic_id, b.topic_id, 16) == 0 and a.topic_size == b.topic_size and (
        memcmp(a.topic, b.topic, <size_t>a.topic_size) == 0)


cdef void write_topic(Writer* w, int16_t version, Partition* partition) noexcept nogil:
    if version >= 13:
        write_raw(w, partition.topic_id, 16)
    else:
        write_string(w, version >= 12, partition.topic, partition.topic_size)


cdef void write_partition(Writer* w, const FetchSettings* settings, Followed* followed) noexcept nogil:
    write_int32(w, followed.partition.index)
    write_int32(w, followed.position.leader_epoch)
    write_int64(w, followed.position.offset)
    if settings.version >= 12:
        write_int32(w, followed.position.last_epoch)
    write_int64(w, followed.position.start_offset)
    write_int32(w, settings.partition_bytes_max)
    write_no_tags(w, settings.version >= 12)


cdef void write_dirty(Writer* w, const FetchSettings* settings, FollowedTable* table) noexcept nogil:
    """Neighbours of one topic share an entry. The list is empty afterwards."""
    cdef bint flexible = settings.version >= 12
    cdef Followed* followed = table.dirty.first
    cdef Followed* end
    cdef int32_t topics = 0
    cdef int32_t count
    while followed != NULL:
        if followed.previous == NULL or not same_topic(followed.previous.partition, followed.partition):
            topics += 1
        followed = followed.next
    write_array_length(w, flexible, topics)
    while table.dirty.first != NULL:
        followed = table.dirty.first
        end = followed
        count = 0
        while end != NULL and same_topic(end.partition, followed.partition):
            count += 1
            end = end.next
        write_topic(w, settings.version, followed.partition)
        write_array_length(w, flexible, count)
        while table.dirty.first != end:
            followed = table.dirty.first
            write_partition(w, settings, followed)
            followed.sent = followed.position
            followed.in_session = True
            list_remove(table, followed)
        write_no_tags(w, flexible)


cdef void write_forgotten(Writer* w, const FetchSettings* settings, FollowedTable* table) noexcept nogil:
    """A partition that is followed again since then stays: the leader would remove it after adding it."""
    cdef bint flexible = settings.version >= 12
    cdef Followed* followed
    cdef int32_t kept = 0
    cdef int32_t i
    for i in range(table.forgotten_count):
        followed = table_find_partition(table, table.forgotten[i])
        if (followed != NULL and followed.state == FOLLOW_FETCHING) or settings.session_epoch == 0:
            partition_release(table.forgotten[i])
        else:
            table.forgotten[kept] = table.forgotten[i]
            kept += 1
    write_array_length(w, flexible, kept)
    for i in range(kept):
        write_topic(w, settings.version, table.forgotten[i])
        write_array_length(w, flexible, 1)
        write_int32(w, table.forgotten[i].index)
        write_no_tags(w, flexible)
        partition_release(table.forgotten[i])
    table.forgotten_count = 0


cdef void write_fetch(Writer* w, const FetchSettings* settings, FollowedTable* table) noexcept nogil:
    cdef bint flexible = settings.version >= 12
    if settings.version <= 14:
        write_int32(w, settings.broker_id)
    write_int32(w, settings.wait_max_ms)
    write_int32(w, settings.bytes_min)
    write_int32(w, settings.response_bytes_max)
    write_int8(w, 0)                                # read_uncommitted
    write_int32(w, settings.session_id)
    write_int32(w, settings.session_epoch)
    write_dirty(w, settings, table)
    write_forgotten(w, settings, table)
    write_string(w, flexible, b"", 0)               # rack id: consumers' business
    if settings.version >= 15:
        write_int8(w, 1)
        write_uvarint(w, 1)                         # ReplicaState (KIP-903)
        write_uvarint(w, REPLICA_STATE_BYTES)
        write_int32(w, settings.broker_id)
        write_int64(w, settings.broker_epoch)
        write_int8(w, 0)
    else:
        write_no_tags(w, flexible)


# -- responses --

cdef void read_partition_tags(Reader* r, FetchedPartition* fetched) noexcept nogil:
    """DivergingEpoch (0). CurrentLeader (1) says what LeaderAndIsr will say, too."""
    cdef uint32_t count = read_uvarint(r)
    cdef uint32_t tag, size
    cdef Reader field
    while count > 0 and not r.error:
        count -= 1
        tag = read_uvarint(r)
        size = read_uvarint(r)
        reader_init(&field, r.position, size)
        if read_raw(r, size) != NULL and tag == 0:
            fetched.diverging_epoch = read_int32(&field)
            fetched.diverging_end_offset = read_int64(&field)
            fetched.diverging = not field.error and fetched.diverging_epoch >= 0


cdef void read_partition(Reader* r, int16_t version, FetchedPartition* fetched) noexcept nogil:
    cdef bint flexible = version >= 12
    cdef int32_t count
    fetched.index = read_int32(r)
    fetched.error = read_int16(r)
    fetched.high_watermark = read_int64(r)
    read_int64(r)                                   # last stable offset
    fetched.start_offset = read_int64(r)
    count = read_array_length(r, flexible, 16)      # aborted transactions: for consumers
    while count > 0 and not r.error:
        count -= 1
        read_int64(r)
        read_int64(r)
        if flexible:
            skip_tagged_fields(r)
    read_int32(r)                                   # preferred read replica
    fetched.records = read_bytes(r, flexible, &fetched.records_size)
    fetched.diverging = False
    if flexible:
        read_partition_tags(r, fetched)


cdef void read_fetched(
    Reader* r, int16_t version, FetchOutcome* outcome, fetched_hook hook, void* context
) noexcept nogil:
    cdef bint flexible = version >= 12
    cdef FetchedPartition fetched
    cdef int32_t topics, partitions
    outcome.throttle_ms = read_int32(r)
    outcome.error = read_int16(r)
    outcome.session_id = read_int32(r)
    topics = read_array_length(r, flexible, 5)
    while topics > 0 and not r.error:
        topics -= 1
        if version >= 13:
            fetched.topic_size = 16
            fetched.topic = read_raw(r, 16)
        else:
            fetched.topic = <const unsigned char*>read_string(r, flexible, &fetched.topic_size)
        partitions = read_array_length(r, flexible, 30)
        while partitions > 0 and not r.error:
            partitions -= 1
            read_partition(r, version, &fetched)
            if not r.error and fetched.topic != NULL:
                hook(context, &fetched)
        if flexible:
            skip_tagged_fields(r)
    if flexible:
        skip_tagged_fields(r)
