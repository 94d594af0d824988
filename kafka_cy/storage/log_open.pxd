"""Opening a log's files at a start, and closing them. See log_open.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.storage.log_files cimport Repairs
from kafka_cy.storage.log_struct cimport Log
from kafka_cy.storage.shared_config cimport SharedConfig

# -- for the storage package and the control plane (never on a reactor: these may wait for the disk) --
# `start_offset`, `recovery_point`: from the checkpoints, -1 none. `clean`: the last shutdown was clean. Returns a
# StorageError.
cdef int log_open(
    const char* directory, SharedConfig* config, int64_t start_offset, int64_t recovery_point, bint clean, Log** out,
    Repairs* repairs, int* error_number
) noexcept nogil
cdef int log_close(Log* log, bint flush) noexcept nogil             # writes indexes and a producer snapshot; then only log_unref
