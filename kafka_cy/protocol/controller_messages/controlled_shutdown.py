"""ControlledShutdown: a broker that shuts down asks the controller to move its leaders. Versions 0 to 3."""

from __future__ import annotations

import struct
from typing import NamedTuple

from kafka_cy.protocol.controller_messages.wire import Input, Output
from kafka_cy.protocol.decoder import ELEMENTS_MAX

API_KEY = 7
VERSIONS = range(4)
FLEXIBLE_FROM = 3
_epoch = struct.Struct(">q")


class ControlledShutdownRequest(NamedTuple):
    """`broker_epoch` is -1 before version 2."""

    broker_id: int
    broker_epoch: int = -1

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(version >= FLEXIBLE_FROM)
        out += struct.pack(">i", self.broker_id)
        if version >= 2:
            out += _epoch.pack(self.broker_epoch)
        out.no_tags()
        return bytes(out)

    @classmethod
    def decode(cls, version: int, data: bytes, elements_max: int = ELEMENTS_MAX) -> ControlledShutdownRequest:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, version >= FLEXIBLE_FROM, elements_max)
        broker_id = given.int32()
        broker_epoch = given.fixed(_epoch)[0] if version >= 2 else -1
        given.skip_tags()
        return cls(broker_id, broker_epoch)


class RemainingPartition(NamedTuple):
    """A partition that the broker still leads."""

    topic: str
    partition: int


class ControlledShutdownResponse(NamedTuple):
    """`remaining_partitions`: the broker asks again later if there are any."""

    error_code: int
    remaining_partitions: tuple[RemainingPartition, ...] = ()

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(version >= FLEXIBLE_FROM)
        out += struct.pack(">h", self.error_code)
        out.array_length(len(self.remaining_partitions))
        for topic, partition in self.remaining_partitions:
            out.string(topic)
            out += struct.pack(">i", partition)
            out.no_tags()
        out.no_tags()
        return bytes(out)

    @classmethod
    def decode(cls, version: int, data: bytes, elements_max: int = ELEMENTS_MAX) -> ControlledShutdownResponse:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, version >= FLEXIBLE_FROM, elements_max)
        error_code = given.int16()
        remaining = []
        for _ in range(given.array_length(5)):
            remaining.append(RemainingPartition(given.string(), given.int32()))
            given.skip_tags()
        given.skip_tags()
        return cls(error_code, tuple(remaining))
