"""AllocateProducerIds: a broker asks the controller for a block of producer ids (KIP-730). Version 0."""

from __future__ import annotations

import struct
from typing import NamedTuple

from kafka_cy.protocol.controller_messages.wire import Input, Output
from kafka_cy.protocol.decoder import ELEMENTS_MAX

API_KEY = 67
VERSIONS = range(1)
FLEXIBLE_FROM = 0
_request = struct.Struct(">iq")
_response = struct.Struct(">ihqi")


class AllocateProducerIdsRequest(NamedTuple):
    """The broker and its broker epoch."""

    broker_id: int
    broker_epoch: int

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(True)
        out += _request.pack(*self)
        out.no_tags()
        return bytes(out)

    @classmethod
    def decode(cls, version: int, data: bytes, elements_max: int = ELEMENTS_MAX) -> AllocateProducerIdsRequest:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, True, elements_max)
        request = cls(*given.fixed(_request))
        given.skip_tags()
        return request


class AllocateProducerIdsResponse(NamedTuple):
    """The first id of the block and how many there are."""

    error_code: int
    producer_id_start: int = 0
    producer_id_len: int = 0
    throttle_time_ms: int = 0

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(True)
        out += _response.pack(self.throttle_time_ms, self.error_code, self.producer_id_start, self.producer_id_len)
        out.no_tags()
        return bytes(out)

    @classmethod
    def decode(cls, version: int, data: bytes, elements_max: int = ELEMENTS_MAX) -> AllocateProducerIdsResponse:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, True, elements_max)
        throttle_time_ms, error_code, start, length = given.fixed(_response)
        given.skip_tags()
        return cls(error_code, start, length, throttle_time_ms)
