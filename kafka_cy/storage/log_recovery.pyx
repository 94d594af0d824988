"""Rebuilding what a log knows from its batches, after a crash or a truncation. Functions return 0 or an errno."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.atomics cimport atomic_store_i32
from kafka_cy.base.posix cimport ENOENT, ENOMEM, O_RDONLY, close, cut_file, sync_data
from kafka_cy.records.batch cimport LOG_OVERHEAD, BatchHeader
from kafka_cy.storage.batch_cursor cimport BatchCursor, cursor_header, cursor_init
from kafka_cy.storage.leader_epochs cimport LeaderEpochs, epochs_assign, epochs_latest, epochs_truncate_end
from kafka_cy.storage.log_epochs cimport write_epochs
from kafka_cy.storage.log_files cimport Listing, retire_segment, snapshot_floor, snapshots_delete_above
from kafka_cy.storage.log_flush cimport log_sync_names
from kafka_cy.storage.log_folder cimport open_in_folder
from kafka_cy.storage.log_struct cimport Log, log_config, segment_floor
from kafka_cy.storage.segment cimport Segment, segment_pin, segment_size, segment_unpin, segment_unref
from kafka_cy.storage.segment_index cimport segment_close_indexes, segment_write_indexes
from kafka_cy.storage.segment_recovery cimport recover_segment, replay_producers
from kafka_cy.storage.transaction_index cimport (
    AbortedTransaction, TransactionIndex, transactions_load, transactions_rewrite, transactions_truncate_end,
)

cdef int recover_from(Log* log, Listing* listing, int32_t first) noexcept nogil:
    """Unclean start: re-scan segments[first:]. Segments after a torn one are dropped: the offsets would have a gap."""
    cdef int64_t end_offset = log.segments[first].base_offset
    cdef int32_t i = first
    cdef bint was_cut = False
    cdef int failed = 0
    cdef Segment* segment
    # The checkpoint may be older than a truncation and have an epoch at an offset that other batches of that epoch have now.
    epochs_truncate_end(&log.epochs, end_offset)
    transactions_truncate_end(&log.aborted, end_offset)
    failed = snapshots_delete_above(log.folder.name, end_offset)
    if listing.snapshots_count > 0 and listing.snapshots[listing.snapshots_count - 1] > end_offset:
        atomic_store_i32(&log.names_unsynced, 1)    # a power cut that brings one back could follow other records
    while not failed and i < log.segments_count and not was_cut:
        segment = log.segments[i]
        failed = segment_pin(segment)
        if failed:
            return failed
        if i == first:
            failed = rebuild_segment(
                log, segment, offset_limit_of(log, i), listing, &log.aborted, &log.epochs, &end_offset, &was_cut)
        else:
            failed = recover_next(log, segment, offset_limit_of(log, i), &end_offset, &was_cut)
        if not failed and i + 1 < log.segments_count and not was_cut:
            failed = segment_close_indexes(segment)
            segment.active = False
            segment.indexes_mapped = True
        segment_unpin(segment)
        i += 1
    if failed:
        return failed           # a read or write error drops nothing
    failed = drop_segments(log, i)
    if not failed and was_cut:
        failed = cut_file_of(log.segments[i - 1])
    if failed:
        return failed
    epochs_truncate_end(&log.epochs, end_offset)
    log.end_offset = end_offset
    return 0


cdef int drop_segments(Log* log, int32_t kept) noexcept nogil:
    """Those after a torn one, the last one first, and before the torn one is cut: once it is whole, the next start would take the
    later ones for the rest of the log. A power cut must not bring them back either."""
    cdef int failed
    if log.segments_count == kept:
        return 0
    while log.segments_count > kept:
        failed = retire_segment(log.segments[log.segments_count - 1])
        if failed:
            return failed
        log.segments_count -= 1
        segment_unref(log.segments[log.segments_count])
    atomic_store_i32(&log.names_unsynced, 1)
    return log_sync_names(log)


cdef int cut_file_of(Segment* segment) noexcept nogil:
    """The file ends where the segment does, also after a power cut: no flush looks at it when another segment follows first."""
    cdef int failed = segment_pin(segment)
    if failed:
        return failed
    failed = cut_file(segment.fd, segment.size)
    if not failed:
        failed = sync_data(segment.fd)
    segment_unpin(segment)
    return failed


cdef int rebuild_segment(
    Log* log, Segment* segment, int64_t offset_limit, Listing* listing, TransactionIndex* aborted, LeaderEpochs* epochs,
    int64_t* end_offset, bint* was_cut
) noexcept nogil:
    """Re-scan one pinned segment with the producer state as of its base offset, and rewrite its index files. Fills
    `aborted` and `epochs` from its batches."""
    cdef int failed = load_producers(log, listing, segment.base_offset)
    log.snapshot_offset = -1
    segment.active = True
    segment.indexes_mapped = False
    segment.max_timestamp = -1
    segment.max_timestamp_offset = -1
    segment.first_timestamp = -1
    segment.bytes_since_index = 0
    if not failed:
        failed = recover_segment(
            segment, segment.base_offset, offset_limit, log_config(log).index_interval_bytes, &log.producers, aborted, epochs,
            end_offset, was_cut)
    if not failed:
        failed = segment_write_indexes(segment, True)
    if not failed:
        failed = rewrite_aborted(log, aborted, segment.base_offset, 0x7fffffffffffffff)
    return failed


cdef int recover_next(
    Log* log, Segment* segment, int64_t offset_limit, int64_t* end_offset, bint* was_cut
) noexcept nogil:
    """A later segment of the same recovery: producers and epochs carry over."""
    cdef int failed
    segment.active = True
    segment_size(segment)
    failed = recover_segment(
        segment, max(segment.base_offset, end_offset[0]), offset_limit, log_config(log).index_interval_bytes, &log.producers,
        &log.aborted, &log.epochs, end_offset, was_cut)
    if not failed:
        failed = segment_write_indexes(segment, True)
    if not failed:
        failed = rewrite_aborted(log, &log.aborted, segment.base_offset, 0x7fffffffffffffff)
    return failed


cdef int rewrite_aborted(Log* log, TransactionIndex* aborted, int64_t base_offset, int64_t end) noexcept nogil:
    """Make the file of segment [base_offset, end) say what `aborted` says. The next flush syncs the folder if that is a change: a
    name that a power cut brings back would be taken for the truth."""
    cdef int fd = open_in_folder(&log.folder, base_offset, b".txnindex", O_RDONLY)
    if fd >= 0:
        close(fd)
    if fd != -ENOENT or (aborted.count > 0 and aborted.entries[aborted.count - 1].last_offset >= base_offset):
        atomic_store_i32(&log.names_unsynced, 1)
    return transactions_rewrite(aborted, log.folder.name, base_offset, end)


cdef int load_aborted(Log* log, Listing* listing, int32_t end) noexcept nogil:
    cdef int32_t i, at, before
    cdef int failed
    for i in range(listing.transactions_count):
        at = segment_floor(log, listing.transactions[i])
        if at >= end or log.segments[at].base_offset != listing.transactions[i]:
            continue
        before = log.aborted.count
        failed = transactions_load(&log.aborted, log.folder.name, listing.transactions[i])
        if failed < 0 or (failed == 0 and not entries_fit(&log.aborted, before, listing.transactions[i], offset_limit_of(log, at))):
            log.aborted.count = before
            listing.repairs.transaction_indexes += 1
            failed = rebuild_aborted(log, listing, at)
        if failed:
            return failed
    return 0


cdef bint entries_fit(const TransactionIndex* index, int32_t first, int64_t base_offset, int64_t end) noexcept nogil:
    """May a segment [base_offset, end) have these entries, and in this order? A power cut can leave zeros or older bytes. Whether
    entries are missing cannot be seen: a flush syncs the file."""
    cdef const AbortedTransaction* entry
    cdef int64_t last_marker = base_offset - 1
    cdef int32_t i
    for i in range(first, index.count):
        entry = &index.entries[i]
        if entry.producer_id < 0 or not last_marker < entry.last_offset < end:
            return False
        if not 0 <= entry.first_offset < entry.last_offset or not 0 <= entry.last_stable_offset <= entry.last_offset + 1:
            return False
        last_marker = entry.last_offset
    return True


cdef int check_aborted_below_end(Log* log, Listing* listing) noexcept nogil:
    cdef int32_t last = log.segments_count - 1
    if log.aborted.count == 0 or log.aborted.entries[log.aborted.count - 1].last_offset < log.end_offset:
        return 0
    transactions_truncate_end(&log.aborted, log.segments[last].base_offset)
    listing.repairs.transaction_indexes += 1
    return rebuild_aborted(log, listing, last)


cdef int rebuild_aborted(Log* log, Listing* listing, int32_t i) noexcept nogil:
    """Find the aborted transactions of segments[i] in its batches, and write them. The log has those of older segments, and no
    younger ones. The producers are afterwards those of the segment's end."""
    cdef Segment* segment = log.segments[i]
    cdef int64_t end = offset_limit_of(log, i)
    cdef int failed = load_producers(log, listing, segment.base_offset)
    if not failed:
        failed = segment_pin(segment)
    if not failed:
        failed = replay_producers(
            segment, segment_size(segment), segment.base_offset, end, &log.producers, &log.aborted)
        segment_unpin(segment)
    return failed if failed else rewrite_aborted(log, &log.aborted, segment.base_offset, end)


