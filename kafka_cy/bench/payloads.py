"""The contents of the records: generated with a given size, compressibility and key distribution, or read from a file."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kafka_cy.records import Record, build_batch

KEY_DISTRIBUTIONS = ("none", "round-robin", "random", "zipf")
ZIPF_EXPONENT = 1.0
#: Number of distinct batches that the native generator replays: few enough to stay in the cache of its core.
BATCHES_MAX = 16
BATCHES_BYTES = 262_144
PAYLOADS_MAX = 10_000


class PayloadError(ValueError):
    """A payload file is unusable; the text is one sentence."""


@dataclass(frozen=True)
class Payloads:
    """How records are generated.

    `random_bytes_ratio` is the random share of each value (1: incompressible, 0: one byte repeated). Keys have 8 digits;
    there are `keys` different ones. The same seed gives the same records.
    """

    record_size: int = 100
    random_bytes_ratio: float = 1.0
    key_distribution: str = "none"
    keys: int = 10_000
    payload_file: str | None = None
    payload_delimiter: str = "\n"
    seed: int = 7

    def lines(self) -> list[bytes]:
        """The values in the payload file. Raises PayloadError."""
        assert self.payload_file is not None
        try:
            data = Path(self.payload_file).read_bytes()
        except OSError as error:
            raise PayloadError(f"Payload file {self.payload_file}: {error.strerror}.") from None
        delimiter = self.payload_delimiter.encode().decode("unicode_escape").encode()
        lines = [line for line in data.split(delimiter) if line][:PAYLOADS_MAX]
        if not lines:
            raise PayloadError(f"Payload file {self.payload_file} contains no payloads.")
        return lines

    def values(self) -> Iterator[bytes]:
        """An endless stream of values."""
        if self.payload_file is not None:
            lines = self.lines()
            while True:
                yield from lines
        generator = random.Random(self.seed)
        random_size = round(self.record_size * self.random_bytes_ratio)
        rest = b"x" * (self.record_size - random_size)
        while True:
            yield generator.randbytes(random_size) + rest

    def key_stream(self) -> Iterator[bytes | None]:
        """An endless stream of keys."""
        generator = random.Random(self.seed + 1)
        if self.key_distribution == "none":
            while True:
                yield None
        if self.key_distribution == "round-robin":
            while True:
                yield from (b"%08d" % key for key in range(self.keys))
        if self.key_distribution == "random":
            while True:
                yield b"%08d" % generator.randrange(self.keys)
        weights = [1 / (rank + 1) ** ZIPF_EXPONENT for rank in range(self.keys)]
        while True:
            yield from (b"%08d" % key for key in generator.choices(range(self.keys), weights, k=4096))

    def batches(self, records: int, compression: str, *, batches_max: int = BATCHES_MAX) -> list[bytes]:
        """Encoded batches of `records` records each: up to `batches_max` distinct ones. Raises PayloadError."""
        values, keys = self.values(), self.key_stream()
        now_ms = int(time.time() * 1000)
        made: list[bytes] = []
        while len(made) < batches_max and sum(map(len, made)) < BATCHES_BYTES:
            rows = [Record(key=next(keys), value=next(values), timestamp_ms=now_ms) for _ in range(records)]
            made.append(build_batch(rows, compression=compression))
        return made
