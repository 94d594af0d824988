"""A log's producers and transactions: look-ups, expiry, snapshot files."""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport malloc

from kafka_cy.base.posix cimport (
    ENOENT, ENOMEM, O_CREAT, O_RDWR, O_TRUNC, PATH_BYTES_MAX, close, name_file, open_file, pthread_mutex_lock,
    pthread_mutex_unlock, unlink, write_whole,
)
from kafka_cy.records.wire cimport Writer, writer_free, writer_init
from kafka_cy.storage.log_folder cimport NAME_TRIES_MAX, folder_name, folder_other_name
from kafka_cy.storage.log_struct cimport SNAPSHOT_BYTES_MAX, Log, log_config
from kafka_cy.storage.producer_state cimport (
    LastRecord, ProducerSummary, producers_copy_snapshot, producers_expire, producers_last_records, producers_summarize,
    snapshot_finish,
)
from kafka_cy.storage.segment cimport segments_give_way
from kafka_cy.storage.storage_error cimport STORAGE_NO_MEMORY, STORAGE_OK
from kafka_cy.storage.transaction_index cimport AbortedTransaction, transactions_overlapping

cdef int log_copy_producers(Log* log, ProducerSummary** summaries, int64_t* count) noexcept nogil:
    cdef int failed
    pthread_mutex_lock(&log.append_mutex)
    failed = producers_summarize(&log.producers, summaries, count)
    pthread_mutex_unlock(&log.append_mutex)
    return STORAGE_NO_MEMORY if failed else STORAGE_OK


cdef int log_copy_last_records(Log* log, LastRecord** records, int32_t* count) noexcept nogil:
    cdef int failed
    pthread_mutex_lock(&log.append_mutex)
    failed = producers_last_records(&log.producers, records, count)
    pthread_mutex_unlock(&log.append_mutex)
    return STORAGE_NO_MEMORY if failed else STORAGE_OK


cdef int log_aborted_transactions(
    Log* log, int64_t first, int64_t last_exclusive, int64_t** pairs, int32_t* count
) noexcept nogil:
    cdef int failed
    pthread_mutex_lock(&log.segments_mutex)
    failed = transactions_overlapping(&log.aborted, first, last_exclusive, pairs, count)
    pthread_mutex_unlock(&log.segments_mutex)
    return STORAGE_NO_MEMORY if failed else STORAGE_OK


cdef int log_copy_aborted(
    Log* log, int64_t first, int64_t end, AbortedTransaction** aborted, int32_t* count
) noexcept nogil:
    cdef int32_t i
    count[0] = 0
    pthread_mutex_lock(&log.segments_mutex)
    aborted[0] = <AbortedTransaction*>malloc(<size_t>(log.aborted.count + 1) * sizeof(AbortedTransaction))
    if aborted[0] != NULL:
        for i in range(log.aborted.count):
            if log.aborted.entries[i].first_offset < end and log.aborted.entries[i].last_offset >= first:
                aborted[0][count[0]] = log.aborted.entries[i]
                count[0] += 1
    pthread_mutex_unlock(&log.segments_mutex)
    return STORAGE_OK if aborted[0] != NULL else STORAGE_NO_MEMORY


cdef void log_expire_producers(Log* log, int64_t now_ms) noexcept nogil:
    pthread_mutex_lock(&log.append_mutex)
    producers_expire(&log.producers, now_ms - log_config(log).producer_id_expiration_ms)
    pthread_mutex_unlock(&log.append_mutex)


cdef int encode_snapshot(Log* log, SnapshotBytes* out) noexcept nogil:
    """Copy the current producers, malloc'ed, for write_snapshot; 0 or an errno. Call with the append mutex."""
    cdef Writer output
    writer_init(&output, SNAPSHOT_BYTES_MAX)
    producers_copy_snapshot(&log.producers, &output)
    if output.error:
        writer_free(&output)
        return ENOMEM
    out.data = output.data
    out.size = output.size
    return 0


cdef int write_file(const char* path, SnapshotBytes* content) noexcept nogil:
    cdef int failed
    cdef int fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC)
    while fd < 0 and segments_give_way(-fd):
        fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC)
    if fd < 0:
        return -fd
    failed = write_whole(fd, content.data, content.size, 0)
    close(fd)
    return failed


cdef int write_snapshot(Log* log, int64_t offset, SnapshotBytes* content) noexcept nogil:
    """Write the producers as of `offset`; 0 or an errno. The CRC detects a torn file."""
    cdef char path[PATH_BYTES_MAX]
    cdef const char* name = folder_name(&log.folder)
    cdef int failed = ENOENT
    cdef int i
    snapshot_finish(content.data, content.size)
    for i in range(NAME_TRIES_MAX):         # no-cython-lint  the folder may be renamed meanwhile
        name_file(path, PATH_BYTES_MAX, name, offset, b".snapshot")
        failed = write_file(path, content)
        if failed != ENOENT:
            break
        name = folder_other_name(&log.folder, name)
        if name == NULL:
            break
    return failed


cdef void unlink_snapshot(Log* log, int64_t offset) noexcept nogil:
    """If it stays, because the folder is being renamed, it does no harm: its content is right."""
    cdef char path[PATH_BYTES_MAX]
    name_file(path, PATH_BYTES_MAX, folder_name(&log.folder), offset, b".snapshot")
    unlink(path)
