"""Requests with as many elements as one may have: what the coordinator's thread looks at, and in how large pieces."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import join_group
from kafka_cy.coordinator.classic.limits import PROTOCOLS_MAX
from kafka_cy.protocol.errors import ErrorCode


class Counted(tuple[Any, ...]):
    """An array of a request; `looks` counts its elements that were read."""

    looks = 0

    def __iter__(self) -> Iterator[Any]:
        for each in super().__iter__():
            self.looks += 1
            yield each


class Asked:
    """A request whose sender has all rights or none."""

    def __init__(self, version: int, allowed: bool = True, **body: Any) -> None:
        self.body, self.api_version, self.allowed = SimpleNamespace(**body), version, allowed
        self.client_id, self.client_host = "me", "127.0.0.1"
        self.authorizer: Any = object()
        self.responses: list[Any] = []
        self.respond = self.responses.append

    def end_turn(self) -> None:
        """Its turn among the long requests ends."""


@pytest.fixture(autouse=True)
def rights(monkeypatch: pytest.MonkeyPatch) -> None:
    def may_group(request: Asked, operation: object, group_id: str) -> bool:
        return request.allowed

    monkeypatch.setattr(join_group, "may_group", may_group)


# -- JoinGroup --


def join(count: int, allowed: bool = True) -> tuple[Asked, list[Any]]:
    second = timedelta(seconds=10)
    protocols = Counted(SimpleNamespace(name=f"p{number}", metadata=b"") for number in range(count))
    request: Any = Asked(
        9, allowed, group_id="g", member_id="m", group_instance_id=None, session_timeout=second, rebalance_timeout=second,
        protocol_type="consumer", protocols=protocols, reason=None,
    )  # fmt: skip
    joined: list[Any] = []
    context: Any = SimpleNamespace(groups=SimpleNamespace(classic=SimpleNamespace(join=lambda join, respond: joined.append(join))))
    join_group.handle(request, context)
    return request, joined


def test_a_join_with_too_many_protocols_is_refused_before_they_are_copied() -> None:
    request, joined = join(PROTOCOLS_MAX + 1)
    assert request.body.protocols.looks == 0 and not joined
    assert [each["error_code"] for each in request.responses] == [ErrorCode.INCONSISTENT_GROUP_PROTOCOL]
    assert request.responses[0]["member_id"] == "m"
    _, joined = join(PROTOCOLS_MAX)
    assert len(joined[0].protocols) == PROTOCOLS_MAX


def test_the_protocols_of_a_join_without_the_right_are_not_copied() -> None:
    request, joined = join(PROTOCOLS_MAX, allowed=False)
    assert request.body.protocols.looks == 0 and not joined
    assert [each["error_code"] for each in request.responses] == [ErrorCode.GROUP_AUTHORIZATION_FAILED]
