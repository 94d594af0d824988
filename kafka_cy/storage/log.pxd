"""What other packages use of a log, and Python's handle. The modules behind it are log_*; see log.pyx for the handle."""
from kafka_cy.records.compression cimport Codecs
from kafka_cy.storage.log_epochs cimport log_end_offset_for_epoch, log_epoch_of
from kafka_cy.storage.log_flush cimport log_flush_times
from kafka_cy.storage.log_lifetime cimport log_ref, log_unref
from kafka_cy.storage.log_producers cimport log_aborted_transactions
from kafka_cy.storage.log_read cimport log_read, log_read_cached
from kafka_cy.storage.log_segments cimport log_size_bytes
from kafka_cy.storage.log_settings cimport LogSettings
from kafka_cy.storage.log_struct cimport (
    ORIGIN_CLIENT, ORIGIN_TRANSACTION_V1, ORIGIN_TRANSACTION_V2, AppendOrigin, AppendResult, Log, LogConfig, ReadResult,
    log_config, log_end_offset, log_flushed_offset, log_start_offset,
)
from kafka_cy.storage.log_timestamps cimport log_max_timestamp, log_offset_for_timestamp
# reference counted: a sender that reads from `fd` holds a reference, so deletion cannot close it
from kafka_cy.storage.segment cimport Segment, segment_read, segment_release
from kafka_cy.storage.storage_error cimport (
    STORAGE_BATCH_TOO_LARGE, STORAGE_CORRUPT, STORAGE_DELETED, STORAGE_DUPLICATE_SEQUENCE, STORAGE_FENCED_LEADER_EPOCH,
    STORAGE_INVALID_PRODUCER_EPOCH, STORAGE_INVALID_TXN_STATE, STORAGE_IO_ERROR, STORAGE_NOT_CACHED, STORAGE_NOT_ENOUGH_REPLICAS,
    STORAGE_NOT_IN_TRANSACTION, STORAGE_NOT_LEADER, STORAGE_OFFLINE, STORAGE_OFFSET_OUT_OF_RANGE, STORAGE_OK,
    STORAGE_OUT_OF_ORDER_SEQUENCE, STORAGE_UNKNOWN_LEADER_EPOCH,
)


# Python's handle of a Log (holds one reference).
cdef class PartitionLog:
    cdef Log* log
    cdef readonly LogSettings settings      # its configuration, which other logs may share
    cdef Codecs* codecs         # for timestamp lookups of the Python thread; guarded by the GIL
