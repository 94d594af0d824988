"""Errors of a log. The handlers map these to Kafka's error codes (api/error_codes.pxd)."""

cdef enum StorageError:
    STORAGE_OK = 0
    STORAGE_OFFSET_OUT_OF_RANGE = 1
    STORAGE_IO_ERROR = 2                # EIO, ENOSPC ...: the log directory goes offline (KAFKA_STORAGE_ERROR); see fail_log
    STORAGE_NO_MEMORY = 3
    STORAGE_CORRUPT = 4
    STORAGE_OUT_OF_ORDER_SEQUENCE = 5   # OUT_OF_ORDER_SEQUENCE_NUMBER
    STORAGE_DUPLICATE_SEQUENCE = 6      # an old duplicate that is no longer retained (DUPLICATE_SEQUENCE_NUMBER)
    STORAGE_INVALID_PRODUCER_EPOCH = 7
    STORAGE_INVALID_TXN_STATE = 8
    STORAGE_FENCED_LEADER_EPOCH = 9     # the caller's epoch is older
    STORAGE_UNKNOWN_LEADER_EPOCH = 10   # the caller's epoch is newer
    STORAGE_NOT_LEADER = 11             # led elsewhere, or the log is sealed because it is being moved
    STORAGE_DELETED = 12
    STORAGE_NOT_ENOUGH_REPLICAS = 13    # fewer in-sync replicas than min.insync.replicas
    STORAGE_BATCH_TOO_LARGE = 14        # larger than a segment (RECORD_LIST_TOO_LARGE)
    STORAGE_OFFLINE = 15
    STORAGE_NOT_CACHED = 16       # log_read_cached: it would wait for the disk
    STORAGE_COORDINATOR_FENCED = 17     # a marker with an older coordinator epoch (TRANSACTION_COORDINATOR_FENCED)
    STORAGE_NOT_IN_TRANSACTION = 18     # of a transactional batch: the coordinator has to be asked about the partition
