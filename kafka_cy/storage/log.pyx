"""Python's handle of a log. Every call that may wait for the disk releases the GIL."""
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free

from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_load_i32, atomic_load_i64, atomic_store_i32, atomic_store_i64, atomic_sub_i32,
)
from kafka_cy.base.clock cimport wall_clock_ms
from kafka_cy.base.posix cimport EIO, pthread_mutex_lock, pthread_mutex_unlock, read_some
from kafka_cy.records.batch cimport BATCH_OK, LOG_OVERHEAD, ValidBatch, batch_header_read
from kafka_cy.records.compression cimport Codecs, codecs_free, codecs_new
from kafka_cy.storage.log_append cimport log_append
from kafka_cy.storage.log_epochs cimport log_assign_epoch, log_end_offset_for_epoch, log_epoch_of, log_latest_epoch
from kafka_cy.storage.log_failure cimport fail_read, storage_failure
from kafka_cy.storage.log_files cimport Repairs
from kafka_cy.storage.log_flush cimport log_flush
from kafka_cy.storage.log_folder cimport folder_name
from kafka_cy.storage.log_lifetime cimport log_unref
from kafka_cy.storage.log_move cimport log_rename, log_seal, log_unseal
from kafka_cy.storage.log_open cimport log_close, log_open
from kafka_cy.storage.log_producers cimport log_aborted_transactions, log_copy_producers, log_expire_producers
from kafka_cy.storage.log_read cimport log_read
from kafka_cy.storage.log_retention cimport log_delete_old_segments, log_delete_records
from kafka_cy.storage.log_roll cimport log_roll
from kafka_cy.storage.log_segments cimport log_acquire_segments, log_first_base_offset, log_size_bytes, release_segments
from kafka_cy.storage.log_settings cimport settings_from
from kafka_cy.storage.log_struct cimport (
    LOG_CLOSED, LOG_OFFLINE, ORIGIN_CLIENT, ORIGIN_COORDINATOR, ORIGIN_REPLICATION, AppendOrigin, AppendResult, Log,
    ReadResult, log_end_offset, log_first_unstable_offset, log_flushed_offset, log_start_offset,
)
from kafka_cy.storage.log_timestamps cimport log_max_timestamp, log_offset_for_timestamp
from kafka_cy.storage.log_truncation cimport log_truncate_fully, log_truncate_to
from kafka_cy.storage.producer_state cimport ProducerSummary
from kafka_cy.storage.segment cimport Segment, segment_release, segment_size
from kafka_cy.storage.shared_config cimport SharedConfig

import os

from kafka_cy.storage.log_failure import STORAGE_ERROR_NAMES
from kafka_cy.storage.log_failure import OffsetOutOfRange, StorageFailure  # no-cython-lint  exported


cdef Codecs* take_codecs(PartitionLog handle):
    """The handle's codecs for one call; a second thread that calls at the same time gets its own."""
    cdef Codecs* codecs = handle.codecs
    handle.codecs = NULL
    return codecs if codecs != NULL else codecs_new()


cdef object give_codecs(PartitionLog handle, Codecs* codecs):
    if handle.codecs == NULL:
        handle.codecs = codecs
    else:
        codecs_free(codecs)


