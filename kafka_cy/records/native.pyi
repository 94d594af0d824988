from collections.abc import Iterable, Sequence

from kafka_cy.records.record import Record

_Buffer = bytes | bytearray | memoryview
_Headers = Sequence[tuple[str, bytes | None]]
_Record = tuple[bytes | None, bytes | None, int, _Headers, int]

def compress(codec: int, data: _Buffer, level: int) -> bytes: ...
def decompress(codec: int, data: _Buffer, size_max: int) -> bytes: ...
def read_header(
    data: _Buffer, position: int
) -> tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]: ...
def crc_matches(data: _Buffer) -> bool: ...
def read_records(data: _Buffer, size_max: int) -> list[Record]: ...
def read_columns(data: _Buffer, size_max: int) -> tuple[bytes, bytes]: ...
def build_batch(
    records: Iterable[_Record],
    codec: int,
    level: int,
    base_offset: int,
    leader_epoch: int,
    attributes: int,
    producer_id: int,
    producer_epoch: int,
    base_sequence: int,
    last_offset_delta: int | None,
    max_timestamp: int | None,
) -> bytes: ...
def validate(
    data: _Buffer,
    now_ms: int,
    produce_version: int,
    message_bytes_max: int,
    compression_type: int,
    compression_level: int,
    log_append_time: bool,
    key_required: bool,
    timestamp_before_max_ms: int,
    timestamp_after_max_ms: int,
    unpacked_bytes_max: int,
) -> tuple[bytes, int]: ...
def find_timestamp(
    data: _Buffer, target_ms: int, min_offset: int, unpacked_bytes_max: int
) -> tuple[int, int] | None: ...
