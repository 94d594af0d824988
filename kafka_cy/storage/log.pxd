"""One partition's log in C memory: segments, indexes, producer state, leader epochs. See log.pyx."""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint64_t

from kafka_cy.base.atomics cimport atomic_load_i64, atomic_load_pointer
from kafka_cy.base.histogram cimport Histogram
from kafka_cy.base.posix cimport pthread_mutex_t
from kafka_cy.records.batch cimport BatchHeader, ProduceRules, ValidBatch
from kafka_cy.records.compression cimport Codecs
from kafka_cy.storage.leader_epochs cimport LeaderEpochs
from kafka_cy.storage.log_folder cimport LogFolder
from kafka_cy.storage.producer_state cimport LastRecord, ProducerState, ProducerSummary
# reference counted: a sender that reads from `fd` holds a reference, so deletion cannot close it
from kafka_cy.storage.segment cimport Segment
from kafka_cy.storage.slow_disk cimport Disk
from kafka_cy.storage.storage_error cimport (
    STORAGE_BATCH_TOO_LARGE, STORAGE_CORRUPT, STORAGE_DELETED, STORAGE_DUPLICATE_SEQUENCE, STORAGE_FENCED_LEADER_EPOCH,
    STORAGE_INVALID_PRODUCER_EPOCH, STORAGE_INVALID_TXN_STATE, STORAGE_IO_ERROR, STORAGE_NO_MEMORY, STORAGE_NOT_ENOUGH_REPLICAS,
    STORAGE_NOT_LEADER, STORAGE_OFFLINE, STORAGE_OFFSET_OUT_OF_RANGE, STORAGE_OK, STORAGE_OUT_OF_ORDER_SEQUENCE,
    STORAGE_NOT_CACHED, STORAGE_UNKNOWN_LEADER_EPOCH,
)
from kafka_cy.storage.transaction_index cimport AbortedTransaction, TransactionIndex

cdef enum AppendOrigin:                 # Kafka's AppendOrigin: how strict the producer checks are
    ORIGIN_CLIENT = 0
    ORIGIN_COORDINATOR = 1
    ORIGIN_REPLICATION = 2              # keep the offsets and epochs as received

# Topic configuration for the data plane. Immutable once published; replaced as a whole (log_set_config).
cdef struct LogConfig:
    ProduceRules rules
    int64_t segment_bytes
    int64_t segment_ms
    int64_t segment_jitter_ms
    int32_t segment_index_bytes
    int32_t index_interval_bytes
    int64_t retention_ms                # -1: unlimited
    int64_t retention_bytes             # -1: no limit
    int64_t file_delete_delay_ms
    int64_t flush_interval_messages     # 1: fsync before the response
    int64_t flush_interval_ms
    int64_t producer_id_expiration_ms
    bint cleanup_delete
    bint cleanup_compact
    bint preallocate
    double cleanable_dirty_ratio_min    # min.cleanable.dirty.ratio
    int64_t compaction_lag_min_ms
    int64_t compaction_lag_max_ms
    int64_t delete_retention_ms         # how long tombstones and markers stay after the first round that keeps them
    int32_t min_insync_replicas

cdef enum:
    TAIL_BATCHES = 32           # number of latest batches whose positions are remembered
    REMEMBERED_READS = 8        # number of latest reads whose end positions are remembered
    ROLLED_MAX = 8              # closed segments whose indexes wait for a flush; beyond this the roll writes them itself
    SNAPSHOT_BYTES_MAX = 1 << 30

cdef enum LogState:
    LOG_ONLINE = 0
    LOG_OFFLINE = 1             # the disk failed or is full
    LOG_CLOSED = 2

ctypedef bint (*listener_acquire)(void* context) noexcept nogil
ctypedef void (*listener_flushed)(void* context) noexcept nogil

# Called after each flush, on the flushing thread. `acquire` takes a reference for that call, or returns False when the
# listener is being freed; `flushed` releases the reference.
cdef struct FlushListener:
    listener_acquire acquire
    listener_flushed flushed
    void* context               # NULL: no listener

cdef struct RolledSegment:      # what the next flush writes for a closed segment
    Segment* segment            # one reference; its indexes are written
    uint8_t* snapshot           # producers as of snapshot_offset, malloc'ed
    size_t snapshot_size
    int64_t snapshot_offset


cdef struct FormerName:         # of the log's folder; segments removed from the list may still point to it
    FormerName* next
    char* directory


