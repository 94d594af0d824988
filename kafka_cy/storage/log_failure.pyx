"""What a failed call means for a log, and the exceptions that Python sees."""
from libc.stdint cimport int32_t

from kafka_cy.base.atomics cimport atomic_add_i32, atomic_cas_i32, atomic_load_i32, atomic_store_i32
from kafka_cy.base.posix cimport EMFILE, ENFILE, ENOENT, ENOMEM
from kafka_cy.storage.log_struct cimport LOG_OFFLINE, LOG_ONLINE, Log
from kafka_cy.storage.storage_error cimport (
    STORAGE_BATCH_TOO_LARGE, STORAGE_COORDINATOR_FENCED, STORAGE_CORRUPT, STORAGE_DELETED, STORAGE_DUPLICATE_SEQUENCE,
    STORAGE_FENCED_LEADER_EPOCH, STORAGE_INVALID_PRODUCER_EPOCH, STORAGE_INVALID_TXN_STATE, STORAGE_IO_ERROR,
    STORAGE_NOT_ENOUGH_REPLICAS, STORAGE_NOT_IN_TRANSACTION, STORAGE_NOT_LEADER, STORAGE_NO_MEMORY, STORAGE_OFFLINE, STORAGE_OK,
    STORAGE_OFFSET_OUT_OF_RANGE, STORAGE_OUT_OF_ORDER_SEQUENCE, STORAGE_UNKNOWN_LEADER_EPOCH,
)

import os

cdef int32_t offline_events = 0     # (a) number of logs that went offline; the log manager watches it


cdef int fail_log(Log* log, int error_number) noexcept nogil:
    """The StorageError of a failed call. Disk failures, including a full disk, take the log offline (Kafka:
    LogDirFailureChannel). If memory or descriptors ran out, nothing was written yet and the next call may succeed."""
    if error_number == ENOMEM:
        return STORAGE_NO_MEMORY
    atomic_store_i32(&log.failed_errno, error_number)
    if error_number != EMFILE and error_number != ENFILE:
        go_offline(log)
    return STORAGE_IO_ERROR


cdef int fail_log_half_done(Log* log, int error_number) noexcept nogil:
    """The list of segments and the files differ from now on: an append could go to a file that the next start removes."""
    atomic_store_i32(&log.failed_errno, error_number)
    go_offline(log)
    return error_number


cdef void go_offline(Log* log) noexcept nogil:
    if atomic_cas_i32(&log.state, LOG_ONLINE, LOG_OFFLINE):
        atomic_add_i32(&offline_events, 1)


cdef int fail_read(Log* log, int error_number) noexcept nogil:
    """The same for a read. If the file is missing, retention removed it from under the reader."""
    return STORAGE_IO_ERROR if error_number == ENOENT else fail_log(log, error_number)


class StorageFailure(OSError):
    """A log operation failed. `code` is a StorageError (storage_error.pxd); `error_number` is the errno behind it or 0."""

    def __init__(self, message: str, code: int, error_number: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.error_number = error_number

    @property
    def kafka_error_code(self) -> int:
        """The code that Kafka answers."""
        return KAFKA_ERROR_CODES.get(self.code, UNKNOWN_SERVER_ERROR)


def is_shortage(error):
    """Whether this OSError, which may be a StorageFailure, is of a process without memory or descriptors: the disk is as before."""
    number = error.error_number if isinstance(error, StorageFailure) else error.errno
    return getattr(error, "code", STORAGE_OK) == STORAGE_NO_MEMORY or number in (EMFILE, ENFILE, ENOMEM)


class OffsetOutOfRange(StorageFailure):
    """The offset lies below the log start offset or above the log end offset."""


STORAGE_ERROR_NAMES = {
    STORAGE_OFFSET_OUT_OF_RANGE: "offset out of range", STORAGE_IO_ERROR: "I/O error", STORAGE_NO_MEMORY: "out of memory",
    STORAGE_CORRUPT: "corrupt batch", STORAGE_OUT_OF_ORDER_SEQUENCE: "out of order sequence number",
    STORAGE_DUPLICATE_SEQUENCE: "duplicate sequence number", STORAGE_INVALID_PRODUCER_EPOCH: "invalid producer epoch",
    STORAGE_INVALID_TXN_STATE: "invalid transaction state", STORAGE_FENCED_LEADER_EPOCH: "fenced leader epoch",
    STORAGE_UNKNOWN_LEADER_EPOCH: "unknown leader epoch", STORAGE_NOT_LEADER: "not the leader",
    STORAGE_DELETED: "the log is closed", STORAGE_NOT_ENOUGH_REPLICAS: "not enough replicas are in sync",
    STORAGE_BATCH_TOO_LARGE: "batch larger than a segment", STORAGE_OFFLINE: "the log directory is offline",
    STORAGE_COORDINATOR_FENCED: "the marker's coordinator epoch is too old",
    STORAGE_NOT_IN_TRANSACTION: "the partition is not in the transaction",
}


# As storage_error_code (api/error_codes.pxd), of which this is the part that appends can fail with.
UNKNOWN_SERVER_ERROR = -1
KAFKA_ERROR_CODES = {
    STORAGE_DELETED: 3, STORAGE_NOT_LEADER: 6, STORAGE_BATCH_TOO_LARGE: 18, STORAGE_NOT_ENOUGH_REPLICAS: 19,
    STORAGE_OUT_OF_ORDER_SEQUENCE: 45, STORAGE_INVALID_PRODUCER_EPOCH: 47, STORAGE_INVALID_TXN_STATE: 48,
    STORAGE_COORDINATOR_FENCED: 52, STORAGE_IO_ERROR: 56, STORAGE_OFFLINE: 56, STORAGE_FENCED_LEADER_EPOCH: 74,
    STORAGE_UNKNOWN_LEADER_EPOCH: 75,
}


cdef object storage_failure(int error, Log* log, str what, int error_number=0):
    if log != NULL and (error == STORAGE_IO_ERROR or error == STORAGE_OFFLINE):
        error_number = atomic_load_i32(&log.failed_errno)
    kind = OffsetOutOfRange if error == STORAGE_OFFSET_OUT_OF_RANGE else StorageFailure
    reason = f" ({os.strerror(error_number)})" if error_number else ""
    return kind(f"{what}: {STORAGE_ERROR_NAMES.get(error, error)}{reason}", error, error_number)


def count_of_failures():
    """How many times a log of this process went offline."""
    return atomic_load_i32(&offline_events)
