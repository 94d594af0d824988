"""Requests of the controller to one broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.controller.channels import Channels, ControlRequest
from kafka_cy.protocol.controller_messages.update_metadata import API_KEY, UpdateMetadataResponse


class Transport:
    """A broker whose answers the test gives."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []  # bodies, and who gets the answer

    def send(self, broker: Any, api_key: int, version: int, body: bytes, done: Any) -> None:
        self.sent.append((body, done))


def test_an_answer_that_cannot_be_understood_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_cy.controller.channels.QUEUED_BYTES_MAX", 50)
    transport, lines, too_many = Transport(), [], []
    around: Any = SimpleNamespace(transport=transport, warning=lines.append, info=lines.append)
    channels = Channels(around, too_many.append)
    channels.add(SimpleNamespace(id=7))  # type: ignore[arg-type]
    for number in range(2):
        body = b"%d" % number
        channels.put(7, ControlRequest(API_KEY, 7, body, lambda answer: UpdateMetadataResponse.decode(7, answer)))
    transport.sent[0][1](b"\x00")
    assert [body for body, _ in transport.sent] == [b"0", b"1"] and len(lines) == 1 and "broker 7 answers what" in lines[0]

    def fails(answer: bytes) -> None:
        raise KeyError(answer)

    for _ in range(10):
        channels.put(7, ControlRequest(API_KEY, 7, bytes(10), fails))
    transport.sent[1][1](b"\x00")
    assert too_many == [7]
    channels.put(7, ControlRequest(API_KEY, 7, b"2", fails))
    channels.put(7, ControlRequest(API_KEY, 7, b"3", fails))
    with pytest.raises(KeyError):
        transport.sent[2][1](b"")
    assert [body for body, _ in transport.sent] == [b"0", b"1", b"2", b"3"]
