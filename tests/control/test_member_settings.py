"""Settings, quotas and credentials that a broker of a cluster changes: of what ZooKeeper holds, not of what it has heard."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from control_fakes import KeptRequest, make_context, start
from differential_cases import CLIENT_METRICS, GROUP, TOPIC
from differential_cases import alter as alter_configs
from differential_security import alter_scram, deletion, upsertion
from test_change_pieces import Turns, quota, quotas

from kafka_cy.api import alter_client_quotas, describe_configs, member_settings
from kafka_cy.base import slices
from kafka_cy.base.slices import Slices
from kafka_cy.cluster import znodes
from kafka_cy.cluster.config_writer import AT_ONCE, ConfigWriter
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.store import Create, StoreError
from kafka_cy.cluster.topics import Topic
from kafka_cy.cluster.znode_formats import decode_config
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server import client_requests
from kafka_cy.server.client_requests import ClientRequests

REPLACE, CONFIGS, QUOTAS, SCRAM = 33, 44, 49, 51
HANDLERS: dict[int, Any] = {
    REPLACE: member_settings.alter, CONFIGS: member_settings.alter_incrementally,
    QUOTAS: member_settings.alter_quotas, SCRAM: member_settings.alter_credentials,
}  # fmt: skip
ROWS = {REPLACE: "responses", CONFIGS: "responses", QUOTAS: "entries", SCRAM: "results"}
MECHANISM = "SCRAM-SHA-256"
TIMED_OUT = ErrorCode.REQUEST_TIMED_OUT
REFUSED = "too many requests of clients wait for the controller: others are refused"


def body_of(api_key: int, *names: str) -> dict[str, Any]:
    if api_key in (REPLACE, CONFIGS):
        return settings_of(TOPIC, *names, key="retention.ms")
    if api_key == SCRAM:
        return alter_scram(*(upsertion(name) for name in names))
    return quotas(*(quota(name) for name in names))


def settings_of(kind: int, *names: str, key: str, validate_only: bool = False) -> dict[str, Any]:
    """One setting of each resource, for both requests."""
    settings = [{"name": key, "value": "50000", "config_operation": 0}]
    resources = [{"resource_type": kind, "resource_name": name, "configs": settings} for name in names]
    return {"resources": resources, "validate_only": validate_only}


class ZooKeeper(EmbeddedStore):
    """Answers when the test says so."""

    def __init__(self) -> None:
        super().__init__(None)
        self.held: list[Callable[[], object]] = []
        self.is_silent = False
        self.fault: StoreError | None = None  # of the next change
        types = ("topics", "brokers", "users", "clients", "ips", "groups")
        for path in ("/config", znodes.CONFIG_CHANGES, *(f"/config/{each}" for each in types)):
            self.multi([Create(path)])

    def read(self, requests: Any, done: Any) -> None:
        self._answer(lambda: super(ZooKeeper, self).read(requests, done))

    def submit(self, operations: Any, done: Any) -> None:
        fault, self.fault = self.fault, None
        if fault is not None:
            done(None, fault)
        else:
            self._answer(lambda: super(ZooKeeper, self).submit(operations, done))

    def _answer(self, answer: Callable[[], object]) -> None:
        if self.is_silent:
            self.held.append(answer)
        else:
            answer()

    def speak(self) -> None:
        self.is_silent = False
        while self.held:
            self.held.pop(0)()

    def put(self, entity: str, values: dict[str, str]) -> None:
        """As another broker: the cache of this one does not hear of it."""
        path, data = f"/config/{entity}", znodes.config_data(values)
        if self.find(path) is None:
            self.create(path, data)
        else:
            self.set(path, data)

    def config(self, entity: str) -> dict[str, str]:
        node = self.find(f"/config/{entity}")
        return decode_config(node.data) if node is not None else {}


class Member:
    """A broker whose cache shows only what it has changed itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slices, "SLICE_S", 0.0)
        self.context: Any = make_context({"zookeeper.connect": "h:1", "broker.id": "1"})
        self.context.topic_changes.create_topic("t", [[1]], {"retention.ms": "1"})
        self.store, cache = ZooKeeper(), self.context.cluster
        for name in ("later", "refused", "again", "first", *(f"u{number}" for number in range(40))):
            cache.put_topic(Topic(name, UUID(int=1), []))
        self.lines: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.context.loop = Turns()
        self.context.slices = Slices(self.context.loop, pytest.fail)
        self.context.log = SimpleNamespace(
            info=lambda what, **details: self.lines.append(details), warning=lambda *_, **__: None,
            repeated=lambda level, what, details: self.warnings.append(what),
        )  # fmt: skip
        self.timers: list[tuple[float, Callable[[], object]]] = []
        self.requests = ClientRequests(SimpleNamespace(now=lambda: 0.0, call_later=self._call_later), 30_000)  # type: ignore[arg-type]
        self.context.member = SimpleNamespace(controller=SimpleNamespace(is_active=True), requests=self.requests)
        self.context.config_changes = ConfigWriter(self.store, cache, lambda *_: None, cache.put_config)

    def _call_later(self, delay_s: float, function: Callable[[], object]) -> Any:
        timer = (delay_s, function)
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer) if timer in self.timers else None)

    def time_out(self) -> None:
        """The first timer is due."""
        delay_s, over = self.timers.pop(0)
        assert delay_s == 30
        over()
        self.context.loop.run_all()

    def start(self, api_key: int, body: dict[str, Any]) -> KeptRequest:
        request = start(self.context, api_key, 0 if api_key == SCRAM else 1, body, HANDLERS[api_key])
        self.context.loop.run_all()
        return request

    def errors(self, api_key: int, body: dict[str, Any]) -> list[int]:
        return errors(api_key, self.start(api_key, body))