cdef struct OffsetPosition:
    int64_t segment_base
    int64_t offset
    int64_t position

# Purpose: one partition's log.
# Lifetime: `references`: its Python handle, its partition and queued background jobs; the last log_unref frees it.
# Locks, in this order: flush_mutex (one flush at a time; truncation, retention, cleaning and closing hold it to
#   remove segments from the list), append_mutex (appends, truncation, rolling, closing), segments_mutex (the segment
#   list, the active segment's indexes, epochs, aborted transactions; held for lookups and publication only, never over
#   I/O). listener_mutex guards `listener` alone.
# Limits: a segment is < 2^31 bytes and spans < 2^31 offsets.
cdef struct Log:
    int32_t references          # (a)
    int32_t state               # (a) LogState
    int32_t failed_errno        # (a) errno of the latest failed call
    int32_t flush_queued        # (a) a flush is in the background queue
    int32_t flush_waiting       # (a) threads other than the background's that wait for the flush mutex
    int32_t sealed              # (a) changed with the append mutex: the log is being moved and rejects appends
    pthread_mutex_t append_mutex
    pthread_mutex_t segments_mutex
    pthread_mutex_t flush_mutex
    pthread_mutex_t listener_mutex
    LogFolder folder            # changed with the append mutex
    Disk* disk                  # of its log directory
    FormerName* former_names
    Segment** segments          # by base offset; the last is active
    int32_t segments_count
    int32_t segments_capacity
    int64_t start_offset        # (a)
    int64_t end_offset          # (a)
    int64_t flushed_offset      # (a)
    int64_t first_unstable      # (a) first offset of the oldest open transaction, -1 none
    int64_t first_unreplicated  # (a) the same of the oldest ended one with its marker not below the high watermark, -1 none
    LogConfig* config           # (a)
    LogConfig** retired_configs
    int32_t retired_configs_count
    ProducerState producers     # append mutex
    LeaderEpochs epochs
    TransactionIndex aborted
    int64_t batches_in          # appended since the log was opened: written with the append mutex, read by anyone
    int64_t messages_in
    int64_t bytes_in
    int64_t snapshot_offset     # append mutex: offset of the newest producer snapshot, -1 none
    RolledSegment rolled[ROLLED_MAX]    # added with the append mutex, removed with the flush mutex, both with segments_mutex
    int32_t rolled_count        # (a)
    int64_t roll_jitter_ms
    int64_t unflushed_messages  # append mutex
    int64_t last_flush_ms       # (a)
    OffsetPosition tail[TAIL_BATCHES]
    int64_t tail_count          # total count; the ring holds the last TAIL_BATCHES of them
    OffsetPosition reads[REMEMBERED_READS]
    int32_t reads_next
    FlushListener listener
    int32_t names_unsynced      # (a) files were created or renamed since the last sync of the folder
    int32_t epochs_unsynced     # (a) leader-epoch-checkpoint was written since its last sync
    int64_t cleaner_offset      # (a) everything below is cleaned; -1 never cleaned
    int32_t cleaning            # (a) a cleaner thread is cleaning it
    int32_t cleaning_held       # (a) > 0: no segment may be replaced now
    int32_t uncleanable         # (a) StorageError of the round that failed permanently; 0 none
    int32_t uncleanable_errno   # (a)
    int32_t truncations         # (a) number of truncations: a truncation invalidates what a cleaning round knows
    int32_t replacements        # (a) number of swaps of segments for cleaned ones

cdef struct AppendResult:
    int64_t base_offset
    int64_t last_offset
    int64_t log_append_time_ms          # -1 with CreateTime
    int64_t log_start_offset
    int32_t leader_epoch                # the leader epoch the batch was appended with (partition_append)
    bint duplicate                      # nothing was written; the offsets are those of the original
    bint rolled                         # the caller queues a flush after it releases the append mutex

cdef struct ReadResult:
    Segment* segment                    # NULL: nothing to read; otherwise release with segment_release
    int32_t fd
    int64_t position                    # whole batches: [position, position + size) of fd
    int64_t size

