"""What a failed call means for a log, and the exceptions that Python sees. See log_failure.pyx."""
from kafka_cy.storage.log_struct cimport Log

cdef int fail_log(Log* log, int error_number) noexcept nogil     # a StorageError
# For a change of files that is half done: the log goes offline whatever failed. Returns `error_number`.
cdef int fail_log_half_done(Log* log, int error_number) noexcept nogil
cdef int fail_read(Log* log, int error_number) noexcept nogil
# The exception for a StorageError. `log` may be NULL; otherwise its latest errno is told.
cdef object storage_failure(int error, Log* log, str what, int error_number=*)