def errors(api_key: int, request: KeptRequest) -> list[int]:
    (response,) = request.responses
    return [int(row["error_code"]) for row in response[ROWS[api_key]]]


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> Member:
    return Member(monkeypatch)


def test_settings_that_another_broker_has_changed_stay(member: Member) -> None:
    member.store.put("topics/t", {"retention.ms": "2", "cleanup.policy": "compact"})
    assert member.errors(CONFIGS, alter_configs(TOPIC, "t", ("max.message.bytes", 0, "5"))) == [0]
    assert member.store.config("topics/t") == {"retention.ms": "2", "cleanup.policy": "compact", "max.message.bytes": "5"}
    assert member.lines[-1]["set"] == "max.message.bytes=5" and "removed" not in member.lines[-1]
    assert member.context.cluster.config("topics", "t") == member.store.config("topics/t")


def test_lists_are_those_that_are_stored(member: Member) -> None:
    member.store.put("topics/t", {"cleanup.policy": "compact"})
    assert member.errors(CONFIGS, alter_configs(TOPIC, "t", ("cleanup.policy", 2, "delete"))) == [0]
    assert member.store.config("topics/t") == {"cleanup.policy": "compact,delete"}


def test_the_whole_of_what_is_stored_is_validated(member: Member) -> None:
    """The other broker has lowered what the new setting is compared with."""
    member.store.put("topics/t", {"max.compaction.lag.ms": "5000"})
    body = alter_configs(TOPIC, "t", ("min.compaction.lag.ms", 0, "6000"))
    assert member.errors(CONFIGS, body | {"validate_only": True}) == member.errors(CONFIGS, body) == [ErrorCode.INVALID_CONFIG]
    assert member.store.config("topics/t") == {"max.compaction.lag.ms": "5000"}


def test_quotas_and_credentials_of_a_user_leave_each_other(member: Member) -> None:
    member.store.put("users/u", {MECHANISM: "salt", "consumer_byte_rate": "5"})
    assert member.errors(QUOTAS, quotas(quota("u"))) == [0]
    assert member.store.config("users/u") == {MECHANISM: "salt", "consumer_byte_rate": "5", "producer_byte_rate": "1"}
    assert member.lines[-1]["set"] == "producer_byte_rate=1"


def test_a_credential_that_another_broker_has_removed_stays_removed(member: Member) -> None:
    """This broker knows the credential still, and changes a quota of its user."""
    assert member.errors(SCRAM, alter_scram(upsertion("u"))) == [0]
    member.store.put("users/u", {})
    assert member.errors(QUOTAS, quotas(quota("u"))) == [0]
    assert member.store.config("users/u") == {"producer_byte_rate": "1"}
    assert member.errors(SCRAM, alter_scram(delete=[deletion("u")])) == [ErrorCode.RESOURCE_NOT_FOUND]


def test_a_credential_that_another_broker_has_stored_can_be_removed(member: Member) -> None:
    member.store.put("users/u", {MECHANISM: "salt", "producer_byte_rate": "5"})
    assert member.errors(SCRAM, alter_scram(delete=[deletion("u")])) == [0]
    assert member.store.config("users/u") == {"producer_byte_rate": "5"}