# Call with the append mutex. `leader_epoch` -1: the latest epoch of the log.
cdef int log_append_locked(
    Log* log, ValidBatch* batch, int32_t leader_epoch, AppendOrigin origin, int64_t now_ms, AppendResult* result
) noexcept nogil
# For a log without a Partition: takes the append mutex.
cdef int log_append(
    Log* log, ValidBatch* batch, int32_t leader_epoch, AppendOrigin origin, int64_t now_ms, AppendResult* result
) noexcept nogil
# Read whole batches that hold offsets in [offset, offset_max): at most bytes_max, or one batch if `first_batch_always`.
cdef int log_read(
    Log* log, int64_t offset, int64_t offset_max, int64_t bytes_max, bint first_batch_always, ReadResult* result
) noexcept nogil
# As log_read, but never waits for the disk: returns STORAGE_NOT_CACHED when a lookup needs uncached pages. It does not
# check whether the batches themselves are cached.
cdef int log_read_cached(
    Log* log, int64_t offset, int64_t offset_max, int64_t bytes_max, bint first_batch_always, ReadResult* result
) noexcept nogil                        # takes no append lock
cdef int segment_read(Segment* segment, int64_t position, uint8_t* buffer, size_t size) noexcept nogil  # pread, whole or error
cdef void segment_release(Segment* segment) noexcept nogil


cdef inline int64_t log_start_offset(Log* log) noexcept nogil:
    return atomic_load_i64(&log.start_offset)


cdef inline int64_t log_end_offset(Log* log) noexcept nogil:
    return atomic_load_i64(&log.end_offset)


cdef inline int64_t log_flushed_offset(Log* log) noexcept nogil:
    """Everything below is on disk (fsync)."""
    return atomic_load_i64(&log.flushed_offset)


cdef inline int64_t log_first_unstable_offset(Log* log) noexcept nogil:
    return atomic_load_i64(&log.first_unstable)


cdef inline const LogConfig* log_config(Log* log) noexcept nogil:
    """Valid as long as the log lives: old configurations are kept until the last log_unref."""
    return <const LogConfig*>atomic_load_pointer(<void**>&log.config)


# ListOffsets. found: 1/0; epoch is the leader epoch of that offset (-1 unknown).
cdef int log_offset_for_timestamp(
    Log* log, Codecs* codecs, int64_t target_ms, int64_t* offset, int64_t* timestamp_ms, int32_t* epoch, bint* found
) noexcept nogil
cdef int log_max_timestamp(
    Log* log, Codecs* codecs, int64_t* offset, int64_t* timestamp_ms, int32_t* epoch, bint* found
) noexcept nogil
cdef int32_t log_epoch_of(Log* log, int64_t offset) noexcept nogil  # leader epoch that wrote the offset, -1 unknown
cdef int32_t log_latest_epoch(Log* log) noexcept nogil
# OffsetForLeaderEpoch (LeaderEpochFileCache.endOffsetFor): largest epoch <= the requested one and its end offset; -1,
# -1 undefined.
cdef void log_end_offset_for_epoch(
    Log* log, int32_t asked_epoch, int32_t* epoch, int64_t* end_offset
) noexcept nogil
# Append aborted transactions that overlap [first, last_exclusive) to `pairs`, in index order, as int64 pairs (producer
# id, first offset). `pairs` is malloc'ed by the callee and freed by the caller.
cdef int log_aborted_transactions(
    Log* log, int64_t first, int64_t last_exclusive, int64_t** pairs, int32_t* count
) noexcept nogil

