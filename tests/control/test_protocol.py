"""The encoder and decoder: every message of every version in both directions, and forged lengths."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_cy.api.registry import COLD_APIS
from kafka_cy.protocol.bridge import MalformedRequest, decode_request, encode_response
from kafka_cy.protocol.encoder import entity_writer
from kafka_cy.protocol.schema import message_class

TIMES = dict.fromkeys(("issue_timestamp", "expiry_timestamp", "max_timestamp"), 0)  # kio reads no time of -1


@pytest.mark.parametrize("api_key", sorted(COLD_APIS))
def test_like_kio(api_key: int) -> None:
    """kio, as an independent implementation, decodes our messages and agrees with our decoder."""
    from kio.serial import entity_reader

    for version in range(COLD_APIS[api_key].version_min, COLD_APIS[api_key].version_max + 1):
        answer = encode_response(api_key, version, TIMES)
        _, size = entity_reader(message_class(api_key, version, "response"))(answer, 0)
        assert size == len(answer)
        request = bytearray()
        entity_writer(message_class(api_key, version, "request"))(request, {})
        entity, _ = entity_reader(message_class(api_key, version, "request"))(bytes(request), 0)
        assert decode_request(api_key, version, bytes(request)) == entity
        assert decode_request(api_key, version, bytes(request) + b"\0") == entity


@given(st.sampled_from([(key, row.version_max) for key, row in COLD_APIS.items()]), st.binary(max_size=60))
@settings(max_examples=300)
def test_garbage(api: tuple[int, int], body: bytes) -> None:
    with contextlib.suppress(MalformedRequest):
        decode_request(*api, body)


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xff\xff\x7f" + bytes(10), b"\xff\xff\xff\xff\x0f" + bytes(10)],
)
def test_lies(body: bytes) -> None:
    """Truncated; arrays of 268 million and 4 billion elements."""
    with pytest.raises(MalformedRequest):
        decode_request(37, 3, body)


@pytest.mark.parametrize("milliseconds", [-(1 << 63), (1 << 63) - 1])
def test_durations_beyond_what_python_holds(milliseconds: int) -> None:
    body = b"\0\1g" + bytes(4) + b"\0\1m" + milliseconds.to_bytes(8, "big", signed=True) + bytes(4)
    assert abs(decode_request(8, 2, body).retention_time).days == 999_999_999


def test_what_kafka_lets_pass() -> None:
    """A string that is not UTF-8, and bytes after the message."""
    body = b"\x02\x02\xff" + bytes(4) + b"\x00\x00" + bytes(4) + b"\x00\x00"
    assert decode_request(37, 3, body + b"more").topics[0].name == "\N{REPLACEMENT CHARACTER}"


def test_fields_a_version_lacks_are_dropped() -> None:
    answer = {"topics": [{"name": "t", "error_code": 0, "topic_id": None, "num_partitions": 3, "configs": []}]}
    assert len(encode_response(19, 2, answer)) < len(encode_response(19, 5, answer))
