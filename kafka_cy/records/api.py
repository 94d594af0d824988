"""Kafka's record batches for Python: build, iterate, decode, validate. The same C code as the broker's data plane.

Input and output are bytes. All input is bounds-checked, and the unpacked size of a compressed batch is capped.
Errors raise `InvalidBatch`, which gives the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kafka_cy.records import native
from kafka_cy.records.crc32c import checksum
from kafka_cy.records.errors import BatchErrorCode, InvalidBatch
from kafka_cy.records.record import Headers, Record

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Buffer = bytes | bytearray | memoryview

#: Codec numbers by the names in `compression.type` ("uncompressed" is the topic-level word for "none").
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4, "uncompressed": 0}
CODEC_NAMES = ("none", "gzip", "snappy", "lz4", "zstd")
#: Kafka's default levels (`compression.gzip.level`, ...); snappy has none.
DEFAULT_LEVELS = {"none": 0, "uncompressed": 0, "gzip": -1, "snappy": 0, "lz4": 9, "zstd": 3}
#: Default cap on the unpacked size of a batch here, in bytes.
UNPACKED_BYTES_MAX = 256 * 1024 * 1024

LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20
DELETE_HORIZON = 0x40

@dataclass(frozen=True)
class Columns:
    """The records of a batch as numpy arrays of int64, one element per record; no object per record is created.

    Positions count from the start of `data` (the unpacked records); a null key or value has position and size -1.
    """

    data: bytes
    offsets: NDArray[numpy.int64]
    timestamps_ms: NDArray[numpy.int64]
    key_positions: NDArray[numpy.int64]
    key_sizes: NDArray[numpy.int64]
    value_positions: NDArray[numpy.int64]
    value_sizes: NDArray[numpy.int64]


@dataclass
class Batch:
    """One batch as in a log or a Fetch response: its bytes and header fields, read-only.

    A message of magic 0 or 1 (Kafka before 0.11) is also shown as a batch. Fields it lacks are -1. The base offset
    of a compressed message is the offset of its last record, as in the bytes.
    """

    data: bytes
    position: int
    base_offset: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp_ms: int
    max_timestamp_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records_count: int

    @property
    def size_bytes(self) -> int:
        """The whole size, including base offset and length field."""
        return len(self.data)

    @property
    def last_offset(self) -> int:
        """The offset of the last record that the batch had when it was appended."""
        return self.base_offset + self.last_offset_delta

    @property
    def last_sequence(self) -> int:
        """The sequence of the last record (it wraps to 0 after 2^31 - 1), -1 without one."""
        return (self.base_sequence + self.last_offset_delta) & 0x7FFFFFFF if self.base_sequence >= 0 else -1

    @property
    def compression(self) -> str:
        """The codec's name; "unknown" for a number that Kafka does not define."""
        codec = self.attributes & 0x07
        return CODEC_NAMES[codec] if codec < len(CODEC_NAMES) else "unknown"

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction."""
        return self.magic >= 2 and bool(self.attributes & TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Whether it holds a marker (commit, abort, ...) instead of records."""
        return self.magic >= 2 and bool(self.attributes & CONTROL)

    @property
    def is_log_append_time(self) -> bool:
        """Whether the timestamps are the broker's: then every record has `max_timestamp_ms`."""
        return self.magic >= 1 and bool(self.attributes & LOG_APPEND_TIME)

    @property
    def delete_horizon_ms(self) -> int | None:
        """When tombstones and markers in it may be removed (set by the cleaner), otherwise None."""
        return self.base_timestamp_ms if self.magic >= 2 and self.attributes & DELETE_HORIZON else None

    @property
    def crc_matches(self) -> bool:
        """Whether the checksum is right (computed on each call)."""
        return native.crc_matches(self.data)

    def records(self, *, size_max: int = UNPACKED_BYTES_MAX) -> list[Record]:
        """All records; raises InvalidBatch when they do not parse or unpack to more than `size_max` bytes."""
        return native.read_records(self.data, size_max)

    def columns(self, *, size_max: int = UNPACKED_BYTES_MAX) -> Columns:
        """Offsets, timestamps, positions of keys and values as numpy arrays (magic 2 only). Imports numpy."""
        import numpy

        data, rows = native.read_columns(self.data, size_max)
        table = numpy.frombuffer(rows, dtype=numpy.int64).reshape(-1, 6)
        return Columns(data, *(table[:, column] for column in range(6)))