cdef class PartitionLog:
    """One partition's log on disk. Open with `PartitionLog(directory, config)`; the folder must exist.

    `config`: topic keys, or the LogSettings that the topic's logs share; None: Kafka's defaults.

    `repairs`: a dictionary that gets how many files were broken, and were made anew or left out, by kind.
    """

    def __cinit__(self, directory, config=None, *, start_offset=-1, recovery_point=-1, clean=False, repairs=None):
        cdef bytes path = directory.encode() if isinstance(directory, str) else bytes(directory)
        cdef const char* raw_path = path
        cdef SharedConfig* shared
        cdef Log* log = NULL
        cdef int64_t start = start_offset
        cdef int64_t recovery = recovery_point
        cdef bint is_clean = clean
        cdef Repairs repaired
        cdef int error
        cdef int error_number = 0
        self.log = NULL
        self.codecs = NULL
        self.settings = settings_from(config)
        shared = self.settings.shared
        with nogil:
            error = log_open(raw_path, shared, start, recovery, is_clean, &log, &repaired, &error_number)
        if error:
            raise storage_failure(error, NULL, f"cannot open the log in {path.decode()}", error_number)
        self.log = log
        if repairs is not None:
            counts = {"transaction_indexes": repaired.transaction_indexes, "producer_snapshots": repaired.producer_snapshots,
                      "epoch_checkpoints": repaired.epoch_checkpoints}
            repairs.update((kind, count) for kind, count in counts.items() if count)

    def __dealloc__(self):
        if self.log != NULL:
            with nogil:
                log_unref(self.log)
        if self.codecs != NULL:
            codecs_free(self.codecs)

    def append(self, data, *, leader_epoch=-1, origin="coordinator", now_ms=None):
        """Append one batch (bytes); returns its base offset. origin: client, coordinator or replication."""
        return self.append_result(data, leader_epoch=leader_epoch, origin=origin, now_ms=now_ms)["base_offset"]

    def append_result(self, data, *, leader_epoch=-1, origin="coordinator", now_ms=None):
        """Like append, but returns all details: base_offset, last_offset, duplicate, log_append_time_ms."""
        cdef ValidBatch batch
        cdef AppendResult result
        cdef int32_t epoch = leader_epoch
        cdef AppendOrigin append_origin = ORIGINS[origin]
        cdef int64_t now = wall_clock_ms() if now_ms is None else now_ms
        cdef Log* log = self.log
        cdef int error
        copy = bytearray(data)
        fill_batch(&batch, copy)
        with nogil:
            error = log_append(log, &batch, epoch, append_origin, now, &result)
        if error:
            raise storage_failure(error, log, "append")
        return {"base_offset": result.base_offset, "last_offset": result.last_offset, "duplicate": bool(result.duplicate),
                "log_append_time_ms": result.log_append_time_ms}

    def read(self, offset, bytes_max=1 << 20, offset_max=None, first_batch_always=True):
        """Whole batches from the one that holds `offset`, below `offset_max`, about `bytes_max`. Raises
        OffsetOutOfRange."""
        cdef ReadResult result
        cdef int64_t first = offset
        cdef int64_t limit = 0x7fffffffffffffff if offset_max is None else offset_max
        cdef int64_t size_max = bytes_max
        cdef bint always = first_batch_always
        cdef Log* log = self.log
        cdef int error
        with nogil:
            error = log_read(log, first, limit, size_max, always, &result)
        if error:
            raise storage_failure(error, log, f"read at {offset}")
        return take_bytes(log, &result)

    def offset_for_timestamp(self, timestamp_ms):
        """(offset, timestamp, leader epoch) of the first record at or after it, or None."""
        cdef int64_t target = timestamp_ms
        cdef int64_t offset = -1
        cdef int64_t timestamp = -1
        cdef int32_t epoch = -1
        cdef bint found = False
        cdef int error
        cdef Codecs* codecs = take_codecs(self)
        with nogil:
            error = log_offset_for_timestamp(self.log, codecs, target, &offset, &timestamp, &epoch, &found)
        give_codecs(self, codecs)
        if error:
            raise storage_failure(error, self.log, "offset for timestamp")
        return (offset, timestamp, epoch) if found else None

    def max_timestamp(self):
        """(offset, timestamp, leader epoch) of the record with the largest timestamp, or None."""
        cdef int64_t offset = -1
        cdef int64_t timestamp = -1
        cdef int32_t epoch = -1
        cdef bint found = False
        cdef int error
        cdef Codecs* codecs = take_codecs(self)
        with nogil:
            error = log_max_timestamp(self.log, codecs, &offset, &timestamp, &epoch, &found)
        give_codecs(self, codecs)
        if error:
            raise storage_failure(error, self.log, "max timestamp")
        return (offset, timestamp, epoch) if found else None

    def aborted_transactions(self, first, last_exclusive):
        """[(producer id, first offset)] of aborted transactions that overlap the range, in marker order."""
        cdef int64_t* pairs = NULL
        cdef int32_t count = 0
        cdef int64_t first_offset = first
        cdef int64_t end_offset = last_exclusive
        cdef int error
        with nogil:
            error = log_aborted_transactions(self.log, first_offset, end_offset, &pairs, &count)
        if error:
            raise storage_failure(error, self.log, "aborted transactions")
        found = [(pairs[2 * i], pairs[2 * i + 1]) for i in range(count)]
        free(pairs)
        return found

    def delete_records(self, offset):
        """Raise the log start offset (the caller checked it against the high watermark); returns it."""
        cdef int64_t to = offset
        cdef int error
        with nogil:
            error = log_delete_records(self.log, to)
        if error:
            raise storage_failure(error, self.log, f"delete records below {offset}")
        return log_start_offset(self.log)

    def delete_old_segments(self, high_watermark=None, now_ms=None):
        """Apply retention; returns the number of retired segments (renamed to .deleted files)."""
        cdef int64_t watermark = log_end_offset(self.log) if high_watermark is None else high_watermark
        cdef int64_t now = wall_clock_ms() if now_ms is None else now_ms
        cdef int32_t deleted = 0
        cdef int error
        with nogil:
            error = log_delete_old_segments(self.log, watermark, now, &deleted)
        if error:
            raise storage_failure(error, self.log, "retention")
        return deleted

    def truncate_to(self, offset):
        """Keep batches that end below `offset`."""
        cdef int64_t to = offset
        cdef int error
        with nogil:
            error = log_truncate_to(self.log, to)
        if error:
            raise storage_failure(error, self.log, f"truncate to {offset}")

    def truncate_fully(self, new_start_offset):
        """Drop all records and restart at `new_start_offset`."""
        cdef int64_t to = new_start_offset
        cdef int error
        with nogil:
            error = log_truncate_fully(self.log, to)
        if error:
            raise storage_failure(error, self.log, f"truncate fully to {new_start_offset}")

    def flush(self):
        """fdatasync; afterwards recovery_point equals the log_end_offset from before the call."""
        cdef int error
        with nogil:
            error = log_flush(self.log)
        if error:
            raise storage_failure(error, self.log, "flush")

    def roll(self):
        """Begin a new segment, unless the active one is empty."""
        cdef int error
        with nogil:
            error = log_roll(self.log)
        if error:
            raise storage_failure(error, self.log, "roll")

    def close(self, flush=True):
        """Write what a clean start needs. Afterwards only the log's properties may be used."""
        cdef bint with_flush = flush
        cdef int error
        with nogil:
            error = log_close(self.log, with_flush)
        if error:
            raise storage_failure(error, self.log, "close")

    def abandon(self):
        """Stop the log without writing anything (it is being deleted, or its directory failed)."""
        atomic_store_i32(&self.log.state, LOG_CLOSED)

    def rename(self, directory):
        """Rename the log's folder."""
        cdef bytes path = directory.encode()
        cdef const char* raw_path = path
        cdef int error
        with nogil:
            error = log_rename(self.log, raw_path)
        if error:
            raise storage_failure(error, self.log, f"rename to {directory}")

    def seal(self):
        """Reject further appends (StorageFailure "not the leader"): the log is being moved. Appends in progress are
        complete."""
        with nogil:
            log_seal(self.log)

    def unseal(self):
        """Undo seal()."""
        with nogil:
            log_unseal(self.log)

    def hold_cleaning(self):
        """Block swaps of cleaned segments until release_cleaning() has been called as often."""
        atomic_add_i32(&self.log.cleaning_held, 1)
        with nogil:             # a swap in progress is complete here
            atomic_add_i32(&self.log.flush_waiting, 1)
            pthread_mutex_lock(&self.log.flush_mutex)
            atomic_sub_i32(&self.log.flush_waiting, 1)
            pthread_mutex_unlock(&self.log.flush_mutex)

    def release_cleaning(self):
        """Undo one hold_cleaning()."""
        atomic_sub_i32(&self.log.cleaning_held, 1)

    def restore_cleaner_offset(self, offset):
        """Set the offset from cleaner-offset-checkpoint, right after opening the log."""
        if log_start_offset(self.log) <= offset <= log_end_offset(self.log):
            atomic_store_i64(&self.log.cleaner_offset, offset)

    def assign_epoch(self, epoch):
        """This broker leads with `epoch` from here on."""
        cdef int32_t leader_epoch = epoch
        cdef int error
        with nogil:
            error = log_assign_epoch(self.log, leader_epoch)
        if error:
            raise MemoryError

    def expire_producers(self, now_ms):
        """Forget producers idle for producer.id.expiration.ms."""
        cdef int64_t now = now_ms
        with nogil:
            log_expire_producers(self.log, now)

    def epoch_of(self, offset):
        """Leader epoch that wrote `offset`, -1 unknown."""
        cdef int64_t at = offset
        cdef int32_t epoch
        with nogil:
            epoch = log_epoch_of(self.log, at)
        return epoch

    def end_offset_for_epoch(self, epoch):
        """(largest epoch <= the requested one, its end offset); (-1, -1) undefined."""
        cdef int32_t asked = epoch
        cdef int32_t found = -1
        cdef int64_t end_offset = -1
        with nogil:
            log_end_offset_for_epoch(self.log, asked, &found, &end_offset)
        return found, end_offset

    def segments(self):
        """[(base offset, size in bytes)]"""
        cdef Segment** segments = NULL
        cdef int32_t count = 0
        cdef int32_t i
        with nogil:
            segments = log_acquire_segments(self.log, &count)
            for i in range(count):
                segment_size(segments[i])       # checked once, here
        if segments == NULL:
            raise MemoryError
        found = [(segments[i].base_offset, atomic_load_i64(&segments[i].size)) for i in range(count)]
        with nogil:
            release_segments(segments, count)
        return found

    @property
    def first_base_offset(self):
        """Base offset of the oldest segment."""
        cdef int64_t base_offset
        with nogil:
            base_offset = log_first_base_offset(self.log)
        return base_offset

    def producers(self):
        """[(producer id, epoch, last sequence, last timestamp, coordinator epoch, transaction's first offset)]"""
        cdef ProducerSummary* summaries = NULL
        cdef int64_t count = 0
        cdef int64_t i
        cdef int error
        with nogil:
            error = log_copy_producers(self.log, &summaries, &count)
        if error:
            raise MemoryError
        found = [(summaries[i].producer_id, summaries[i].epoch, summaries[i].last_sequence, summaries[i].last_timestamp_ms,
                  summaries[i].coordinator_epoch, summaries[i].transaction_first_offset) for i in range(count)]
        free(summaries)
        return sorted(found)

    @property
    def directory(self):
        return folder_name(&self.log.folder).decode()

    @property
    def log_start_offset(self):
        return log_start_offset(self.log)

    @property
    def log_end_offset(self):
        return log_end_offset(self.log)

    @property
    def recovery_point(self):
        return log_flushed_offset(self.log)

    @property
    def cleaner_offset(self):
        """Everything below is clean; -1: never cleaned."""
        return atomic_load_i64(&self.log.cleaner_offset)

    @property
    def truncations(self):
        """How often records were cut off its end since it was opened."""
        return atomic_load_i32(&self.log.truncations)

    @property
    def replacements(self):
        """How often segments were replaced by cleaned ones; the old files remain as .deleted."""
        return atomic_load_i32(&self.log.replacements)

    @property
    def uncleanable(self):
        """Why the log is no longer cleaned, in words; "" when it can be cleaned."""
        error = atomic_load_i32(&self.log.uncleanable)
        error_number = atomic_load_i32(&self.log.uncleanable_errno)
        if not error:
            return ""
        return STORAGE_ERROR_NAMES[error] + (f" ({os.strerror(error_number)})" if error_number else "")

    @property
    def first_unstable_offset(self):
        return log_first_unstable_offset(self.log)

    @property
    def latest_epoch(self):
        cdef int32_t epoch
        with nogil:
            epoch = log_latest_epoch(self.log)
        return epoch

    @property
    def size_bytes(self):
        cdef int64_t size
        with nogil:
            size = log_size_bytes(self.log)
        return size

    @property
    def last_flush_ms(self):
        return atomic_load_i64(&self.log.last_flush_ms)

    @property
    def offline(self):
        return atomic_load_i32(&self.log.state) == LOG_OFFLINE

    @property
    def failed_errno(self):
        return atomic_load_i32(&self.log.failed_errno)

