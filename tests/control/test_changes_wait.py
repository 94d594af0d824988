"""ACLs and delegation tokens of a cluster whose ZooKeeper does not answer: clients do not wait for ever, and not many do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from control_fakes import KeptRequest, start
from differential_security import acl, acl_filter
from test_acl_apis import KeptLog, Slices
from token_broker import TokenBroker

from kafka_cy.authorizer.authorizer import Authorizer
from kafka_cy.cluster.acl_store import StoredAcls
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.store import OutcomeUnknown, StoreBroken
from kafka_cy.server import client_requests
from kafka_cy.server.client_requests import REQUEST_BYTES, ClientRequests

CREATE_ACLS, DELETE_ACLS, CREATE_TOKEN, RENEW_TOKEN, EXPIRE_TOKEN = 30, 31, 38, 39, 40
ALL = (CREATE_ACLS, DELETE_ACLS, CREATE_TOKEN, RENEW_TOKEN, EXPIRE_TOKEN)
TIMED_OUT = 7
HOUR_MS = 3_600_000


class Absent(EmbeddedStore):
    """Answers nothing while it is away."""

    def __init__(self) -> None:
        super().__init__(None)
        self.is_away = False
        self.held: list[Callable[[], object]] = []

    def read(self, requests: Any, done: Any) -> None:
        if self.is_away:
            self.held.append(lambda: self.read(requests, done))
        else:
            super().read(requests, done)

    def submit(self, operations: Any, done: Any) -> None:
        if self.is_away:
            self.held.append(lambda: self.submit(operations, done))
        else:
            super().submit(operations, done)

    def come_back(self) -> None:
        self.is_away = False
        while self.held:
            self.held.pop(0)()


class Member:
    """A broker of a cluster, with an ACL and a token."""

    def __init__(self) -> None:
        self.store = Absent()
        self.tokens = TokenBroker(self.store, is_alone=False)
        self.context = self.tokens.context
        self.context.slices = Slices()
        self.log = self.context.log = KeptLog()
        authorizer = Authorizer("User:admin")
        self.acls = self.context.acls = StoredAcls(
            self.store, authorizer, is_alone=False, wall_clock_ms=lambda: 0, call_later=lambda *_: None, log=self.log
        )
        self.acls.load(self.store)
        self.acls.start()
        self.timers: list[tuple[float, Callable[[], object]]] = []
        clock: Any = SimpleNamespace(now=lambda: 0.0, call_later=self._call_later)
        self.requests = ClientRequests(clock, 30_000)
        self.context.member = SimpleNamespace(requests=self.requests)
        self.asked = 0
        self.ask(CREATE_ACLS)
        self.hmac = self.ask(CREATE_TOKEN).responses[0]["hmac"]
        self.log.lines.clear()
        self.store.is_away = True

    def _call_later(self, delay_s: float, function: Callable[[], object]) -> Any:
        timer = (delay_s, function)
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer) if timer in self.timers else None)

    def ask(self, api_key: int, acls: int = 1) -> KeptRequest:
        self.asked += 1
        body: dict[str, Any] = {
            CREATE_ACLS: lambda: {"creations": [acl(name=f"t{self.asked}-{number}") for number in range(acls)]},
            DELETE_ACLS: lambda: {"filters": [acl_filter()] * acls},
            CREATE_TOKEN: lambda: {
                "owner_principal_type": None, "owner_principal_name": None, "renewers": [], "max_lifetime": HOUR_MS
            },
            RENEW_TOKEN: lambda: {"hmac": self.hmac, "renew_period": HOUR_MS // 2},
            EXPIRE_TOKEN: lambda: {"hmac": self.hmac, "expiry_time_period": -1},
        }[api_key]()  # fmt: skip
        return start(self.context, api_key, 3 if api_key <= CREATE_TOKEN else 2, body, user="admin")

    @property
    def state(self) -> tuple[Any, ...]:
        acls = {resource: self.acls.authorizer.entries(resource) for resource in self.acls.authorizer.resources()}
        return acls, self.tokens.cache.all()


@pytest.fixture
def member() -> Member:
    return Member()


def errors(response: Mapping[str, Any]) -> set[int]:
    rows = response.get("results", response.get("filter_results", [response]))
    return {int(each["error_code"]) for each in rows}


@pytest.mark.parametrize("api_key", ALL)
def test_a_client_is_answered_after_the_time_out_of_the_broker(member: Member, api_key: int) -> None:
    before = member.state
    request = member.ask(api_key)
    assert request.responses == [] and member.requests.count == 1 and request.body is None, "its size is not known"
    ((delay_s, over),) = member.timers
    member.timers.clear()
    over()
    (response,) = request.responses
    assert delay_s == 30 and errors(response) == {TIMED_OUT}
    assert member.requests.count == 1 and member.state == before and member.log.lines == [], "ZooKeeper may take it yet"
    member.store.come_back()
    assert (member.requests.count, member.requests.bytes, member.timers) == (0, 0, [])
    assert request.responses == [response] and request.control.reason is None  # type: ignore[attr-defined]
    assert member.state != before and len(member.log.lines) == 1


@pytest.mark.parametrize("api_key", ALL)
def test_a_change_whose_answer_is_lost_is_told(member: Member, api_key: int) -> None:
    """It is found when it is looked for: the client hears that it is made, and so does the operator."""
    before, submit = member.state, member.store.submit

    def lose(operations: Any, done: Any) -> None:
        member.store.submit = submit  # type: ignore[method-assign]
        submit(operations, lambda *_: done(None, OutcomeUnknown("lost")))

    member.store.submit = lose  # type: ignore[method-assign]
    member.store.is_away = False
    (response,) = member.ask(api_key).responses
    assert errors(response) == {0} and member.state != before and len(member.log.lines) == 1
    if api_key == DELETE_ACLS:
        assert len(response["filter_results"][0]["matching_acls"]) == 1


@pytest.mark.parametrize("api_key", ALL)
def test_too_many_requests_are_refused(member: Member, monkeypatch: pytest.MonkeyPatch, api_key: int) -> None:
    monkeypatch.setattr(client_requests, "REQUESTS_MAX", 3)
    waiting = [member.ask(api_key) for _ in range(3)]
    held = len(member.store.held)
    refused = member.ask(api_key)
    assert errors(refused.responses[0]) == {TIMED_OUT} and len(member.store.held) == held, "nothing is asked for"
    assert member.log.lines == ["too many requests of clients wait for the controller: others are refused"]
    member.store.come_back()
    assert all(errors(each.responses[0]) != {TIMED_OUT} for each in waiting) and member.requests.count == 0


@pytest.mark.parametrize("api_key", [CREATE_ACLS, DELETE_ACLS])
def test_large_requests_are_refused_by_their_bytes(member: Member, monkeypatch: pytest.MonkeyPatch, api_key: int) -> None:
    monkeypatch.setattr(client_requests, "BYTES_MAX", 200_000)
    first = member.ask(api_key, 200)
    assert member.requests.bytes > 100_000 + REQUEST_BYTES
    refused = member.ask(api_key, 200)
    assert len(refused.responses[0].get("results", refused.responses[0].get("filter_results"))) == 200
    assert errors(refused.responses[0]) == {TIMED_OUT} and first.responses == []
    member.store.come_back()
    assert errors(first.responses[0]) == {0} and member.requests.bytes == 0


@pytest.mark.parametrize("api_key", ALL)
@pytest.mark.parametrize("is_over", [False, True])
def test_a_fault_ends_the_place(member: Member, api_key: int, is_over: bool) -> None:
    request = member.ask(api_key)
    if is_over:
        member.timers.pop()[1]()
    member.store.submit = lambda operations, done: done(None, StoreBroken("disk"))  # type: ignore[method-assign]
    member.store.read = lambda requests, done: done(None, StoreBroken("disk"))  # type: ignore[method-assign]
    held, member.store.held = member.store.held, []
    member.store.is_away = False
    for each in held:
        each()
    assert (member.requests.count, member.requests.bytes, member.timers) == (0, 0, [])
    reason = request.control.reason  # type: ignore[attr-defined]
    assert reason is None if is_over else "disk" in reason


def test_a_broker_by_itself_has_no_limit(member: Member) -> None:
    member.context.member = None
    requests = [member.ask(api_key) for api_key in ALL]
    assert member.timers == []
    member.store.come_back()
    assert all(errors(each.responses[0]) == {0} for each in requests)
