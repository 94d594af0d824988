"""A log that moves: to another folder's name, or to another log directory (AlterReplicaLogDirs)."""
from libc.stdlib cimport free, malloc
from libc.string cimport strdup

from kafka_cy.base.atomics cimport atomic_store_i32, atomic_store_pointer, counter_add
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock, rename_path
from kafka_cy.storage.log_failure cimport fail_log
from kafka_cy.storage.log_struct cimport FormerName, Log
from kafka_cy.storage.storage_error cimport STORAGE_NO_MEMORY, STORAGE_OK

cdef int log_rename(Log* log, const char* directory) noexcept nogil:
    """Rename the folder. All names, also that of a failed attempt, are kept until the log is freed: other threads may read them."""
    cdef char* fresh = strdup(directory)
    cdef FormerName* former = <FormerName*>malloc(sizeof(FormerName))
    cdef int failed
    if fresh == NULL or former == NULL:
        free(fresh)
        free(former)
        return STORAGE_NO_MEMORY
    pthread_mutex_lock(&log.append_mutex)
    former.directory = fresh
    former.next = log.former_names
    log.former_names = former
    atomic_store_pointer(<void**>&log.folder.next_name, fresh)
    failed = rename_path(log.folder.name, fresh)
    if not failed:
        former.directory = <char*>log.folder.name
        atomic_store_pointer(<void**>&log.folder.name, fresh)
    atomic_store_pointer(<void**>&log.folder.next_name, NULL)
    pthread_mutex_unlock(&log.append_mutex)
    return fail_log(log, failed) if failed else STORAGE_OK


cdef void log_seal(Log* log) noexcept nogil:
    pthread_mutex_lock(&log.append_mutex)
    atomic_store_i32(&log.sealed, 1)
    pthread_mutex_unlock(&log.append_mutex)


cdef void log_unseal(Log* log) noexcept nogil:
    pthread_mutex_lock(&log.append_mutex)
    atomic_store_i32(&log.sealed, 0)
    pthread_mutex_unlock(&log.append_mutex)


cdef void log_take_counts(Log* log, Log* from_log) noexcept nogil:
    pthread_mutex_lock(&log.append_mutex)
    counter_add(&log.batches_in, from_log.batches_in - log.batches_in)
    counter_add(&log.messages_in, from_log.messages_in - log.messages_in)
    counter_add(&log.bytes_in, from_log.bytes_in - log.bytes_in)
    pthread_mutex_unlock(&log.append_mutex)
