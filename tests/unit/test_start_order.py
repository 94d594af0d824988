"""A broker serves clients only when it knows what decides about them."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_cy.server import broker as broker_module
from kafka_cy.server.broker import RUNNING, KafkaServer


class Started(KafkaServer):
    """A broker whose steps are only recorded."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.arrangement = self

    def __getattribute__(self, name: str) -> Any:
        if name in ("_listen", "_load_metadata", "_start_logs", "_publish", "_serve", "join"):
            return lambda: self.done.append(name.removeprefix("_"))
        return super().__getattribute__(name)


def test_clients_are_served_after_what_is_stored_was_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """`publish` of a member ends when the ACLs, settings and delegation tokens of now are known (test_stored_configs.py)."""
    monkeypatch.setattr(broker_module, "start_authorizer", lambda broker: broker.done.append("start_authorizer"))
    broker: Any = Started()
    broker.start()
    assert broker.done == ["start_authorizer", "listen", "load_metadata", "start_logs", "publish", "serve", "join"]
    assert broker.state == RUNNING
