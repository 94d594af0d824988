"""Removing the newest records of a log. With the flush and the append mutex: files are cut and scanned without the segments
mutex, so readers go on."""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_load_i32, atomic_load_i64, atomic_store_i32, atomic_store_i64, atomic_sub_i32,
)
from kafka_cy.base.posix cimport ENOMEM, pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.storage.batch_cursor cimport BatchCursor, cursor_find_offset, cursor_init
from kafka_cy.storage.leader_epochs cimport LeaderEpochs, epochs_copy, epochs_free, epochs_truncate_end
from kafka_cy.storage.log_epochs cimport write_epochs
from kafka_cy.storage.log_failure cimport fail_log, fail_log_half_done
from kafka_cy.storage.log_files cimport Listing, listing_free, listing_look, retire_segment, snapshots_delete_above
from kafka_cy.storage.log_flush cimport log_sync_names, settle_rolled
from kafka_cy.storage.log_recovery cimport cut_file_of, rebuild_segment
from kafka_cy.storage.log_segments cimport new_active, release_segments
from kafka_cy.storage.log_struct cimport Log, log_check_state, segment_floor
from kafka_cy.storage.producer_state cimport producers_clear, producers_first_unreplicated
from kafka_cy.storage.segment cimport (
    Segment, segment_acquire, segment_new, segment_pin, segment_unpin, segment_unref,
)
from kafka_cy.storage.transaction_index cimport (
    TransactionIndex, transactions_copy_below, transactions_free, transactions_truncate_end,
)

cdef int log_truncate_to(Log* log, int64_t offset) noexcept nogil:
    return truncate(log, offset, False)


cdef int log_truncate_fully(Log* log, int64_t new_start) noexcept nogil:
    return truncate(log, new_start, True)


cdef int truncate(Log* log, int64_t offset, bint fully) noexcept nogil:
    """Returns a StorageError. A log whose cut is half done goes offline under the append mutex: otherwise a waiting appender
    would write through the old active segment."""
    cdef int error
    cdef int failed = 0
    atomic_add_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.flush_mutex)
    atomic_sub_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.append_mutex)
    error = log_check_state(log)
    if not error and (fully or offset < log.end_offset):
        failed = settle_rolled(log)
        if not failed and (fully or offset <= log.segments[0].base_offset):
            failed = truncate_fully_locked(log, offset)
        elif not failed:
            failed = truncate_locked(log, offset)
    elif not error:
        # A leader of that epoch has appended nothing: the entry would diverge from the next leader's for ever.
        pthread_mutex_lock(&log.segments_mutex)
        epochs_truncate_end(&log.epochs, offset)
        pthread_mutex_unlock(&log.segments_mutex)
    if failed:
        error = fail_log(log, failed)
    pthread_mutex_unlock(&log.append_mutex)
    if not error:
        failed = write_epochs(log)
        if failed:
            error = fail_log(log, failed)
    pthread_mutex_unlock(&log.flush_mutex)
    return error


cdef int truncate_locked(Log* log, int64_t offset) noexcept nogil:
    """Cut after the last batch that ends below `offset`. The log then ends at `offset`, even if a cleaner has removed the batches
    just below it, as in UnifiedLog.truncateTo. 0 or an errno."""
    cdef int32_t kept = segment_floor(log, offset)
    cdef BatchCursor cursor
    cdef Segment* segment
    cdef int64_t position
    cdef int failed
    if log.segments[kept].base_offset == offset:
        kept -= 1
    segment = segment_new(&log.folder, log.segments[kept].base_offset)
    if segment == NULL:
        return ENOMEM
    failed = segment_pin(segment)
    if not failed:
        cursor_init(&cursor, segment, segment.size)
        position = cursor_find_offset(&cursor, 0, offset)
        failed = <int>-position if position < 0 else 0
        if not failed:
            forget_cleaned(log, offset)
            failed = cut_segment(log, segment, kept, offset, position)
        segment_unpin(segment)
    segment_unref(segment)
    return failed


cdef int truncate_fully_locked(Log* log, int64_t new_start) noexcept nogil:
    """0 or an errno."""
    cdef Segment* fresh = NULL
    cdef int32_t count = log.segments_count
    cdef int32_t i
    cdef int failed = 0
    cdef Segment** old = <Segment**>malloc(<size_t>count * sizeof(Segment*))
    if old == NULL:
        return ENOMEM
    forget_cleaned(log, -1)
    for i in range(count - 1, -1, -1):      # the last one first: a crash leaves no hole
        if not failed:
            failed = retire_segment(log.segments[i])
    if not failed:
        failed = snapshots_delete_above(log.folder.name, -1)
    producers_clear(&log.producers)
    log.snapshot_offset = -1
    if not failed:
        failed = new_active(log, new_start, &fresh)
    if not failed:
        # The recovery point is `new_start` from here on: of segments that a power cut brings back, a start checks the last only.
        failed = log_sync_names(log)
        if failed:
            segment_unref(fresh)
    if failed:
        free(old)
        return fail_log_half_done(log, failed)
    memcpy(old, log.segments, <size_t>count * sizeof(Segment*))
    pthread_mutex_lock(&log.segments_mutex)
    log.segments[0] = fresh
    log.segments_count = 1
    epochs_truncate_end(&log.epochs, 0)
    transactions_truncate_end(&log.aborted, 0)
    log.tail_count = 0
    memset(log.reads, 0, sizeof(log.reads))
    atomic_store_i64(&log.start_offset, new_start)
    atomic_store_i64(&log.flushed_offset, new_start)
    atomic_store_i64(&log.end_offset, new_start)
    atomic_store_i64(&log.first_unreplicated, -1)
    atomic_store_i64(&log.first_unstable, -1)
    pthread_mutex_unlock(&log.segments_mutex)
    release_segments(old, count)
    return 0


