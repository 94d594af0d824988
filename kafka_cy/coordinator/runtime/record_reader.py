"""Reads the fields of a coordinator's records. Every length is checked before it is used."""

from __future__ import annotations


class BadRecord(ValueError):
    """A record of a coordinator's topic that cannot be read, or cannot be written because a field does not fit."""


class RecordReader:
    """Reads fields of one key or value; every length is checked before it is used."""

    def __init__(self, data: bytes, flexible: bool = False) -> None:
        self.data = data
        self.position = 0
        self.flexible = flexible

    def take(self, size: int) -> bytes:
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise BadRecord(f"a field of {size} bytes at {self.position} does not fit in {len(self.data)} bytes")
        start, self.position = self.position, end
        return self.data[start:end]

    def int16(self) -> int:
        return int.from_bytes(self.take(2), "big", signed=True)

    def int32(self) -> int:
        return int.from_bytes(self.take(4), "big", signed=True)

    def int64(self) -> int:
        return int.from_bytes(self.take(8), "big", signed=True)

    def unsigned_varint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise BadRecord("a varint has more than five bytes")

    def nullable_string(self) -> str | None:
        size = self.unsigned_varint() - 1 if self.flexible else self.int16()
        if size < 0:
            return None
        try:
            return self.take(size).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadRecord("a string is not UTF-8") from error

    def string(self) -> str:
        text = self.nullable_string()
        if text is None:
            raise BadRecord("a string is null")
        return text

    def byte_string(self) -> bytes:
        size = self.unsigned_varint() - 1 if self.flexible else self.int32()
        return self.take(size) if size >= 0 else b""

    def nullable_count(self) -> int | None:
        """The number of elements that follow, or None for a null array."""
        count = self.unsigned_varint() - 1 if self.flexible else self.int32()
        if count > len(self.data):
            raise BadRecord(f"{count} elements do not fit in {len(self.data)} bytes")
        return count if count >= 0 else None

    def count(self) -> int:
        """nullable_count, with 0 for null."""
        return self.nullable_count() or 0

    def tags(self) -> dict[int, bytes]:
        if not self.flexible:
            return {}
        return {self.unsigned_varint(): self.take(self.unsigned_varint()) for _ in range(self.unsigned_varint())}
