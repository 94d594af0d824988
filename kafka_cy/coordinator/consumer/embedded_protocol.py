"""Subscriptions and assignments that classic members embed in JoinGroup and SyncGroup (Kafka: ConsumerProtocol)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

VERSION_MAX: Final = 3  # a newer version is read as this one


class MalformedProtocol(ValueError):
    """The bytes are not of the consumer protocol."""


class Subscription(NamedTuple):
    """What a member reads and has. `owned` is (topic, partitions), of version 1 on; `rack_id` of version 3 on."""

    version: int
    topics: tuple[str, ...]
    owned: tuple[tuple[str, tuple[int, ...]], ...] = ()
    rack_id: str | None = None


class Assignment(NamedTuple):
    """The partitions of a member; `user_data` belongs to a custom assignor."""

    partitions: Mapping[str, tuple[int, ...]]
    user_data: bytes


class _Reader:
    """Every length is checked before it is used. Raises MalformedProtocol."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, size: int) -> bytes:
        start, self.position = self.position, self.position + size
        if size < 0 or self.position > len(self.data):
            raise MalformedProtocol(f"a field of {size} bytes at {start} does not fit in {len(self.data)} bytes")
        return self.data[start : self.position]

    def number(self, layout: str) -> int:
        value: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return value

    def version(self) -> int:
        version = self.number(">h")
        if version < 0:
            raise MalformedProtocol(f"version {version}")
        return version

    def count(self) -> int:
        count = self.number(">i")
        if not 0 <= count <= len(self.data):
            raise MalformedProtocol(f"{count} elements do not fit in {len(self.data)} bytes")
        return count

    def text(self, size: int) -> str:
        try:
            return self.take(size).decode()
        except UnicodeDecodeError as error:
            raise MalformedProtocol("a name is not UTF-8") from error

    def partitions(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        found = []
        for _ in range(self.count()):
            name = self.text(self.number(">h"))
            count = self.count()
            found.append((name, struct.unpack(f">{count}i", self.take(4 * count))))
        return tuple(found)


def read_version(data: bytes) -> int:
    """The version of a subscription or an assignment. Raises MalformedProtocol."""
    return _Reader(data).version()


def read_subscription(data: bytes) -> Subscription:
    """Raises MalformedProtocol."""
    reader = _Reader(data)
    version = reader.version()
    topics = tuple(reader.text(reader.number(">h")) for _ in range(reader.count()))
    reader.take(max(reader.number(">i"), 0))  # user data
    owned = reader.partitions() if version >= 1 else ()
    if version >= 2:
        reader.number(">i")  # generation
    rack_size = reader.number(">h") if version >= 3 else -1
    return Subscription(version, topics, owned, reader.text(rack_size) if rack_size >= 0 else None)


def read_assignment(data: bytes) -> Assignment:
    """Empty bytes are a member without an assignment so far. Raises MalformedProtocol."""
    if not data:
        return Assignment({}, b"")
    reader = _Reader(data)
    reader.version()
    partitions = dict(reader.partitions())
    return Assignment(partitions, reader.take(max(reader.number(">i"), 0)))


def write_assignment(version: int, partitions: Sequence[tuple[str, Sequence[int]]]) -> bytes:
    """An assignment in the version of the member's subscription."""
    parts = [struct.pack(">hi", min(version, VERSION_MAX), len(partitions))]
    for name, indexes in partitions:
        data = name.encode()
        parts.append(struct.pack(">h", len(data)) + data + struct.pack(f">i{len(indexes)}i", len(indexes), *indexes))
    return b"".join(parts) + struct.pack(">i", -1)