# -- for the storage package and the control plane (never on a reactor: these may wait for the disk) --
# `start_offset`, `recovery_point`: from the checkpoints, -1 none. `clean`: the last shutdown was clean. Returns a
# StorageError.
cdef int log_open(
    const char* directory, const LogConfig* config, int64_t start_offset, int64_t recovery_point, bint clean, Log** out,
    int* error_number
) noexcept nogil
cdef Log* log_ref(Log* log) noexcept nogil
cdef void log_unref(Log* log) noexcept nogil
cdef int log_close(Log* log, bint flush) noexcept nogil             # writes indexes and a producer snapshot; then only log_unref
cdef int log_flush(Log* log) noexcept nogil                         # fdatasync; calls on_flushed
cdef Histogram* log_flush_times() noexcept nogil                    # LogFlushRateAndTime: flush durations, in ticks
cdef int log_roll(Log* log) noexcept nogil                          # starts a new active segment, unless it is empty
cdef int log_delete_records(Log* log, int64_t offset) noexcept nogil    # raises the log start offset
# Keeps the batches that end below `offset`, and ends the log there.
cdef int log_truncate_to(Log* log, int64_t offset) noexcept nogil
cdef int log_truncate_fully(Log* log, int64_t new_start) noexcept nogil
cdef int log_delete_old_segments(Log* log, int64_t high_watermark, int64_t now_ms, int32_t* deleted) noexcept nogil
cdef int64_t log_size_bytes(Log* log) noexcept nogil
cdef int64_t log_first_base_offset(Log* log) noexcept nogil
# Lists producers, unordered, malloc'ed.
cdef int log_copy_producers(Log* log, ProducerSummary** summaries, int64_t* count) noexcept nogil
cdef int log_set_config(Log* log, const LogConfig* config) noexcept nogil
cdef int log_rename(Log* log, const char* directory) noexcept nogil # the folder was or will be renamed: 0 or StorageError
# On becoming leader: the epoch begins at the log's end. 0 or STORAGE_NO_MEMORY.
cdef int log_assign_epoch(Log* log, int32_t epoch) noexcept nogil
cdef int log_assign_epoch_locked(Log* log, int32_t epoch) noexcept nogil    # with the append mutex
# Rejects appends and increases of the log start offset until log_unseal. Appends in progress are complete when it
# returns.
cdef void log_seal(Log* log) noexcept nogil
cdef void log_unseal(Log* log) noexcept nogil
cdef void log_forget_replicated(Log* log, int64_t high_watermark) noexcept nogil    # with the append mutex; see first_unreplicated
cdef void log_expire_producers(Log* log, int64_t now_ms) noexcept nogil
cdef void log_set_listener(Log* log, const FlushListener* listener) noexcept nogil
cdef void log_remove_listener(Log* log, void* context) noexcept nogil       # if it is the current listener
cdef void log_take_counts(Log* log, Log* from_log) noexcept nogil   # `log` replaces the other log and continues its counters
cdef void log_queue_flush(Log* log) noexcept nogil                  # by a background thread, coalesced


# -- for the cleaner --

# The cleanable part of a log (Kafka's LogToClean).
cdef struct Cleanable:
    int64_t first_dirty         # the round builds its map from here ...
    int64_t first_uncleanable   # ... to here, the base offset of a segment
    int64_t clean_bytes         # in the segments before first_dirty
    int64_t dirty_bytes         # in those from there to first_uncleanable
    int64_t overdue_ms          # time since max.compaction.lag.ms expired, 0 not yet

# `stable_offset`: the last stable offset, exclusive. A StorageError.
cdef int log_cleanable(Log* log, int64_t stable_offset, int64_t now_ms, Cleanable* cleanable) noexcept nogil
# References to the closed segments with a base offset below `end_offset`, malloc'ed; `next_base` is the base offset of
# the segment after them.
cdef int log_closed_segments(
    Log* log, int64_t end_offset, Segment*** segments, int32_t* count, int64_t* next_base
) noexcept nogil
# Aborted transactions that overlap [first, end), malloc'ed.
cdef int log_copy_aborted(
    Log* log, int64_t first, int64_t end, AbortedTransaction** aborted, int32_t* count
) noexcept nogil
cdef int log_copy_last_records(Log* log, LastRecord** records, int32_t* count) noexcept nogil
cdef void log_name_file(Log* log, int64_t base_offset, const char* suffix, char* path) noexcept nogil
# A complete, synced segment written beside the log as <base offset>.log.cleaned (and .index, .timeindex, .txnindex).
cdef struct CleanedSegment:
    int64_t base_offset         # base offset of the first segment it replaces
    int64_t next_base           # base offset of the segment after the last replaced one
    int64_t size
    TransactionIndex* aborted   # entries whose markers stay
# Put it in the place of `replaced` (pinned, consecutive). STORAGE_DELETED: some of them are gone, the log is closed, or
# replacing is held; nothing was changed. STORAGE_IO_ERROR: see `failed_errno`.
cdef int log_replace_segments(
    Log* log, Segment** replaced, int32_t count, const CleanedSegment* cleaned, int* failed_errno
) noexcept nogil
# Everything below `end_offset` is clean, unless the log was truncated since its count was `truncations`.
cdef void log_set_cleaned(Log* log, int64_t end_offset, int32_t truncations) noexcept nogil
cdef int log_sync_names(Log* log) noexcept nogil                    # fsyncs the folder if it changed; 0 or an errno


# Python's handle of a Log (holds one reference).
cdef class PartitionLog:
    cdef Log* log
    cdef Codecs* codecs         # for timestamp lookups of the Python thread; guarded by the GIL
