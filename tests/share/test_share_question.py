"""What reactors ask about acknowledgements: each change has its answer."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import share_question
from kafka_cy.protocol.errors import ErrorCode


def test_a_fault_in_one_change_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_question, "take_changes", lambda handle: [(number, number) for number in range(4)])
    waiting: list[Callable[[ErrorCode], object]] = []
    faults: list[Exception] = []
    answers: list[bytes] = []

    def store(number: int, change: Any, respond: Callable[[ErrorCode], object]) -> None:
        if number == 1:
            raise RuntimeError("a fault")
        if number == 2:
            respond(ErrorCode.INVALID_REQUEST)
            raise RuntimeError("a fault after the answer")
        waiting.append(respond)

    runtime = SimpleNamespace(on_fault=faults.append)
    share = SimpleNamespace(partitions=SimpleNamespace(store=store), coordinator=SimpleNamespace(runtime=runtime))
    control: Any = SimpleNamespace(body=b"", respond=answers.append)
    share_question.answer(control, SimpleNamespace(share=share))  # type: ignore[arg-type]
    assert len(faults) == 2 and answers == []
    for respond in waiting:
        respond(ErrorCode.NONE)
    assert [struct.unpack(">4h", each) for each in answers] == [(0, -1, 42, 0)]
