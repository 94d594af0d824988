"""Creating and freeing a log's memory. See log_lifetime.pyx."""
from kafka_cy.storage.log_struct cimport Log, RolledSegment
from kafka_cy.storage.shared_config cimport SharedConfig

# One reference, no segments. 0 or ENOMEM.
cdef int log_new(const char* directory, SharedConfig* config, Log** out) noexcept nogil
cdef Log* log_ref(Log* log) noexcept nogil
cdef void log_unref(Log* log) noexcept nogil
cdef void forget_rolled(RolledSegment* rolled) noexcept nogil
