"""Idempotent producers and transactions of one partition (Kafka's ProducerStateManager)."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memmove

from kafka_cy.base.hash cimport hash_of_number
from kafka_cy.base.hash_table cimport (
    TABLE_ITEMS_MAX, hash_table_free, hash_table_init, hash_table_insert, hash_table_next, hash_table_remove,
    hash_table_renumber, hash_table_reserve, hash_table_start,
)
from kafka_cy.base.posix cimport ENOMEM
from kafka_cy.records.batch cimport (
    ATTRIBUTE_CODEC_MASK, ATTRIBUTE_CONTROL, ATTRIBUTE_TRANSACTIONAL, BATCH_HEADER_SIZE, BatchHeader,
)
from kafka_cy.records.crc32c cimport crc32c
from kafka_cy.records.wire cimport (
    Reader, Writer, load_be16, load_be32, load_be64, read_int8, read_int16, read_int32, read_raw, read_varint, read_varlong,
    reader_init, store_be16, store_be32, store_be64, writer_reserve,
)
from kafka_cy.storage.storage_error cimport (
    STORAGE_COORDINATOR_FENCED, STORAGE_INVALID_PRODUCER_EPOCH, STORAGE_INVALID_TXN_STATE, STORAGE_NOT_IN_TRANSACTION, STORAGE_OK,
    STORAGE_OUT_OF_ORDER_SEQUENCE,
)

cdef enum:
    SEQUENCE_MAX = 0x7fffffff


cdef void producers_init(ProducerState* producers) noexcept nogil:
    producers.entries = NULL
    producers.entries_capacity = 0
    producers.count = 0
    hash_table_init(&producers.table)
    producers.oldest_open = -1
    producers.youngest_open = -1
    producers.ended_count = 0
    producers.first_unstable = -1


cdef void producers_clear(ProducerState* producers) noexcept nogil:
    free(producers.entries)
    hash_table_free(&producers.table)
    producers_init(producers)


cdef ProducerEntry* producers_find(ProducerState* producers, int64_t producer_id) noexcept nogil:
    cdef uint32_t hash = hash_of_number(<uint64_t>producer_id)
    cdef uint32_t place = hash_table_start(&producers.table, hash)
    cdef int32_t found = hash_table_next(&producers.table, hash, &place)
    while found >= 0:
        if producers.entries[found].producer_id == producer_id:
            return &producers.entries[found]
        found = hash_table_next(&producers.table, hash, &place)
    return NULL


cdef ProducerEntry* insert(ProducerState* producers, int64_t producer_id) noexcept nogil:
    """Add an empty entry. The caller must have reserved room (producers_reserve)."""
    cdef ProducerEntry* entry = &producers.entries[producers.count]
    entry.producer_id = producer_id
    entry.epoch = -1
    entry.coordinator_epoch = -1
    entry.last_timestamp_ms = -1
    entry.transaction_first_offset = -1
    entry.batches_count = 0
    hash_table_insert(&producers.table, hash_of_number(<uint64_t>producer_id), <int32_t>producers.count)
    producers.count += 1
    return entry


cdef void relink_open(ProducerState* producers, const ProducerEntry* entry, int32_t place) noexcept nogil:
    """The entry of an open transaction moved to `place`."""
    if entry.next_open >= 0:
        producers.entries[entry.next_open].prior_open = place
    else:
        producers.youngest_open = place
    if entry.prior_open >= 0:
        producers.entries[entry.prior_open].next_open = place
    else:
        producers.oldest_open = place


cdef void remove_entry(ProducerState* producers, int64_t place) noexcept nogil:
    """Remove an entry without an open transaction; the last entry moves to its place."""
    cdef ProducerEntry* entry = &producers.entries[place]
    cdef ProducerEntry* last = &producers.entries[producers.count - 1]
    hash_table_remove(&producers.table, hash_of_number(<uint64_t>entry.producer_id), <int32_t>place)
    producers.count -= 1
    if place != producers.count:
        hash_table_renumber(
            &producers.table, hash_of_number(<uint64_t>last.producer_id), <int32_t>producers.count, <int32_t>place
        )
        memcpy(entry, last, sizeof(ProducerEntry))
        if entry.transaction_first_offset >= 0:
            relink_open(producers, entry, <int32_t>place)


cdef int producers_reserve(ProducerState* producers) noexcept nogil:
    cdef int64_t capacity
    cdef ProducerEntry* grown
    if producers.count == producers.entries_capacity:
        capacity = producers.entries_capacity + (producers.entries_capacity >> 1) + 6
        if capacity > TABLE_ITEMS_MAX:
            return -1
        grown = <ProducerEntry*>realloc(producers.entries, <size_t>capacity * sizeof(ProducerEntry))
        if grown == NULL:
            return -1
        producers.entries = grown
        producers.entries_capacity = capacity
    return hash_table_reserve(&producers.table, <uint32_t>producers.count + 1)


cdef void producers_expire(ProducerState* producers, int64_t before_ms) noexcept nogil:
    """Forget the producers without an open transaction that wrote nothing since `before_ms`."""
    cdef int64_t place = producers.count - 1
    while place >= 0:
        if (producers.entries[place].transaction_first_offset < 0
                and producers.entries[place].last_timestamp_ms < before_ms):
            remove_entry(producers, place)
        place -= 1


cdef inline int32_t sequence_before(int32_t sequence, int32_t steps) noexcept nogil:
    """The sequence `steps` earlier; sequences run 0..2^31-1 and wrap to 0."""
    if sequence >= steps:
        return sequence - steps
    return <int32_t>(<int64_t>SEQUENCE_MAX - (steps - sequence) + 1)


cdef inline int32_t sequence_after(int32_t sequence, int32_t steps) noexcept nogil:
    if sequence > SEQUENCE_MAX - steps:
        return <int32_t>(steps - (<int64_t>SEQUENCE_MAX - sequence) - 1)
    return sequence + steps


cdef bint find_repeat(const ProducerEntry* entry, const BatchHeader* header, RetainedBatch* repeated) noexcept nogil:
    cdef int32_t i
    cdef int32_t last_sequence = sequence_after(header.base_sequence, header.last_offset_delta)
    if entry.epoch != header.producer_epoch:
        return False
    for i in range(entry.batches_count):
        if (entry.batches[i].last_sequence == last_sequence
                and sequence_before(last_sequence, entry.batches[i].offset_delta) == header.base_sequence):
            repeated[0] = entry.batches[i]
            return True
    return False


cdef int producers_check(
    ProducerState* producers, const BatchHeader* header, bint check_sequence, RetainedBatch* repeated, bint* is_repeat
) noexcept nogil:
    cdef ProducerEntry* entry = producers_find(producers, header.producer_id)
    cdef int32_t last_sequence
    is_repeat[0] = False
    if entry == NULL:
        return STORAGE_OK               # never seen, or evicted: any sequence is accepted
    if check_sequence and find_repeat(entry, header, repeated):
        is_repeat[0] = True
        return STORAGE_OK
    if header.producer_epoch < entry.epoch:
        return STORAGE_INVALID_PRODUCER_EPOCH
    if check_sequence:
        if header.producer_epoch != entry.epoch:
            if header.base_sequence != 0 and entry.epoch >= 0:
                return STORAGE_OUT_OF_ORDER_SEQUENCE
        elif entry.epoch >= 0:
            last_sequence = entry.batches[entry.batches_count - 1].last_sequence if entry.batches_count else -1
            if header.base_sequence != (0 if last_sequence == SEQUENCE_MAX else last_sequence + 1):
                return STORAGE_OUT_OF_ORDER_SEQUENCE
    if entry.transaction_first_offset >= 0 and not header.attributes & ATTRIBUTE_TRANSACTIONAL:
        return STORAGE_INVALID_TXN_STATE
    return STORAGE_OK


cdef int producers_check_transaction(
    ProducerState* producers, const BatchHeader* header, bint version_2, bint* begins_wrongly
) noexcept nogil:
    cdef ProducerEntry* entry = producers_find(producers, header.producer_id)
    begins_wrongly[0] = version_2 and header.base_sequence != 0 and (entry == NULL or entry.batches_count == 0)
    if entry == NULL:
        return STORAGE_NOT_IN_TRANSACTION
    if header.producer_epoch < entry.epoch:
        return STORAGE_INVALID_PRODUCER_EPOCH
    if entry.transaction_first_offset >= 0 and entry.epoch == header.producer_epoch:
        return STORAGE_OK
    return STORAGE_NOT_IN_TRANSACTION


cdef int producers_check_marker(
    ProducerState* producers, const BatchHeader* header, const uint8_t* batch, size_t size, bint version_2
) noexcept nogil:
    cdef ProducerEntry* entry = producers_find(producers, header.producer_id)
    cdef Marker marker
    if entry == NULL:
        return STORAGE_OK
    if header.producer_epoch < entry.epoch:
        return STORAGE_INVALID_PRODUCER_EPOCH
    if version_2 and header.producer_epoch == entry.epoch and entry.transaction_first_offset >= 0:
        return STORAGE_INVALID_PRODUCER_EPOCH       # without an open transaction it is a retry (KAFKA-19999)
    marker_read(batch, size, header, &marker)
    if marker.present and marker.coordinator_epoch < entry.coordinator_epoch:
        return STORAGE_COORDINATOR_FENCED
    return STORAGE_OK


cdef void transaction_opened(ProducerState* producers, ProducerEntry* entry) noexcept nogil:
    """Link an open transaction that is younger than all others."""
    entry.next_open = -1
    entry.prior_open = producers.youngest_open
    relink_open(producers, entry, <int32_t>(entry - producers.entries))
    if producers.first_unstable < 0:
        producers.first_unstable = entry.transaction_first_offset


cdef void transaction_closed(ProducerState* producers, ProducerEntry* entry) noexcept nogil:
    if entry.next_open >= 0:
        producers.entries[entry.next_open].prior_open = entry.prior_open
    else:
        producers.youngest_open = entry.prior_open
    if entry.prior_open >= 0:
        producers.entries[entry.prior_open].next_open = entry.next_open
    else:
        producers.oldest_open = entry.next_open
    entry.transaction_first_offset = -1
    producers.first_unstable = -1
    if producers.oldest_open >= 0:
        producers.first_unstable = producers.entries[producers.oldest_open].transaction_first_offset


cdef ProducerEntry* entry_of_epoch(ProducerState* producers, int64_t producer_id, int16_t epoch) noexcept nogil:
    """The producer's entry, created if new; a new epoch forgets the old one's batches."""
    cdef ProducerEntry* entry = producers_find(producers, producer_id)
    if entry == NULL:
        entry = insert(producers, producer_id)
    if entry.epoch != epoch:
        entry.batches_count = 0
        entry.epoch = epoch
    return entry


cdef void producers_append(
    ProducerState* producers, const BatchHeader* header, int64_t base_offset, int64_t last_offset
) noexcept nogil:
    cdef ProducerEntry* entry = entry_of_epoch(producers, header.producer_id, header.producer_epoch)
    cdef RetainedBatch* batch
    if entry.batches_count == RETAINED_BATCHES:
        memmove(&entry.batches[0], &entry.batches[1], (RETAINED_BATCHES - 1) * sizeof(RetainedBatch))
        entry.batches_count -= 1
    batch = &entry.batches[entry.batches_count]
    entry.batches_count += 1
    batch.last_sequence = sequence_after(header.base_sequence, header.last_offset_delta) if header.base_sequence >= 0 else -1
    batch.last_offset = last_offset
    batch.offset_delta = <int32_t>(last_offset - base_offset)
    batch.timestamp_ms = header.max_timestamp
    entry.last_timestamp_ms = header.max_timestamp
    if header.attributes & ATTRIBUTE_TRANSACTIONAL and entry.transaction_first_offset < 0:
        entry.transaction_first_offset = base_offset
        transaction_opened(producers, entry)


cdef int64_t producers_end_transaction(
    ProducerState* producers, const BatchHeader* header, const Marker* marker
) noexcept nogil:
    cdef ProducerEntry* entry = entry_of_epoch(producers, header.producer_id, header.producer_epoch)
    cdef int64_t first_offset = entry.transaction_first_offset
    if first_offset >= 0:
        transaction_closed(producers, entry)
    entry.coordinator_epoch = marker.coordinator_epoch
    entry.last_timestamp_ms = header.max_timestamp
    return first_offset


cdef void note_ended(ProducerState* producers, int64_t first_offset, int64_t last_offset) noexcept nogil:
    """Add an ended transaction. When full, the newest entry is extended: the last stable offset then waits a little
    longer."""
    cdef EndedTransaction* newest
    if producers.ended_count < ENDED_MAX:
        newest = &producers.ended[producers.ended_count]
        newest.first_offset = first_offset
        producers.ended_count += 1
    else:
        newest = &producers.ended[ENDED_MAX - 1]
        newest.first_offset = min(newest.first_offset, first_offset)
    newest.last_offset = last_offset


cdef int64_t producers_first_unreplicated(const ProducerState* producers) noexcept nogil:
    cdef int64_t first = -1
    cdef int32_t i
    for i in range(producers.ended_count):
        if first < 0 or producers.ended[i].first_offset < first:
            first = producers.ended[i].first_offset
    return first


cdef void producers_forget_replicated(ProducerState* producers, int64_t high_watermark) noexcept nogil:
    cdef int32_t replicated = 0
    while replicated < producers.ended_count and producers.ended[replicated].last_offset < high_watermark:
        replicated += 1
    producers.ended_count -= replicated
    memmove(&producers.ended[0], &producers.ended[replicated], <size_t>producers.ended_count * sizeof(EndedTransaction))


cdef void marker_read(const uint8_t* batch, size_t size, const BatchHeader* header, Marker* marker) noexcept nogil:
    cdef Reader r
    cdef int16_t version, kind
    cdef int32_t key_size
    marker.present = False
    marker.commit = False
    marker.coordinator_epoch = -1
    if header.records_count < 1 or header.attributes & ATTRIBUTE_CODEC_MASK or size < BATCH_HEADER_SIZE:
        return
    reader_init(&r, batch + BATCH_HEADER_SIZE, size - BATCH_HEADER_SIZE)
    read_varint(&r)             # record length
    read_int8(&r)
    read_varlong(&r)            # timestamp delta
    read_varint(&r)             # offset delta
    key_size = read_varint(&r)
    version = read_int16(&r)
    kind = read_int16(&r)
    if r.error or key_size < 4 or version < 0 or kind < 0 or kind > 1:
        return
    read_raw(&r, key_size - 4)
    read_varint(&r)             # value length
    read_int16(&r)              # its version
    marker.coordinator_epoch = read_int32(&r)
    marker.commit = kind == 1
    marker.present = not r.error


cdef bint producers_apply(
    ProducerState* producers, const BatchHeader* header, const uint8_t* batch, size_t size, AbortedTransaction* aborted
) noexcept nogil:
    cdef Marker marker
    cdef int64_t first_offset
    if header.producer_id < 0 or header.magic < 2:
        return False
    if not header.attributes & ATTRIBUTE_CONTROL:
        producers_append(producers, header, header.base_offset, header.base_offset + header.last_offset_delta)
        return False
    marker_read(batch, size, header, &marker)
    if not marker.present:
        return False
    first_offset = producers_end_transaction(producers, header, &marker)
    if first_offset >= 0:
        note_ended(producers, first_offset, header.base_offset + header.last_offset_delta)
    if marker.commit or first_offset < 0:
        return False
    aborted.producer_id = header.producer_id
    aborted.first_offset = first_offset
    aborted.last_offset = header.base_offset + header.last_offset_delta
    aborted.last_stable_offset = producers.first_unstable
    if aborted.last_stable_offset < 0:
        aborted.last_stable_offset = aborted.last_offset + 1
    return True


cdef int by_records_producer(const void* a, const void* b) noexcept nogil:
    cdef int64_t left = (<LastRecord*>a).producer_id
    cdef int64_t right = (<LastRecord*>b).producer_id
    return -1 if left < right else (1 if left > right else 0)


cdef int producers_last_records(const ProducerState* producers, LastRecord** records, int32_t* count) noexcept nogil:
    cdef LastRecord* found = <LastRecord*>malloc(<size_t>(producers.count + 1) * sizeof(LastRecord))
    cdef const ProducerEntry* entry
    cdef int64_t i
    if found == NULL:
        return -1
    records[0] = found
    for i in range(producers.count):
        entry = &producers.entries[i]
        found[i].producer_id = entry.producer_id
        found[i].last_data_offset = entry.batches[entry.batches_count - 1].last_offset if entry.batches_count else -1
        found[i].epoch = entry.epoch
    count[0] = <int32_t>producers.count
    qsort(found, <size_t>count[0], sizeof(LastRecord), by_records_producer)
    return 0


cdef int producers_summarize(const ProducerState* producers, ProducerSummary** summaries, int64_t* count) noexcept nogil:
    cdef ProducerSummary* found = <ProducerSummary*>malloc(<size_t>(producers.count + 1) * sizeof(ProducerSummary))
    cdef const ProducerEntry* entry
    cdef int64_t i
    if found == NULL:
        return -1
    summaries[0] = found
    count[0] = producers.count
    for i in range(producers.count):
        entry = &producers.entries[i]
        found[i].producer_id = entry.producer_id
        found[i].last_timestamp_ms = entry.last_timestamp_ms
        found[i].transaction_first_offset = entry.transaction_first_offset
        found[i].last_sequence = entry.batches[entry.batches_count - 1].last_sequence if entry.batches_count else -1
        found[i].coordinator_epoch = entry.coordinator_epoch
        found[i].epoch = entry.epoch
    return 0


cdef inline void store_entry(const ProducerEntry* entry, uint8_t* place) noexcept nogil:
    cdef const RetainedBatch* last = NULL
    if entry.batches_count > 0:
        last = &entry.batches[entry.batches_count - 1]
    store_be64(place, <uint64_t>entry.producer_id)
    store_be16(place + 8, <uint16_t>entry.epoch)
    store_be32(place + 10, <uint32_t>(last.last_sequence if last != NULL else -1))
    store_be64(place + 14, <uint64_t>(last.last_offset if last != NULL else -1))
    store_be32(place + 22, <uint32_t>(last.offset_delta if last != NULL else 0))
    store_be64(place + 26, <uint64_t>entry.last_timestamp_ms)
    store_be32(place + 34, <uint32_t>entry.coordinator_epoch)
    store_be64(place + 38, <uint64_t>entry.transaction_first_offset)


cdef void producers_copy_snapshot(ProducerState* producers, Writer* output) noexcept nogil:
    """version 1: int16 version, uint32 CRC32C of what follows, int32 count, entries."""
    cdef size_t size = SNAPSHOT_HEADER_SIZE + <size_t>producers.count * SNAPSHOT_ENTRY_SIZE
    cdef uint8_t* place = writer_reserve(output, size)
    cdef int64_t i
    if place == NULL:
        return
    store_be16(place, 1)
    store_be32(place + 2, 0)
    store_be32(place + 6, <uint32_t>producers.count)
    for i in range(producers.count):
        store_entry(&producers.entries[i], place + SNAPSHOT_HEADER_SIZE + i * SNAPSHOT_ENTRY_SIZE)
    output.size += size


cdef int by_first_bytes(const void* a, const void* b) noexcept nogil:
    return memcmp(a, b, sizeof(int64_t))


cdef void snapshot_finish(uint8_t* data, size_t size) noexcept nogil:
    qsort(data + SNAPSHOT_HEADER_SIZE, (size - SNAPSHOT_HEADER_SIZE) // SNAPSHOT_ENTRY_SIZE, SNAPSHOT_ENTRY_SIZE, by_first_bytes)
    store_be32(data + 2, crc32c(data + 6, size - 6))


cdef int producers_read_snapshot(ProducerState* producers, const uint8_t* data, size_t size) noexcept nogil:
    """0, -1: torn, or ENOMEM."""
    cdef int32_t count, i
    cdef const uint8_t* p
    cdef ProducerEntry* entry
    producers_clear(producers)
    if size < SNAPSHOT_HEADER_SIZE or load_be16(data) != 1 or crc32c(data + 6, size - 6) != load_be32(data + 2):
        return -1
    count = <int32_t>load_be32(data + 6)
    if count < 0 or <size_t>count * SNAPSHOT_ENTRY_SIZE != size - SNAPSHOT_HEADER_SIZE:
        return -1
    for i in range(count):
        p = data + SNAPSHOT_HEADER_SIZE + <size_t>i * SNAPSHOT_ENTRY_SIZE
        if producers_reserve(producers) < 0:
            return ENOMEM
        if <int64_t>load_be64(p) < 0 or producers_find(producers, <int64_t>load_be64(p)) != NULL:
            return -1
        entry = insert(producers, <int64_t>load_be64(p))
        entry.epoch = <int16_t>load_be16(p + 8)
        entry.last_timestamp_ms = <int64_t>load_be64(p + 26)
        entry.coordinator_epoch = <int32_t>load_be32(p + 34)
        entry.transaction_first_offset = <int64_t>load_be64(p + 38)
        if <int64_t>load_be64(p + 14) >= 0:
            entry.batches_count = 1
            entry.batches[0].last_sequence = <int32_t>load_be32(p + 10)
            entry.batches[0].last_offset = <int64_t>load_be64(p + 14)
            entry.batches[0].offset_delta = <int32_t>load_be32(p + 22)
            entry.batches[0].timestamp_ms = entry.last_timestamp_ms
    return link_open(producers)


cdef int by_first_offset(const void* a, const void* b) noexcept nogil:
    cdef int64_t left = (<const ProducerEntry**>a)[0].transaction_first_offset
    cdef int64_t right = (<const ProducerEntry**>b)[0].transaction_first_offset
    return -1 if left < right else (1 if left > right else 0)


cdef int link_open(ProducerState* producers) noexcept nogil:
    """Link the open transactions of a snapshot, oldest first. 0 or ENOMEM."""
    cdef ProducerEntry** opened = <ProducerEntry**>malloc(<size_t>(producers.count + 1) * sizeof(ProducerEntry*))
    cdef int64_t count = 0
    cdef int64_t i
    if opened == NULL:
        return ENOMEM
    for i in range(producers.count):
        if producers.entries[i].transaction_first_offset >= 0:
            opened[count] = &producers.entries[i]
            count += 1
    qsort(opened, <size_t>count, sizeof(ProducerEntry*), by_first_offset)
    for i in range(count):
        transaction_opened(producers, opened[i])
    free(opened)
    return 0