def test_replacing_settings_removes_those_of_others(member: Member) -> None:
    member.store.put("topics/t", {"cleanup.policy": "compact"})
    resource = {"resource_type": TOPIC, "resource_name": "t", "configs": [{"name": "retention.ms", "value": "7"}]}
    assert member.errors(REPLACE, {"resources": [resource], "validate_only": False}) == [0]
    assert member.store.config("topics/t") == {"retention.ms": "7"}
    assert member.lines[-1]["removed"] == "cleanup.policy"


@pytest.mark.parametrize("count", [1, 40])
def test_nothing_is_answered_before_it_is_stored(member: Member, count: int) -> None:
    names = [f"u{number}" for number in range(count)]
    member.store.is_silent = True
    requests = {
        SCRAM: member.start(SCRAM, alter_scram(*(upsertion(name) for name in names))),
        QUOTAS: member.start(QUOTAS, quotas(*(quota(name) for name in names))),
        CONFIGS: member.start(CONFIGS, body_of(CONFIGS, *names)),
    }
    assert not any(request.responses for request in requests.values()) and member.lines == []
    member.store.speak()
    member.context.loop.run_all()
    for api_key, request in requests.items():
        assert errors(api_key, request) == [0] * count
    assert len(member.lines) >= 3 and len(member.store.children(znodes.CONFIG_CHANGES)) == 3 * count


@pytest.mark.parametrize("validate_only", [False, True])
@pytest.mark.parametrize("api_key", [REPLACE, CONFIGS])
def test_groups_and_client_metrics_have_no_settings(member: Member, api_key: int, validate_only: bool) -> None:
    """The answers are those of Kafka 3.9 with ZooKeeper. No broker would read what is stored."""
    refusal = "AlterConfigs is only supported for topics and brokers, but resource type is CLIENT_METRICS"
    said = {GROUP: "Unknown resource type 32", CLIENT_METRICS: refusal}
    for (kind, message), key in zip(said.items(), ("consumer.session.timeout.ms", "interval.ms"), strict=True):
        request = member.start(api_key, settings_of(kind, "g", key=key, validate_only=validate_only))
        (row,) = request.responses[0]["responses"]
        assert (row["error_code"], row["error_message"]) == (ErrorCode.INVALID_REQUEST, message)
    assert member.store.children("/config/groups") == member.store.children(znodes.CONFIG_CHANGES) == []
    for kind in said:
        asked = [{"resource_type": each, "resource_name": "t", "configuration_keys": None} for each in (kind, TOPIC)]
        request = start(member.context, 32, 4, {"resources": asked}, describe_configs.handle)
        codes = [row["error_code"] for row in request.responses[0]["results"]]
        assert codes == [ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST if kind == GROUP else ErrorCode.NONE]


def test_a_fault_closes_the_connection(member: Member) -> None:
    member.store.fault = StoreError("no")
    request = member.start(QUOTAS, quotas(quota("u"), quota("v")))
    assert request.responses == [] and "could not be stored" in request.control.reason  # type: ignore[attr-defined]
    assert member.store.config("users/v") == {"producer_byte_rate": "1"} and len(member.lines) == 1


ALL = pytest.mark.parametrize("api_key", [REPLACE, CONFIGS, QUOTAS, SCRAM])


@ALL
@pytest.mark.parametrize("count", [1, 40])
def test_a_client_is_answered_after_the_time_out(member: Member, api_key: int, count: int) -> None:
    """What was not sent by then is not changed later: the client may have changed it through another broker."""
    names = [f"u{number}" for number in range(count)]
    member.store.is_silent = True
    request = member.start(api_key, body_of(api_key, *names))
    assert request.responses == [] and request.body is None and member.requests.count == 1
    member.time_out()
    assert errors(api_key, request) == [TIMED_OUT] * count
    later = member.start(api_key, body_of(api_key, "later"))
    member.store.speak()
    assert errors(api_key, later) == [0] and len(request.responses) == 1
    kind = "users" if api_key in (QUOTAS, SCRAM) else "topics"
    assert member.store.children(f"/config/{kind}") == ["later"] and len(member.lines) == 1
    assert (member.requests.count, member.requests.bytes, member.timers) == (0, 0, [])


