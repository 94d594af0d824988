"""Corrupted requests of every API in the registry through the control plane's decoder, for a bounded time.

The decoder may raise only MalformedRequest, and the size of a request bounds the memory that it uses.
"""

from __future__ import annotations

import io
import random
import time
import tracemalloc
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kio.serial import entity_writer
from mutation import SECONDS, SEED, mutate

from kafka_cy.api.registry import advertised
from kafka_cy.protocol.bridge import MalformedRequest, decode_request
from kafka_cy.protocol.schema import FieldSchema, entity_fields, message_class, versions

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(SECONDS + 120)]

MESSAGES = [
    (row.api_key, version) for row in advertised() for version in versions(row.api_key)
    if row.version_min <= version <= row.version_max
]  # fmt: skip
VALUES: dict[str, Any] = {
    "string": ("", "a", "name", "n" * 200), "bytes": (b"", b"x" * 40), "records": (b"", b"x" * 40),
    "uuid": (None, uuid.UUID(int=7)), "bool": (True, False), "int8": (-1, 0, 1, 127), "float64": (0.0, 1.5),
    "timedelta_i32": (timedelta(milliseconds=5),), "timedelta_i64": (timedelta(milliseconds=5),),
    "datetime_i64": (datetime(2030, 1, 1, tzinfo=UTC),), "uint16": (0, 9092),
}  # fmt: skip
# In the worst case, Python needs this much for one byte of a request: an array of structs with one tag byte each.
BYTES_PER_BYTE_MAX = 800
BYTES_START_MAX = 200_000


def value_of(chance: random.Random, field: FieldSchema) -> Any:
    if field.array:
        return tuple(element(chance, field) for _ in range(chance.choice((0, 1, 2, 5))))
    return element(chance, field)


def element(chance: random.Random, field: FieldSchema) -> Any:
    if field.entity is not None:
        return message(chance, field.entity)
    return chance.choice(VALUES.get(field.kafka_type, (-1, 0, 1, 5)))


def message(chance: random.Random, entity: type) -> Any:
    """A random kio entity of this type."""
    return entity(**{field.name: value_of(chance, field) for field in entity_fields(entity)})


def encoded(chance: random.Random, api_key: int, version: int) -> bytes:
    entity = message_class(api_key, version, "request")
    body = io.BytesIO()
    entity_writer(entity)(body, message(chance, entity))
    return body.getvalue()


def test_valid_messages_decode_to_what_was_encoded() -> None:
    chance = random.Random(SEED)
    for api_key, version in MESSAGES:
        for _ in range(5):
            made = message(chance, message_class(api_key, version, "request"))
            body = io.BytesIO()
            entity_writer(type(made))(body, made)
            assert decode_request(api_key, version, body.getvalue()) == made, (api_key, version)


def test_spoiled_messages() -> None:
    chance = random.Random(SEED)
    seeds = {row: [encoded(chance, *row) for _ in range(3)] for row in MESSAGES}
    everything = [body for bodies in seeds.values() for body in bodies]
    deadline, rounds, refused = time.monotonic() + SECONDS, 0, 0
    while time.monotonic() < deadline:
        row = chance.choice(MESSAGES)
        body = mutate(chance, chance.choice(seeds[row]), everything) if chance.random() < 0.95 else chance.randbytes(80)
        watched = chance.random() < 0.02
        if watched:
            tracemalloc.start()
        try:
            decode_request(*row, body)
        except MalformedRequest:
            refused += 1
        except BaseException:
            print(f"seed {SEED}, round {rounds}: API {row[0]} v{row[1]} {body.hex()}")
            raise
        if watched:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < BYTES_START_MAX + BYTES_PER_BYTE_MAX * len(body), (row, body.hex())
        rounds += 1
    print(f"{rounds} rounds from seed {SEED}, {refused} refused")
    assert 0 < refused < rounds


@pytest.mark.parametrize(("api_key", "version"), [(19, 7), (9, 8), (44, 1), (14, 5)])
def test_large_arrays_cost_in_proportion(api_key: int, version: int) -> None:
    """A megabyte of elements with the minimum size."""
    body = b"\xff\xff\x3f" + b"\0" * 1_048_574
    if api_key == 14:
        body = b"\1\0\0\0\0\1\0\0\0" + body
    tracemalloc.start()
    try:
        decode_request(api_key, version, body)
    except MalformedRequest:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < BYTES_START_MAX + BYTES_PER_BYTE_MAX * len(body)
