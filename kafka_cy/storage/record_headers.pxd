"""Record headers, without the GIL: one header of one record. See record_headers.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.records.batch cimport RecordView
from kafka_cy.records.compression cimport Codecs
from kafka_cy.storage.log_struct cimport Log

# The value of the first header with that name, in place; NULL: missing, or a null value. `record` was read by
# record_read.
cdef const uint8_t* record_header(
    const RecordView* record, const char* name, int32_t name_size, int32_t* value_size
) noexcept nogil
# Find the header of the record at `offset` in a log: copies at most `out_max` bytes to `out` and returns the value's
# size; -1 if the record or the header is missing. `segment_base` and `position` locate its batch; -1 if they do not.
cdef int32_t log_record_header(
    Codecs* codecs, Log* log, int64_t offset, const char* name, int32_t name_size, uint8_t* out, int32_t out_max,
    int64_t* segment_base, int64_t* position
) noexcept nogil
