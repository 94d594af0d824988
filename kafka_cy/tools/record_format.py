"""How `kafka-cy consume` prints a record: by the properties of Kafka's console consumer, or by kcat's format letters."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from confluent_kafka import Message

PROPERTIES = {
    "print.timestamp": "false",
    "print.partition": "false",
    "print.offset": "false",
    "print.headers": "false",
    "print.key": "false",
    "print.value": "true",
    "key.separator": "\t",
    "line.separator": "\n",
    "headers.separator": ",",
    "null.literal": "null",
}
TIMESTAMP_LABELS = {0: "NO_TIMESTAMP", 1: "CreateTime", 2: "LogAppendTime"}


@dataclass(frozen=True)
class PropertyFormat:
    """Which parts of a record are printed: the properties of Kafka's console consumer."""

    timestamp: bool
    partition: bool
    offset: bool
    headers: bool
    key: bool
    value: bool
    separator: bytes
    line_end: bytes
    headers_separator: bytes
    null: bytes

    @classmethod
    def from_properties(cls, given: dict[str, str]) -> PropertyFormat:
        """Raises click.UsageError for a property that does not exist."""
        unknown = sorted(set(given) - set(PROPERTIES))
        if unknown:
            raise click.UsageError(f"Unknown property {unknown[0]}; known properties are {', '.join(PROPERTIES)}.")
        merged = {**PROPERTIES, **given}
        flags = {
            name: merged[f"print.{name}"].lower() == "true"
            for name in ("timestamp", "partition", "offset", "headers", "key", "value")
        }
        return cls(
            **flags,
            separator=merged["key.separator"].encode(),
            line_end=merged["line.separator"].encode(),
            headers_separator=merged["headers.separator"].encode(),
            null=merged["null.literal"].encode(),
        )

    def render(self, message: Message) -> bytes:
        """One record as bytes, with its line end."""
        parts: list[bytes] = []
        if self.timestamp:
            kind, time_ms = message.timestamp()
            parts.append(f"{TIMESTAMP_LABELS.get(kind, kind)}:{time_ms}".encode())
        if self.partition:
            parts.append(f"Partition:{message.partition()}".encode())
        if self.offset:
            parts.append(f"Offset:{message.offset()}".encode())
        if self.headers:
            parts.append(self._headers(message))
        if self.key:
            parts.append(self._text(message.key()))
        if self.value:
            parts.append(self._text(message.value()))
        return self.separator.join(parts) + self.line_end

    def _headers(self, message: Message) -> bytes:
        headers: Any = message.headers()
        if not headers:
            return b"NO_HEADERS"
        return self.headers_separator.join(name.encode() + b":" + self._text(value) for name, value in headers)

    def _text(self, content: Any) -> bytes:
        return self.null if content is None else as_bytes(content)


def as_bytes(content: Any) -> bytes:
    """Bytes as they are, text as UTF-8, nothing for None."""
    if content is None:
        return b""
    return content if isinstance(content, bytes) else str(content).encode()


def _length(content: Any) -> int:
    return -1 if content is None else len(as_bytes(content))


def _headers_of(message: Message) -> bytes:
    """`name=value,name=value`; kcat writes NULL for a header without a value."""
    headers: Any = message.headers() or ()
    return b",".join(name.encode() + b"=" + (b"NULL" if value is None else as_bytes(value)) for name, value in headers)


#: kcat's letters (kcat -h, "Format string tokens").
LETTERS: dict[str, Callable[[Message], bytes]] = {
    "%": lambda _: b"%",
    "K": lambda message: b"%d" % _length(message.key()),
    "R": lambda message: struct.pack(">i", _length(message.value())),
    "S": lambda message: b"%d" % _length(message.value()),
    "T": lambda message: str(message.timestamp()[1]).encode(),
    "h": _headers_of,
    "k": lambda message: as_bytes(message.key()),
    "o": lambda message: str(message.offset()).encode(),
    "p": lambda message: str(message.partition()).encode(),
    "s": lambda message: as_bytes(message.value()),
    "t": lambda message: as_bytes(message.topic()),
}
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]+)|([0-7]{1,3})|(.))", re.DOTALL)
_NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class LetterFormat:
    """kcat's `-f`: `%t %p %o %k\\n`. There is no line end but those in the format."""

    def __init__(self, text: str) -> None:
        """Raises click.UsageError for a letter that kcat does not have."""
        self._parts: list[bytes | Callable[[Message], bytes]] = []
        for piece in re.split("(%.?)", text, flags=re.DOTALL):
            if not piece.startswith("%"):
                self._parts.append(_unescaped(piece))
            elif piece[1:] in LETTERS:
                self._parts.append(LETTERS[piece[1:]])
            else:
                known = " ".join(f"%{letter}" for letter in LETTERS)
                raise click.UsageError(f"--format does not know {piece!r}; it knows {known}.")

    def render(self, message: Message) -> bytes:
        """One record as bytes."""
        return b"".join(part if isinstance(part, bytes) else part(message) for part in self._parts)


def _unescaped(text: str) -> bytes:
    r"""The text with `\n`, `\r`, `\t`, `\xNN` and `\NNN` (octal) replaced; any other character after a backslash is itself.

    As in kcat, `\x` takes all hexadecimal digits that follow, and the lowest 8 bits count.
    """
    return _ESCAPE.sub(_replacement, text.encode(errors="surrogateescape"))


def _replacement(found: re.Match[bytes]) -> bytes:
    hexadecimal, octal, letter = found.groups()
    if letter is not None:
        return _NAMED.get(letter, letter)
    return bytes([(int(hexadecimal, 16) if hexadecimal else int(octal, 8)) & 0xFF])
