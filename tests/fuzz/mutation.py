"""Corrupts encoded messages: lengths, counts, single bytes; truncated, repeated and joined pieces.

KAFKA_CY_FUZZ_SECONDS sets the duration of a fuzz test, KAFKA_CY_FUZZ_SEED its random seed.
"""

from __future__ import annotations

import os
import random
import struct

SECONDS = float(os.environ.get("KAFKA_CY_FUZZ_SECONDS", "2"))
SEED = int(os.environ.get("KAFKA_CY_FUZZ_SEED", "1"))
BYTES = (0, 1, 2, 0x7F, 0x80, 0xFF)
INT16 = (0, 1, -1, -2, 255, 32767, -32768)
INT32 = (0, 1, 2, -1, -2, 255, 65536, 1 << 24, (1 << 31) - 1, -(1 << 31))
INT64 = (0, -1, -2, -3, -4, -5, -6, 1 << 31, (1 << 63) - 1, -(1 << 63))
VARINTS = (b"\x00", b"\x01", b"\x7f", b"\xff\x7f", b"\x80\x80\x04", b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\x7f",
           b"\x80\x80\x80\x80\x80\x80\x01")  # fmt: skip


def _overwrite(data: bytearray, at: int, piece: bytes) -> None:
    data[at : at + len(piece)] = piece


def mutate(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Apply a few edits; pieces may be taken from the messages in `others`."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(changed) + 1)
        kind = chance.randrange(10)
        if kind == 0:
            _overwrite(changed, at, bytes([chance.choice(BYTES)]))
        elif kind == 1:
            _overwrite(changed, at, bytes([chance.randrange(256)]))
        elif kind == 2:
            _overwrite(changed, at, struct.pack(">h", chance.choice(INT16)))
        elif kind == 3:
            _overwrite(changed, at, struct.pack(">i", chance.choice(INT32)))
        elif kind == 4:
            _overwrite(changed, at, struct.pack(">q", chance.choice(INT64)))
        elif kind == 5:
            _overwrite(changed, at, chance.choice(VARINTS))
        elif kind == 6:
            del changed[at : at + chance.choice((1, 2, 4, 20))]
        elif kind == 7:
            changed[at:at] = changed[chance.randrange(len(changed) + 1) :][: chance.choice((1, 4, 16, 60))]
        elif kind == 8:
            other = chance.choice(others)
            changed[at:] = other[chance.randrange(len(other) + 1) :]
        else:
            del changed[at:]
    return bytes(changed)
