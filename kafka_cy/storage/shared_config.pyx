"""A topic's configuration that its logs share: creating, replacing and freeing it."""
from libc.stdlib cimport calloc, free

from kafka_cy.base.atomic_words cimport store_words
from kafka_cy.base.atomics cimport atomic_add_i32, atomic_load_i32, atomic_sub_i32


cdef SharedConfig* shared_config_new(const LogConfig* config) noexcept nogil:
    cdef SharedConfig* shared = <SharedConfig*>calloc(1, sizeof(SharedConfig))
    if shared != NULL:
        shared.references = 1
        shared.versions[0] = config[0]
    return shared


cdef SharedConfig* shared_config_ref(SharedConfig* shared) noexcept nogil:
    atomic_add_i32(&shared.references, 1)
    return shared


cdef void shared_config_unref(SharedConfig* shared) noexcept nogil:
    if atomic_sub_i32(&shared.references, 1) == 0:
        free(shared)


cdef void shared_config_replace(SharedConfig* shared, const LogConfig* config) noexcept nogil:
    cdef int32_t next_version = atomic_load_i32(&shared.version) + 1
    store_words(&shared.versions[next_version & 1], config, sizeof(LogConfig))
    atomic_add_i32(&shared.version, 1)
