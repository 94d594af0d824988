"""A log's leader epochs: look-ups, new epochs, the checkpoint file."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.atomics cimport atomic_store_i32
from kafka_cy.base.posix cimport (
    ENOENT, ENOMEM, O_DIRECTORY, O_RDONLY, close, open_file, pthread_mutex_lock, pthread_mutex_unlock,
)
from kafka_cy.storage.leader_epochs cimport (
    LeaderEpochs, epochs_assign, epochs_copy, epochs_end_offset_for, epochs_free, epochs_latest, epochs_of, epochs_write,
)
from kafka_cy.storage.log_folder cimport NAME_TRIES_MAX, folder_name, folder_other_name
from kafka_cy.storage.log_struct cimport Log
from kafka_cy.storage.segment cimport segments_give_way
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
    """In memory only, since this runs on reactors. The flush that covers the offsets writes the file before it raises the
    recovery point. After a crash before that flush, recovery finds the epoch in the batches."""
    pthread_mutex_lock(&log.segments_mutex)
    epochs_assign(&log.epochs, epoch, start_offset)
    pthread_mutex_unlock(&log.segments_mutex)


cdef int write_epochs(Log* log) noexcept nogil:
    """A copy is written without the segments mutex. Epochs that change meanwhile stay marked for the next flush."""
    cdef LeaderEpochs copy
    cdef int failed = 0
    pthread_mutex_lock(&log.segments_mutex)
    if not log.epochs.dirty:
        pthread_mutex_unlock(&log.segments_mutex)
        return 0
    if epochs_copy(&log.epochs, &copy) < 0:
        failed = ENOMEM
    else:
        log.epochs.dirty = False
    pthread_mutex_unlock(&log.segments_mutex)
    if failed:
        return failed
    failed = write_copy(log, &copy)
    epochs_free(&copy)
    if not failed:
        atomic_store_i32(&log.names_unsynced, 1)
        return 0
    pthread_mutex_lock(&log.segments_mutex)
    log.epochs.dirty = True
    pthread_mutex_unlock(&log.segments_mutex)
    return failed


cdef int write_copy(Log* log, const LeaderEpochs* epochs) noexcept nogil:
    """0 or an errno."""
    cdef int failed
    cdef int folder = open_folder(log)
    if folder < 0:
        return -folder
    failed = epochs_write(epochs, folder)
    while failed and segments_give_way(failed):
        failed = epochs_write(epochs, folder)
    close(folder)
    return failed


cdef int open_folder(Log* log) noexcept nogil:
    """A descriptor, or -errno. The folder may be renamed meanwhile."""
    cdef const char* name = folder_name(&log.folder)
    cdef int fd = -ENOENT
    cdef int i
    for i in range(NAME_TRIES_MAX):         # no-cython-lint
        fd = open_file(name, O_RDONLY | O_DIRECTORY)
        while fd < 0 and segments_give_way(-fd):
            fd = open_file(name, O_RDONLY | O_DIRECTORY)
        if fd != -ENOENT:
            break
        name = folder_other_name(&log.folder, name)
        if name == NULL:
            break
    return fd