def iterate_batches(data: Buffer, *, allow_partial: bool = False, start: int = 0) -> Iterator[Batch]:
    """Iterate over the batches in `data` from byte `start`.

    With `allow_partial` a truncated last batch ends the iteration, as at the end of a Fetch response or of a torn
    log; otherwise it raises InvalidBatch. Checksums are not verified: see `Batch.crc_matches`.
    """
    position, size = start, len(data)
    while position < size:
        try:
            size_bytes, *header = native.read_header(data, position)
        except InvalidBatch as error:
            if allow_partial and error.code is BatchErrorCode.TRUNCATED:
                return
            raise
        yield Batch(bytes(data[position : position + size_bytes]), position, *header)
        position += size_bytes


def build_batch(
    records: Iterable[Record | tuple[bytes | None, bytes | None, int, Headers, int]],
    *,
    compression: str = "none",
    level: int | None = None,
    base_offset: int = 0,
    leader_epoch: int = -1,
    attributes: int = 0,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    last_offset_delta: int | None = None,
    max_timestamp_ms: int | None = None,
) -> bytes:
    """Build a RecordBatch (magic 2) from `records`.

    `attributes` adds bits (TRANSACTIONAL, CONTROL, ...) to the codec's. Records without an offset are numbered
    consecutively from `base_offset`; explicit offsets may have gaps, as after compaction. `last_offset_delta` and
    `max_timestamp_ms` override the values computed from the records. Raises ValueError for an offset below
    `base_offset`, KeyError for an unknown codec.
    """
    return native.build_batch(
        list(records),
        CODECS[compression],
        DEFAULT_LEVELS[compression] if level is None else level,
        base_offset,
        leader_epoch,
        attributes,
        producer_id,
        producer_epoch,
        base_sequence,
        last_offset_delta,
        max_timestamp_ms,
    )


class Validated(NamedTuple):
    """A batch that may be appended: `data` as it will be in the log (except base offset and leader epoch)."""

    data: bytes
    max_timestamp_offset_delta: int


def validate(
    data: Buffer,
    *,
    now_ms: int = 0,
    produce_version: int = 9,
    message_bytes_max: int = 1048588,
    compression: str = "producer",
    level: int | None = None,
    log_append_time: bool = False,
    key_required: bool = False,
    timestamp_before_max_ms: int = 2**63 - 1,
    timestamp_after_max_ms: int = 2**63 - 1,
    unpacked_bytes_max: int = UNPACKED_BYTES_MAX,
) -> Validated:
    """Check one batch as the broker checks produced batches, with the topic's rules as arguments.

    Returns the batch as it would be appended: recompressed, with the broker's timestamp or a corrected maximum
    timestamp. Raises InvalidBatch with the reason (and the index of the first record refused for its key or
    timestamp).
    """
    codec = -1 if compression == "producer" else CODECS[compression]
    if level is None:
        level = 0 if codec < 0 else DEFAULT_LEVELS[compression]
    return Validated(
        *native.validate(
            data,
            now_ms,
            produce_version,
            message_bytes_max,
            codec,
            level,
            log_append_time,
            key_required,
            timestamp_before_max_ms,
            timestamp_after_max_ms,
            unpacked_bytes_max,
        )
    )


def find_timestamp(
    data: Buffer, timestamp_ms: int, *, min_offset: int = -1, unpacked_bytes_max: int = UNPACKED_BYTES_MAX
) -> tuple[int, int] | None:
    """(offset, timestamp_ms) of the first record of the first batch in `data` with at least this timestamp and offset.

    None if no record matches; raises InvalidBatch when the batch cannot be read. Reads magic 0, 1 and 2.
    """
    return native.find_timestamp(data, timestamp_ms, min_offset, unpacked_bytes_max)


def crc32c(data: Buffer, crc: int = 0) -> int:
    """The CRC32C (Castagnoli) of `data`, continuing from `crc`."""
    return checksum(data, crc)


def compress(data: Buffer, compression: str, level: int | None = None) -> bytes:
    """Compress `data` with a codec of CODECS in Kafka's framing: gzip, snappy in xerial blocks, lz4 frame, zstd."""
    return native.compress(CODECS[compression], data, DEFAULT_LEVELS[compression] if level is None else level)


def decompress(data: Buffer, compression: str, *, size_max: int = UNPACKED_BYTES_MAX) -> bytes:
    """Decompress `data`; raises InvalidBatch when it is corrupt or larger than `size_max` bytes. Reads raw snappy too."""
    return native.decompress(CODECS[compression], data, size_max)