ORIGINS = {"client": ORIGIN_CLIENT, "coordinator": ORIGIN_COORDINATOR, "replication": ORIGIN_REPLICATION}


cdef object take_bytes(Log* log, ReadResult* result):
    """Copy the bytes that a read found, and release the segment."""
    cdef bytes data
    cdef uint8_t* raw
    cdef int64_t there
    if result.segment == NULL:
        return b""
    data = PyBytes_FromStringAndSize(NULL, result.size)
    raw = <uint8_t*>PyBytes_AS_STRING(data)
    with nogil:
        there = read_some(result.fd, raw, <size_t>result.size, result.position)
        segment_release(result.segment)
    if there != result.size:
        raise storage_failure(fail_read(log, <int>-there if there < 0 else EIO), log, "read")
    return data


cdef int fill_batch(ValidBatch* batch, bytearray data) except -1:
    """Check that the buffer is one whole batch in patchable memory."""
    batch.data = <uint8_t*>PyByteArray_AS_STRING(data)
    batch.size = <size_t>len(data)
    if batch_header_read(batch.data, batch.size, &batch.header) != BATCH_OK or \
            <size_t>(batch.header.length + LOG_OVERHEAD) != batch.size:
        raise ValueError("not exactly one record batch")
    batch.max_timestamp_offset_delta = batch.header.last_offset_delta
    batch.record_errors_count = 0
    return 0