def test_what_was_stored_before_the_time_out_is_said(member: Member) -> None:
    """Each change has its own answer; one that was sent and not answered yet is made, and the log tells it."""
    names = [f"u{number}" for number in range(2 * AT_ONCE)]
    member.store.is_silent = True
    request = member.start(QUOTAS, quotas(*(quota(name) for name in names)))
    for _ in range(AT_ONCE):  # reads
        member.store.held.pop(0)()
    member.store.held.pop(0)()  # the first change
    member.time_out()
    assert errors(QUOTAS, request) == [0] + [TIMED_OUT] * (len(names) - 1)
    assert member.requests.count == 1 and member.lines == []
    member.store.speak()
    assert sorted(member.store.children("/config/users")) == sorted(names[:AT_ONCE])
    shown = [line.get("entity") or line["resource"] for line in member.lines]
    assert sorted(shown) == sorted(["user u0", *(f"users {name}" for name in names[1:AT_ONCE])])
    assert (member.requests.count, member.requests.bytes) == (0, 0)


@ALL
def test_too_many_requests_are_refused(member: Member, monkeypatch: pytest.MonkeyPatch, api_key: int) -> None:
    monkeypatch.setattr(client_requests, "REQUESTS_MAX", 3)
    member.store.is_silent = True
    waiting = [member.start(api_key, body_of(api_key, f"u{number}")) for number in range(3)]
    refused = member.start(api_key, body_of(api_key, "refused"))
    assert errors(api_key, refused) == [TIMED_OUT] and member.warnings == [REFUSED]
    member.store.speak()
    assert [errors(api_key, request) for request in waiting] == [[0]] * 3 and member.requests.count == 0
    assert member.errors(api_key, body_of(api_key, "again")) == [0]


def test_requests_are_limited_by_what_they_keep(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request with more changes than there is room for makes those that fit."""
    monkeypatch.setattr(client_requests, "BYTES_MAX", 100_000)
    member.store.is_silent = True
    first = member.start(QUOTAS, body_of(QUOTAS, "first"))
    many = member.start(QUOTAS, body_of(QUOTAS, *(f"u{number}" for number in range(40))))
    assert member.requests.bytes <= 100_000 and len(member.warnings) == 1
    member.store.speak()
    assert errors(QUOTAS, first) == [0] and set(errors(QUOTAS, many)) == {0, TIMED_OUT} and member.requests.bytes == 0


def test_a_request_that_fails_keeps_no_place(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """The changes before the fault are made, and told in the log."""
    member.store.is_silent = True
    calls, checked = itertools.count(), alter_client_quotas.checked_entity
    monkeypatch.setattr(alter_client_quotas, "checked_entity", lambda *each: 1 // (next(calls) < 20) and checked(*each))
    request = start(member.context, QUOTAS, 1, body_of(QUOTAS, *(f"u{number}" for number in range(40))), HANDLERS[QUOTAS])
    request.fail = lambda failed, error: failed.close(repr(error))
    member.context.loop.run_all()
    assert "ZeroDivisionError" in request.control.reason and member.requests.count == 1  # type: ignore[attr-defined]
    member.store.speak()
    assert member.requests.count == 0 and len(member.lines) == 20 and request.responses == []


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("place", ["listener", "outcome"])
def test_a_fault_after_a_change_ends_the_request(
    member: Member, monkeypatch: pytest.MonkeyPatch, place: str, is_late: bool
) -> None:
    """It is told, the client hears of it unless it waits no more, and the request's place is free."""
    if place == "listener":
        member.context.config_changes = ConfigWriter(member.store, member.context.cluster, lambda *_: None, lambda *_: 1 // 0)
    else:
        monkeypatch.setattr(alter_client_quotas, "shown", lambda _: 1 // 0)
    failed: list[Exception] = []
    member.store.is_silent = True
    request = start(member.context, QUOTAS, 1, body_of(QUOTAS, "u"), HANDLERS[QUOTAS])
    request.fail = lambda request, error: (failed.append(error), request.close(repr(error)))
    member.store.held.pop(0)()  # the read
    if is_late:
        member.time_out()
    member.store.speak()
    assert member.store.config("users/u") == {"producer_byte_rate": "1"}
    assert member.requests.count == 0 and member.timers == []
    if is_late:
        assert errors(QUOTAS, request) == [TIMED_OUT]
    else:
        assert request.responses == [] and "ZeroDivisionError" in request.control.reason  # type: ignore[attr-defined]
    assert [type(error) for error in failed] == [ZeroDivisionError] * (place == "listener" or not is_late)
