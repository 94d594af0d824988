"""Errors in a batch, as seen from Python."""

from __future__ import annotations

from enum import IntEnum


class BatchErrorCode(IntEnum):
    """Why a batch is refused; the numbers are those of `BatchError` in batch.pxd."""

    TRUNCATED = 1
    BAD_LENGTH = 2
    BAD_MAGIC = 3
    BAD_CRC = 4
    BAD_COUNT = 5
    BAD_ATTRIBUTES = 6
    BAD_SEQUENCE = 7
    BAD_RECORD = 8
    NO_KEY = 9
    BAD_TIMESTAMP = 10
    TOO_LARGE = 11
    BAD_COMPRESSION = 12
    UNPACKS_TOO_LARGE = 13
    NO_MEMORY = 14
    NOT_ONE = 15
    ZSTD_UNSUPPORTED = 16


_SENTENCES = {
    BatchErrorCode.TRUNCATED: "there are fewer bytes than the batch says it has",
    BatchErrorCode.BAD_LENGTH: "the length field is negative or too small",
    BatchErrorCode.BAD_MAGIC: "the magic is none that can be read here",
    BatchErrorCode.BAD_CRC: "the checksum does not match",
    BatchErrorCode.BAD_COUNT: "record count, offsets and bytes do not fit together",
    BatchErrorCode.BAD_ATTRIBUTES: "a control batch, or an unknown codec",
    BatchErrorCode.BAD_SEQUENCE: "a producer id without a sequence or an epoch",
    BatchErrorCode.BAD_RECORD: "a record cannot be read",
    BatchErrorCode.NO_KEY: "a record has no key, which a compacted topic needs",
    BatchErrorCode.BAD_TIMESTAMP: "a timestamp is out of the range that the topic allows",
    BatchErrorCode.TOO_LARGE: "the batch is larger than max.message.bytes",
    BatchErrorCode.BAD_COMPRESSION: "the records do not unpack",
    BatchErrorCode.UNPACKS_TOO_LARGE: "the records unpack to more than is allowed",
    BatchErrorCode.NO_MEMORY: "no memory",
    BatchErrorCode.NOT_ONE: "there must be exactly one batch",
    BatchErrorCode.ZSTD_UNSUPPORTED: "zstd needs Produce 7 or newer",
}


class InvalidBatch(ValueError):
    """A batch that cannot be read or may not be appended.

    Attributes: `code` gives the reason, `record_index` the record (-1: the whole batch).
    """

    def __init__(self, code: int, record_index: int = -1) -> None:
        self.code = BatchErrorCode(code)
        self.record_index = record_index
        where = f" (record {record_index})" if record_index >= 0 else ""
        super().__init__(f"{self.code.name}: {_SENTENCES[self.code]}{where}")
