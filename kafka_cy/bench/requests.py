"""Pre-encoded requests for the native generator, with the positions of the fields that it patches.

The versions are Produce v7, Fetch v4 and OffsetCommit v2, which every broker from Kafka 1.0 to 4.x accepts. Each request
has one topic and one partition, so that the fields of every response have fixed positions.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

CLIENT_ID = "kafka-cy-bench"

PRODUCE_KEY, PRODUCE_VERSION = 0, 7
FETCH_KEY, FETCH_VERSION = 1, 4
OFFSET_COMMIT_KEY, OFFSET_COMMIT_VERSION = 8, 2

CORRELATION_ID_AT = 8


@dataclass(frozen=True)
class RequestHead:
    """A request up to its body (the record batch; empty for other requests). Positions count from the length field.

    `error_at` and `response_head_size` describe the response, counted from its length field: the position of the error code,
    and the number of bytes before the part that is only counted (produce) or walked batch by batch (fetch).
    """

    data: bytes
    partition_at: int
    offset_at: int
    error_at: int
    response_head_size: int


def string(text: str) -> bytes:
    """A string with its int16 length."""
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def request_header(api_key: int, version: int) -> bytes:
    """A request header with length 0 and correlation id 0 (both are patched later) and our client id."""
    return struct.pack(">ihhi", 0, api_key, version, 0) + string(CLIENT_ID)


def with_length(request: bytes) -> bytes:
    """The request with its length field set."""
    return struct.pack(">i", len(request) - 4) + request[4:]


def produce_head(topic: str, acks: int, timeout_ms: int) -> RequestHead:
    """A Produce request without its records; its last two fields are the partition index and the size of the records."""
    data = (
        request_header(PRODUCE_KEY, PRODUCE_VERSION)
        + struct.pack(">hhii", -1, acks, timeout_ms, 1)
        + string(topic)
        + struct.pack(">iii", 1, 0, 0)
    )
    # length, correlation id, topics, name, partitions, index | error code, base offset
    error_at = 4 + 4 + 4 + len(string(topic)) + 4 + 4
    return RequestHead(data, len(data) - 8, -1, error_at, error_at + 2 + 8)


def fetch_request(topic: str, partition: int, max_bytes: int, min_bytes: int, max_wait_ms: int) -> RequestHead:
    """A complete Fetch request for one partition, read_uncommitted; its offset is patched."""
    data = with_length(
        request_header(FETCH_KEY, FETCH_VERSION)
        + struct.pack(">iiiibi", -1, max_wait_ms, min_bytes, max_bytes, 0, 1)
        + string(topic)
        + struct.pack(">iiqi", 1, partition, 0, max_bytes)
    )
    # length, correlation id, throttle time, topics, name, partitions, index | error code, high watermark,
    # last stable offset, aborted transactions (none), size of the records
    error_at = 4 + 4 + 4 + 4 + len(string(topic)) + 4 + 4
    return RequestHead(data, len(data) - 16, len(data) - 12, error_at, error_at + 2 + 8 + 8 + 4 + 4)


def offset_commit_request(group: str, topic: str, partition: int, offset: int) -> RequestHead:
    """A complete OffsetCommit request of one offset for a group without members."""
    data = with_length(
        request_header(OFFSET_COMMIT_KEY, OFFSET_COMMIT_VERSION)
        + string(group)
        + struct.pack(">i", -1)
        + string("")
        + struct.pack(">qi", -1, 1)
        + string(topic)
        + struct.pack(">iiqh", 1, partition, offset, -1)
    )
    error_at = 4 + 4 + 4 + len(string(topic)) + 4 + 4
    return RequestHead(data, -1, -1, error_at, error_at + 2)
