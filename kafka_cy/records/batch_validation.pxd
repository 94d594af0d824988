"""Validation of a produced batch; see batch_validation.pyx."""
from libc.stdint cimport int16_t, int64_t, uint8_t

from kafka_cy.records.batch cimport ProduceRules, ValidBatch
from kafka_cy.records.compression cimport Codecs
from kafka_cy.records.wire cimport Writer

# Checks one batch (magic 2) and patches it in place, or rewrites it into `scratch`, which is emptied first. `scratch` also
# holds the list of refused records. Returns a BatchError.
cdef int batch_validate(
    Codecs* codecs, uint8_t* data, size_t size, const ProduceRules* rules, int64_t now_ms, int16_t produce_version,
    Writer* scratch, ValidBatch* valid,
) noexcept nogil
