"""Reading whole batches from a log. See log_read.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.storage.log_struct cimport Log, ReadResult

# Read whole batches that hold offsets in [offset, offset_max): at most bytes_max, or one batch if `first_batch_always`.
cdef int log_read(
    Log* log, int64_t offset, int64_t offset_max, int64_t bytes_max, bint first_batch_always, ReadResult* result
) noexcept nogil
# As log_read, but never waits for the disk: returns STORAGE_NOT_CACHED when a lookup needs uncached pages. It does not
# check whether the batches themselves are cached.
cdef int log_read_cached(
    Log* log, int64_t offset, int64_t offset_max, int64_t bytes_max, bint first_batch_always, ReadResult* result
) noexcept nogil                        # takes no append lock