cdef int64_t offset_limit_of(Log* log, int32_t i) noexcept nogil:
    """Upper bound of the end offset of segments[i]."""
    return log.segments[i + 1].base_offset if i + 1 < log.segments_count else 0x7fffffffffffffff


cdef int load_producers(Log* log, Listing* listing, int64_t offset) noexcept nogil:
    """Restore producer state as of `offset`: load the newest snapshot at or below it, then replay the batches from
    there."""
    cdef int64_t from_offset = -1
    cdef int32_t i
    cdef Segment* segment
    cdef int failed = snapshot_floor(&log.producers, log.folder.name, listing, offset, &from_offset)
    if failed:
        return failed
    log.snapshot_offset = from_offset
    if from_offset == offset or log.segments_count == 0:
        return 0
    i = segment_floor(log, from_offset if from_offset > 0 else 0)
    while not failed and i < log.segments_count and log.segments[i].base_offset < offset:
        segment = log.segments[i]
        failed = segment_pin(segment)
        if not failed:
            failed = replay_producers(segment, segment_size(segment), from_offset, offset, &log.producers, NULL)
            segment_unpin(segment)
        i += 1
    return failed


cdef int rebuild_epochs(Log* log) noexcept nogil:
    """The checkpoint is unreadable: rebuild it from the batches."""
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef int64_t position
    cdef int32_t i
    cdef int there
    cdef int failed = 0
    epochs_truncate_end(&log.epochs, 0)
    for i in range(log.segments_count):
        failed = segment_pin(log.segments[i])
        if failed:
            return failed
        cursor_init(&cursor, log.segments[i], segment_size(log.segments[i]))
        position = 0
        there = cursor_header(&cursor, position, &header)
        while there > 0:
            if header.leader_epoch > epochs_latest(&log.epochs):
                if epochs_assign(&log.epochs, header.leader_epoch, header.base_offset) < 0:
                    there = -ENOMEM
                    break
            position += LOG_OVERHEAD + header.length
            there = cursor_header(&cursor, position, &header)
        segment_unpin(log.segments[i])
        if there < 0:
            return -there
    return write_epochs(log)
