"""Headers of records, without the GIL: one header of one record; see record_headers.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.records.batch cimport RecordView
from kafka_cy.records.compression cimport Codecs
from kafka_cy.storage.log cimport Log

# The value of the first header of that name, in place; NULL: none, or a null value. `record` was read by record_read.
cdef const uint8_t* record_header(
    const RecordView* record, const char* name, int32_t name_size, int32_t* value_size
) noexcept nogil
# Of the record at `offset` in a log: copies at most `out_max` bytes to `out` and returns the value's size; -1 when there is
# no such record or header. `segment_base` and `position` say where its batch stands; -1 when it does not.
cdef int32_t log_record_header(
    Codecs* codecs, Log* log, int64_t offset, const char* name, int32_t name_size, uint8_t* out, int32_t out_max,
    int64_t* segment_base, int64_t* position
) noexcept nogil
