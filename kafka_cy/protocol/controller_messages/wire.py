"""How the messages of this package lie in bytes: classic and flexible (compact lengths, a tag section after each struct).

kio lacks most versions of these messages. Here they are written by hand, fixed fields together, because a controller
encodes thousands of partitions at once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from kafka_cy.protocol.decoder import ELEMENTS_MAX, Cursor, MalformedRequest, TooManyElements
from kafka_cy.protocol.encoder import write_varint

_STRING_BYTES_MAX = 0x7FFF
_TAGS_MAX = 1_000
_NO_ID = bytes(16)
_int8, _int16, _int32 = struct.Struct(">b"), struct.Struct(">h"), struct.Struct(">i")


class Output(bytearray):
    """The bytes of one message. `flexible`: of a version with compact lengths and tags."""

    def __init__(self, flexible: bool) -> None:
        super().__init__()
        self.flexible = flexible

    def string(self, text: str | None) -> None:
        """Append a string; None is null."""
        if text is None:
            self += b"\0" if self.flexible else b"\xff\xff"
            return
        raw = text.encode()
        if self.flexible:
            write_varint(self, len(raw) + 1)
        else:
            self += _int16.pack(len(raw))
        self += raw

    def topic_id(self, value: UUID | None) -> None:
        """Append an id; None is the zero id."""
        self += _NO_ID if value is None else value.bytes

    def array_length(self, elements: int) -> None:
        """Append the length of an array."""
        if self.flexible:
            write_varint(self, elements + 1)
        else:
            self += _int32.pack(elements)

    def int32s(self, values: Sequence[int]) -> None:
        """Append an array of int32."""
        self.array_length(len(values))
        self += struct.pack(f">{len(values)}i", *values)

    def no_tags(self) -> None:
        """End a struct that has no tagged fields; nothing in a version without tags."""
        if self.flexible:
            self.append(0)

    def topic(self, name: str, topic_id: UUID | None, partitions: Sequence[bytes], *, with_id: bool) -> None:
        """Append a topic with partitions that are encoded already. `with_id`: of a version with topic ids."""
        self.string(name)
        if with_id:
            self.topic_id(topic_id)
        self.array_length(len(partitions))
        self += b"".join(partitions)
        self.no_tags()

    def topics(
        self, topics: Sequence[Any], encode: Callable[[Any], bytes], *, with_topics: bool = True, with_ids: bool = False
    ) -> None:
        """Append partitions, which `encode` makes: in their topics, or, in a version without topics, each with its topic's name."""
        if with_topics:
            self.array_length(len(topics))
            for topic in topics:
                topic_id = topic.topic_id if with_ids else None
                self.topic(topic.topic, topic_id, [encode(each) for each in topic.partitions], with_id=with_ids)
            return
        self.array_length(sum(len(topic.partitions) for topic in topics))
        for topic in topics:
            for each in topic.partitions:
                self.string(topic.topic)
                self += encode(each)

    def tags(self, fields: Iterable[tuple[int, bytes]]) -> None:
        """End a struct with these tagged fields, in ascending order."""
        written = list(fields)
        write_varint(self, len(written))
        for tag, data in written:
            write_varint(self, tag)
            write_varint(self, len(data))
            self += data


class Input(Cursor):
    """A position in the bytes of one message. Every method raises MalformedRequest rather than read past the end.

    `elements_max` bounds the elements of all arrays together (TooManyElements).
    """

    __slots__ = ("flexible",)

    def __init__(self, data: bytes, flexible: bool, elements_max: int = ELEMENTS_MAX) -> None:
        super().__init__(data, elements_max=elements_max)
        self.flexible = flexible

    def fixed(self, form: struct.Struct) -> tuple[int, ...]:
        """Read fields of fixed width."""
        start = self.position
        if form.size > self.end - start:
            raise MalformedRequest(f"truncated at {start}")
        self.position = start + form.size
        return form.unpack_from(self.data, start)

    def int8(self) -> int:
        """Read an int8."""
        return self.fixed(_int8)[0]

    def int16(self) -> int:
        """Read an int16."""
        return self.fixed(_int16)[0]

    def int32(self) -> int:
        """Read an int32."""
        return self.fixed(_int32)[0]

    def boolean(self) -> bool:
        """Read a bool."""
        return self.int8() != 0

    def nullable_string(self) -> str | None:
        """Read a string or null."""
        size = self.varint() - 1 if self.flexible else self.int16()
        if size < 0:
            return None
        if size > _STRING_BYTES_MAX:
            raise MalformedRequest(f"a string of {size} bytes, more than {_STRING_BYTES_MAX}")
        return self.take(size).decode(errors="replace")

    def string(self) -> str:
        """Read a string that is not null."""
        text = self.nullable_string()
        if text is None:
            raise MalformedRequest("null instead of a string")
        return text

    def topic_id(self) -> UUID | None:
        """Read an id; the zero id is None."""
        raw = self.take(16)
        return None if raw == _NO_ID else UUID(bytes=raw)

    def array_length(self, element_bytes_min: int) -> int:
        """Read the length of an array whose elements take at least so many bytes each."""
        elements = self.varint() - 1 if self.flexible else self.int32()
        if elements < 0 or elements * element_bytes_min > self.end - self.position:
            raise MalformedRequest(f"array of {elements} elements in {self.end - self.position} bytes")
        self.elements_left -= elements
        if self.elements_left < 0:
            raise TooManyElements("more array elements than kafkacy.control.request.max.elements")
        return elements

    def int32s(self) -> tuple[int, ...]:
        """Read an array of int32."""
        elements = self.array_length(4)
        return struct.unpack(f">{elements}i", self.take(4 * elements))

    def skip_tags(self) -> None:
        """Skip the tag section of a struct without known tags; nothing in a version without tags."""
        if self.flexible:
            self.tags()

    def tags(self) -> dict[int, bytes]:
        """Read a tag section: the bytes by tag."""
        found: dict[int, bytes] = {}
        count, previous = self.varint(), -1
        if count > _TAGS_MAX:
            raise MalformedRequest(f"{count} tagged fields")
        for _ in range(count):
            tag = self.varint()
            if tag <= previous:
                raise MalformedRequest(f"tag {tag} after tag {previous}")
            previous = tag
            found[tag] = self.take(self.varint())
        return found