cdef int cut_segment(Log* log, Segment* segment, int32_t kept, int64_t offset, int64_t position) noexcept nogil:
    """0 or an errno. `segment` is a new object for the file of segments[kept]: readers of the old one keep its mapped indexes."""
    cdef TransactionIndex aborted
    cdef LeaderEpochs epochs
    cdef Segment* old = log.segments[kept]
    cdef int32_t i
    cdef int failed = 0
    memset(&aborted, 0, sizeof(TransactionIndex))
    memset(&epochs, 0, sizeof(LeaderEpochs))
    hide_from(log, old, offset, position)
    for i in range(log.segments_count - 1, kept, -1):       # the last one first: a crash leaves no hole
        if not failed:
            failed = retire_segment(log.segments[i])
    atomic_store_i32(&log.names_unsynced, 1)    # a segment that a power cut brings back would follow later appends
    if not failed:
        failed = snapshots_delete_above(log.folder.name, offset)
    if not failed and kept + 1 < log.segments_count:
        failed = log_sync_names(log)            # or, if the power goes before the next flush, a gap
    if not failed and position < segment.size:
        segment.size = position
        failed = cut_file_of(segment)
    if not failed:
        failed = scan_cut(log, segment, offset, &aborted, &epochs)
    if not failed:
        for i in range(kept + 1, log.segments_count):
            segment_unref(log.segments[i])
        put_cut_in_place(log, segment_acquire(segment), kept, &aborted, &epochs)
        segment_unref(old)
    transactions_free(&aborted)
    epochs_free(&epochs)
    return fail_log_half_done(log, failed) if failed else 0


cdef void hide_from(Log* log, Segment* cut, int64_t offset, int64_t position) noexcept nogil:
    """Readers see the new end first, so none of them reads what is cut off. `position`: where an active segment is cut."""
    pthread_mutex_lock(&log.segments_mutex)
    if atomic_load_i32(&cut.active):
        atomic_store_i64(&cut.size, position)
    log.tail_count = 0
    memset(log.reads, 0, sizeof(log.reads))
    epochs_truncate_end(&log.epochs, offset)
    atomic_store_i64(&log.flushed_offset, min(log.flushed_offset, offset))
    atomic_store_i64(&log.start_offset, min(log.start_offset, offset))
    atomic_store_i64(&log.end_offset, offset)
    pthread_mutex_unlock(&log.segments_mutex)


cdef int scan_cut(Log* log, Segment* segment, int64_t offset, TransactionIndex* aborted, LeaderEpochs* epochs) noexcept nogil:
    """Rebuild a cut, pinned segment that is not in the list yet; 0 or an errno. The index of aborted transactions and the epochs
    are copies, which the caller frees."""
    cdef Listing listing
    cdef int64_t unused = 0
    cdef bint was_cut = False
    cdef int failed = listing_look(&listing, log.folder.name)
    if failed:
        return failed
    if transactions_copy_below(&log.aborted, segment.base_offset, aborted) < 0 or epochs_copy(&log.epochs, epochs) < 0:
        failed = ENOMEM
    if not failed:
        failed = rebuild_segment(log, segment, offset, &listing, aborted, epochs, &unused, &was_cut)
    if not failed and was_cut:
        failed = cut_file_of(segment)
    listing_free(&listing)
    return failed


cdef void put_cut_in_place(
    Log* log, Segment* segment, int32_t kept, TransactionIndex* aborted, LeaderEpochs* epochs
) noexcept nogil:
    """`segment` becomes the active one, after `kept` others. Afterwards the copies hold the old index and epochs."""
    cdef TransactionIndex old_aborted = log.aborted
    cdef LeaderEpochs old_epochs = log.epochs
    pthread_mutex_lock(&log.segments_mutex)
    log.segments[kept] = segment
    log.segments_count = kept + 1
    log.aborted = aborted[0]
    log.epochs = epochs[0]
    atomic_store_i64(&log.first_unreplicated, producers_first_unreplicated(&log.producers))
    atomic_store_i64(&log.first_unstable, log.producers.first_unstable)
    pthread_mutex_unlock(&log.segments_mutex)
    aborted[0] = old_aborted
    epochs[0] = old_epochs


cdef void forget_cleaned(Log* log, int64_t offset) noexcept nogil:
    """The log was truncated to `offset`. Call with the append mutex."""
    atomic_add_i32(&log.truncations, 1)
    if atomic_load_i64(&log.cleaner_offset) > offset:
        atomic_store_i64(&log.cleaner_offset, offset)
