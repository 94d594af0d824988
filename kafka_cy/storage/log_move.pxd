"""A log that moves: to another folder's name, or to another log directory. See log_move.pyx."""
from kafka_cy.storage.log_struct cimport Log

cdef int log_rename(Log* log, const char* directory) noexcept nogil # the folder was or will be renamed: 0 or StorageError
# Rejects appends and increases of the log start offset until log_unseal. Appends in progress are complete when it
# returns.
cdef void log_seal(Log* log) noexcept nogil
cdef void log_unseal(Log* log) noexcept nogil
cdef void log_take_counts(Log* log, Log* from_log) noexcept nogil   # `log` replaces the other log and continues its counters
