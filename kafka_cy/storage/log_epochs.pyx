"""A log's leader epochs: look-ups, new epochs, the checkpoint file."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.atomics cimport atomic_store_i32
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.storage.leader_epochs cimport epochs_assign, epochs_end_offset_for, epochs_latest, epochs_of, epochs_write
from kafka_cy.storage.log_failure cimport fail_log
from kafka_cy.storage.log_struct cimport Log
from kafka_cy.storage.storage_error cimport STORAGE_NO_MEMORY, STORAGE_OK

cdef int32_t log_epoch_of(Log* log, int64_t offset) noexcept nogil:
    cdef int32_t epoch
    pthread_mutex_lock(&log.segments_mutex)
    epoch = epochs_of(&log.epochs, offset)
    pthread_mutex_unlock(&log.segments_mutex)
    return epoch


cdef int32_t log_latest_epoch(Log* log) noexcept nogil:
    cdef int32_t epoch
    pthread_mutex_lock(&log.segments_mutex)
    epoch = epochs_latest(&log.epochs)
    pthread_mutex_unlock(&log.segments_mutex)
    return epoch


cdef void log_end_offset_for_epoch(Log* log, int32_t asked_epoch, int32_t* epoch, int64_t* end_offset) noexcept nogil:
    pthread_mutex_lock(&log.segments_mutex)
    epochs_end_offset_for(&log.epochs, asked_epoch, log.end_offset, epoch, end_offset)
    pthread_mutex_unlock(&log.segments_mutex)


cdef int log_assign_epoch(Log* log, int32_t epoch) noexcept nogil:
    cdef int error
    pthread_mutex_lock(&log.append_mutex)
    error = log_assign_epoch_locked(log, epoch)
    pthread_mutex_unlock(&log.append_mutex)
    return error


cdef int log_assign_epoch_locked(Log* log, int32_t epoch) noexcept nogil:
    cdef int failed = 0
    pthread_mutex_lock(&log.segments_mutex)
    if epoch > epochs_latest(&log.epochs):
        failed = epochs_assign(&log.epochs, epoch, log.end_offset)
    pthread_mutex_unlock(&log.segments_mutex)
    return STORAGE_NO_MEMORY if failed else STORAGE_OK


cdef void begin_epoch(Log* log, int32_t epoch, int64_t start_offset) noexcept nogil:
    """Call with the append mutex, before offsets of the epoch are visible, so that a flush that covers them finds the
    file written."""
    pthread_mutex_lock(&log.segments_mutex)
    epochs_assign(&log.epochs, epoch, start_offset)
    pthread_mutex_unlock(&log.segments_mutex)
    write_epochs(log)


cdef void write_epochs(Log* log) noexcept nogil:
    """Call with the append mutex. The next flush syncs the file before it raises the recovery point."""
    cdef int failed = epochs_write(&log.epochs, log.folder.name, False)
    if failed:
        fail_log(log, failed)   # if the failure is transient, the epochs stay dirty and the next append retries
        return
    atomic_store_i32(&log.epochs_unsynced, 1)
    atomic_store_i32(&log.names_unsynced, 1)
