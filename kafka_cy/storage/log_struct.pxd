"""One partition's log in C memory, and what every module of the log asks it. The modules are named log_*."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_load_i64
from kafka_cy.base.posix cimport pthread_mutex_t
from kafka_cy.storage.leader_epochs cimport LeaderEpochs
from kafka_cy.storage.log_folder cimport LogFolder
from kafka_cy.storage.producer_state cimport ProducerState
from kafka_cy.storage.segment cimport Segment
from kafka_cy.storage.shared_config cimport LogConfig, SharedConfig, shared_config_read
from kafka_cy.storage.slow_disk cimport Disk
from kafka_cy.storage.storage_error cimport STORAGE_DELETED, STORAGE_NOT_LEADER, STORAGE_OFFLINE, STORAGE_OK
from kafka_cy.storage.transaction_index cimport TransactionIndex

cdef enum AppendOrigin:                 # Kafka's AppendOrigin: how strict the producer checks are
    ORIGIN_CLIENT = 0
    ORIGIN_COORDINATOR = 1
    ORIGIN_REPLICATION = 2              # keep the offsets and epochs as received
    ORIGIN_MARKER_V2 = 3                # a marker of transaction version 2 (KIP-890); ORIGIN_COORDINATOR: one of version 0 or 1
    # A client's transactional batch whose partition must be in the transaction. With ORIGIN_CLIENT that is not verified.
    ORIGIN_TRANSACTION_V1 = 4           # the client has added the partition before
    ORIGIN_TRANSACTION_V2 = 5           # Produce 12 and later: the append adds it

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

# Called after each flush, and when the start of the log moved, on the thread that did it. `acquire` takes a reference for that
# call, or returns False when the listener is being freed; `flushed` releases the reference.
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
    SharedConfig* config        # one reference; the same one as long as the log lives
    ProducerState producers     # append mutex
    LeaderEpochs epochs
    TransactionIndex aborted
    int64_t batches_in          # appended since the log was opened: written with the append mutex, read by anyone
    int64_t messages_in
    int64_t bytes_in
    int64_t snapshot_offset     # append mutex: offset of the newest producer snapshot, -1 none
    RolledSegment rolled[ROLLED_MAX]    # added with the append mutex, removed with the flush mutex, both with segments_mutex
    int32_t rolled_count        # (a)
    int32_t roll_random         # append mutex: of the next time-based roll (roll_jitter_ms)
    int64_t unflushed_messages  # append mutex
    int64_t last_flush_ms       # (a)
    OffsetPosition tail[TAIL_BATCHES]
    int64_t tail_count          # total count; the ring holds the last TAIL_BATCHES of them
    OffsetPosition reads[REMEMBERED_READS]
    int32_t reads_next
    FlushListener listener
    int32_t names_unsynced      # (a) files were created or renamed since the last sync of the folder
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
    int64_t end_offset                  # all of their records lie below; set unless segment is NULL


cdef inline int64_t log_start_offset(Log* log) noexcept nogil:
    return atomic_load_i64(&log.start_offset)


cdef inline int64_t log_end_offset(Log* log) noexcept nogil:
    return atomic_load_i64(&log.end_offset)


cdef inline int64_t log_flushed_offset(Log* log) noexcept nogil:
    """Everything below is on disk (fsync)."""
    return atomic_load_i64(&log.flushed_offset)


cdef inline int64_t log_first_unstable_offset(Log* log) noexcept nogil:
    return atomic_load_i64(&log.first_unstable)


cdef inline LogConfig log_config(Log* log) noexcept nogil:
    """A copy of the topic's configuration. Any thread, with or without mutexes."""
    return shared_config_read(log.config)


cdef inline int64_t roll_jitter_ms(Log* log, const LogConfig* config) noexcept nogil:
    """How long before segment.ms the active segment rolls. With the append mutex."""
    return log.roll_random % config.segment_jitter_ms if config.segment_jitter_ms > 0 else 0


cdef inline int log_check_state(Log* log) noexcept nogil:
    cdef int32_t state = atomic_load_i32(&log.state)
    if state == LOG_ONLINE:
        return STORAGE_OK
    return STORAGE_OFFLINE if state == LOG_OFFLINE else STORAGE_DELETED


cdef inline int log_check_appendable(Log* log) noexcept nogil:
    """Call with the append mutex."""
    return STORAGE_NOT_LEADER if atomic_load_i32(&log.sealed) else log_check_state(log)


cdef inline Segment* active_segment(Log* log) noexcept nogil:
    return log.segments[log.segments_count - 1]


cdef inline int32_t segment_floor(Log* log, int64_t offset) noexcept nogil:
    """Index of the last segment with base offset <= offset; 0 if none exists."""
    cdef int32_t low = 0
    cdef int32_t high = log.segments_count
    cdef int32_t middle
    if log.segments[high - 1].base_offset <= offset:
        return high - 1
    while low < high:
        middle = low + (high - low) // 2
        if log.segments[middle].base_offset <= offset:
            low = middle + 1
        else:
            high = middle
    return low - 1 if low > 0 else 0
