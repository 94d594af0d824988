"""One partition's log: append, read, look up, roll, truncate, retire old segments."""
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, rand, realloc
from libc.string cimport memcpy, memmove, memset, strdup

from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_cas_i32, atomic_load_i32, atomic_load_i64, atomic_store_i32, atomic_store_i64,
    atomic_store_pointer, atomic_store_seq_i32, atomic_sub_i32, counter_add,
)
from kafka_cy.base.clock cimport ticks_now, wall_clock_ms
from kafka_cy.base.histogram cimport Histogram, histogram_add_shared
from kafka_cy.base.posix cimport (
    EIO, EMFILE, ENFILE, ENOENT, ENOMEM, O_CREAT, O_RDWR, O_TRUNC, PATH_BYTES_MAX, close, cut_file, join_path,
    modified_ms_of_file, name_file, open_file, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock,
    pthread_mutex_unlock, read_some, rename_path, reserve_file, sync_path, unlink, usleep, write_whole,
)
from kafka_cy.records.batch cimport (
    ATTRIBUTE_CONTROL, ATTRIBUTE_LOG_APPEND_TIME, BATCH_OK, LOG_OVERHEAD, BatchHeader, batch_find_timestamp,
    batch_header_read, batch_set_base_offset,
)
from kafka_cy.records.compression cimport codecs_free, codecs_new
from kafka_cy.records.wire cimport Writer, writer_free, writer_init
from kafka_cy.storage.background cimport background_submit
from kafka_cy.storage.batch_cursor cimport BatchCursor, cursor_header, cursor_init, records_timestamp
from kafka_cy.storage.leader_epochs cimport (
    LeaderEpochs, epochs_assign, epochs_copy, epochs_end_offset_for, epochs_free, epochs_latest, epochs_of, epochs_read,
    epochs_truncate_end,
    epochs_truncate_start, epochs_write,
)
from kafka_cy.storage.log_folder cimport NAME_TRIES_MAX, folder_name, folder_other_name
from kafka_cy.storage.offset_index cimport offset_entry_relative, offset_index_floor, position_index_floor
from kafka_cy.storage.producer_state cimport (
    ProducerEntry, RetainedBatch, producers_apply, producers_check, producers_clear, producers_expire, producers_find,
    producers_copy_snapshot, producers_first_unreplicated, producers_forget_replicated, producers_init,
    producers_last_records, producers_reserve, producers_summarize, snapshot_finish,
)
from kafka_cy.storage.recovery cimport (
    Listing, listing_free, listing_read, recover_segment, replay_producers, snapshot_floor, snapshots_delete_above,
    snapshots_delete_below,
)
from kafka_cy.storage.segment cimport (
    segment_acquire, segment_append_bytes, segment_flush, segment_new, segment_pin, segment_rename_deleted, segment_size,
    segment_trim, segment_unlink_files, segment_unpin, segment_unref, segments_give_way,
)
from kafka_cy.storage.segment_index cimport (
    segment_close_indexes, segment_drop_partial_indexes, segment_index_batch, segment_map_indexes, segment_retire,
    segment_seal_times, segment_settle_indexes, segment_write_indexes,
)
from kafka_cy.storage.index_table cimport table_free, table_load
from kafka_cy.storage.slow_disk cimport disk_of
from kafka_cy.storage.time_index cimport time_entry_relative, time_entry_timestamp, time_index_floor
from kafka_cy.storage.transaction_index cimport (
    AbortedTransaction, TransactionIndex, transactions_append, transactions_copy_below, transactions_free, transactions_load,
    transactions_merge, transactions_overlapping,
    transactions_rewrite, transactions_truncate_end, transactions_truncate_start, transactions_write,
)

include "log_append.pxi"
include "log_roll.pxi"
include "log_read.pxi"
include "log_lookup.pxi"
include "log_maintenance.pxi"
include "log_cleaning.pxi"
include "log_open.pxi"
include "partition_log.pxi"
