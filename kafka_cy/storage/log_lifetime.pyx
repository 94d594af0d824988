"""Creating and freeing a log's memory. Files are opened by log_open."""
from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, free, rand
from libc.string cimport strdup

from kafka_cy.base.atomics cimport atomic_add_i32, atomic_sub_i32
from kafka_cy.base.clock cimport wall_clock_ms
from kafka_cy.base.posix cimport ENOMEM, pthread_mutex_destroy, pthread_mutex_init
from kafka_cy.storage.leader_epochs cimport epochs_free
from kafka_cy.storage.log_struct cimport FormerName, Log, RolledSegment
from kafka_cy.storage.producer_state cimport producers_clear, producers_init
from kafka_cy.storage.segment cimport segment_unref
from kafka_cy.storage.shared_config cimport SharedConfig, shared_config_ref, shared_config_unref
from kafka_cy.storage.slow_disk cimport disk_of
from kafka_cy.storage.transaction_index cimport transactions_free

cdef int log_new(const char* directory, SharedConfig* config, Log** out) noexcept nogil:
    cdef Log* log = <Log*>calloc(1, sizeof(Log))
    if log == NULL:
        return ENOMEM
    log.references = 1
    log.folder.name = strdup(directory)
    log.disk = disk_of(directory)
    log.config = shared_config_ref(config)
    log.roll_random = rand()
    pthread_mutex_init(&log.append_mutex, NULL)
    pthread_mutex_init(&log.segments_mutex, NULL)
    pthread_mutex_init(&log.flush_mutex, NULL)
    pthread_mutex_init(&log.listener_mutex, NULL)
    producers_init(&log.producers)
    log.first_unstable = -1
    log.first_unreplicated = -1
    log.snapshot_offset = -1
    log.cleaner_offset = -1
    log.last_flush_ms = wall_clock_ms()
    if log.folder.name == NULL:
        log_unref(log)
        return ENOMEM
    out[0] = log
    return 0


cdef Log* log_ref(Log* log) noexcept nogil:
    atomic_add_i32(&log.references, 1)
    return log


cdef void log_unref(Log* log) noexcept nogil:
    cdef int32_t i
    if atomic_sub_i32(&log.references, 1) > 0:
        return
    for i in range(log.segments_count):
        segment_unref(log.segments[i])
    shared_config_unref(log.config)
    for i in range(log.rolled_count):
        forget_rolled(&log.rolled[i])
    free(log.segments)
    free(<void*>log.folder.name)
    free_former_names(log)
    producers_clear(&log.producers)
    epochs_free(&log.epochs)
    transactions_free(&log.aborted)
    pthread_mutex_destroy(&log.append_mutex)
    pthread_mutex_destroy(&log.segments_mutex)
    pthread_mutex_destroy(&log.flush_mutex)
    pthread_mutex_destroy(&log.listener_mutex)
    free(log)


cdef void forget_rolled(RolledSegment* rolled) noexcept nogil:
    segment_unref(rolled.segment)
    free(rolled.snapshot)


cdef void free_former_names(Log* log) noexcept nogil:
    cdef FormerName* former = log.former_names
    while former != NULL:
        log.former_names = former.next
        free(former.directory)
        free(former)
        former = log.former_names
