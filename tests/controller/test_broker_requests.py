"""Requests of brokers that wait for the controller have a limit of their own: what clients ask for does not count."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.controller.operator_events import Outcome
from kafka_cy.protocol.controller_messages.allocate_producer_ids import AllocateProducerIdsRequest
from kafka_cy.server import member_parts
from kafka_cy.server.member_parts import Member
from tests.controller.cluster import Cluster


class Asking:
    """A member whose controller waits for ZooKeeper until the test lets it go on."""

    def __init__(self) -> None:
        none: Any = None
        self.cluster = Cluster({1: 25})
        self.controller = self.cluster.controller
        self.member = Member(none, none, self.controller, none, 0, none, none)
        self.answers: list[Any] = []
        self.closed: list[str] = []

    def ask(self) -> None:
        request: Any = SimpleNamespace(body=b"", end_turn=lambda: None, close=self.closed.append)
        allocate = partial(self.controller.allocate_producer_ids, done=self.answers.append)
        self.member.ask_controller(request, lambda: AllocateProducerIdsRequest(1, 25), allocate)


def test_too_many_requests_of_brokers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_parts, "BROKER_REQUESTS_MAX", 3)
    asking = Asking()
    created: list[Outcome] = []
    for number in range(10):
        asking.controller.create_topic(f"t{number}", [[1]], {}, created.append)
    for _ in range(5):
        asking.ask()
    assert asking.controller.broker_requests == 3
    assert asking.closed == ["too many requests of brokers wait for the controller"] * 2
    asking.cluster.settle()
    assert len(asking.answers) == 3 and asking.controller.broker_requests == 0 and len(created) == 10
    asking.ask()
    assert asking.controller.broker_requests == 1
    asking.controller.resign()
    assert asking.controller.broker_requests == 0 and len(asking.answers) == 4 and len(asking.closed) == 2
