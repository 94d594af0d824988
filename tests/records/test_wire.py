"""The reader and writer of Kafka's primitive types: round trips, limits, sticky errors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.records.wire_probe import read, write

TRUNCATED, BAD_VARINT, BAD_LENGTH, TOO_LARGE = 1, 2, 3, 5
RANGES = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uvarint": (0, 2**32 - 1),
    "uvarlong": (0, 2**64 - 1),
    "varint": (-(2**31), 2**31 - 1),
    "varlong": (-(2**63), 2**63 - 1),
}
numbers = st.sampled_from(sorted(RANGES)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.booleans(), st.integers(*RANGES[kind]))
)
texts = st.tuples(st.just("string"), st.booleans(), st.none() | st.binary(max_size=300))
fields = st.lists(numbers | texts, max_size=20)


@given(fields)
def test_round_trip(values: list[tuple[str, bool, object]]) -> None:
    data, error, _ = write(list(values), 1 << 20)
    assert error == 0
    wanted = [(kind, flexible, 0) for kind, flexible, _ in values]
    assert read(data, wanted) == ([value for _, _, value in values], 0, 0)


@given(fields, st.integers(0, 200))
def test_a_cut_message_is_an_error_and_stays_one(values: list[tuple[str, bool, object]], cut: int) -> None:
    data, _, _ = write(list(values), 1 << 20)
    if cut >= len(data):
        return
    wanted = [(kind, flexible, 0) for kind, flexible, _ in values]
    _, error, _ = read(data[:cut], wanted)
    assert error == TRUNCATED
    more, error, _ = read(data[:cut], [*wanted, ("int8", False, 0), ("int64", False, 0)])
    assert error == TRUNCATED
    assert more[-2:] == [0, 0]


KINDS = [*RANGES, "string", "bytes", "array", "tags", "raw"]
calls = st.lists(st.tuples(st.sampled_from(KINDS), st.booleans(), st.integers(0, 9)), max_size=12)


@given(st.binary(max_size=60), calls)
def test_random_bytes_never_read_past_the_end(data: bytes, wanted: list[tuple[str, bool, int]]) -> None:
    values, error, left = read(data, wanted)
    assert 0 <= left <= len(data)
    assert 0 <= error <= BAD_LENGTH
    assert all(len(value) <= len(data) for value in values if isinstance(value, bytes))


@given(fields, st.integers(0, 100))
def test_a_writer_keeps_its_limit(values: list[tuple[str, bool, object]], size_max: int) -> None:
    data, error, capacity = write(list(values), size_max)
    assert len(data) <= size_max
    assert capacity <= size_max
    assert error in (0, TOO_LARGE)


def test_varints_that_are_too_long() -> None:
    assert read(b"\xff\xff\xff\xff\x0f", [("uvarint", True, 0)]) == ([2**32 - 1], 0, 0)
    assert read(b"\xff\xff\xff\xff\x1f", [("uvarint", True, 0)])[1] == BAD_VARINT
    assert read(b"\x80" * 5 + b"\x00", [("uvarint", True, 0)])[1] == BAD_VARINT
    assert read(b"\xff" * 9 + b"\x01", [("uvarlong", True, 0)]) == ([2**64 - 1], 0, 0)
    assert read(b"\xff" * 9 + b"\x02", [("uvarlong", True, 0)])[1] == BAD_VARINT


def test_lengths_that_lie() -> None:
    assert read(b"\xff\xff", [("string", False, 0)]) == ([None], 0, 0)
    assert read(b"\x80\x00", [("string", False, 0)]) == ([None], 0, 0)  # Kafka treats any negative length as null
    assert read(b"\x00\x05ab", [("string", False, 0)])[1] == TRUNCATED
    assert read(b"\x7f\xff\xff\xff", [("bytes", False, 0)])[1] == TRUNCATED
    assert read(b"\x7f\xff\xff\xff" + b"a" * 8, [("array", False, 4)])[1] == BAD_LENGTH
    assert read(b"\xff\xff\xff\xff\x0f", [("array", True, 1)])[1] == BAD_LENGTH
    assert read(b"\xff\xff\xff\xff", [("array", False, 4)]) == ([-1], 0, 0)
    assert read(b"\xff\xff\xff\xf0", [("array", False, 4)]) == ([-1], 0, 0)


def test_tagged_fields_are_skipped() -> None:
    assert read(b"\x02\x00\x03abc\x05\x00\x2a", [("tags", True, 0), ("int8", False, 0)]) == ([None, 42], 0, 0)
    assert read(b"\xff\xff\xff\xff\x0f", [("tags", True, 0)])[1] == TRUNCATED
