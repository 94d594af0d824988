"""Settings, quotas and credentials that a broker of a cluster changes: of what ZooKeeper holds, not of what it has heard."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from control_fakes import KeptRequest, make_context, start
from differential_cases import TOPIC
from differential_cases import alter as alter_configs
from differential_security import alter_scram, deletion, upsertion
from test_change_pieces import Turns, configs, quota, quotas

from kafka_cy.api import member_settings
from kafka_cy.base import slices
from kafka_cy.base.slices import Slices
from kafka_cy.cluster import znodes
from kafka_cy.cluster.config_writer import ConfigWriter
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.store import Create, StoreError
from kafka_cy.cluster.znode_formats import decode_config
from kafka_cy.protocol.errors import ErrorCode

REPLACE, CONFIGS, QUOTAS, SCRAM = 33, 44, 49, 51
HANDLERS: dict[int, Any] = {
    REPLACE: member_settings.alter, CONFIGS: member_settings.alter_incrementally,
    QUOTAS: member_settings.alter_quotas, SCRAM: member_settings.alter_credentials,
}  # fmt: skip
ROWS = {REPLACE: "responses", CONFIGS: "responses", QUOTAS: "entries", SCRAM: "results"}
MECHANISM = "SCRAM-SHA-256"


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
        self.lines: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.context.loop = Turns()
        self.context.slices = Slices(self.context.loop, pytest.fail)
        self.context.log = SimpleNamespace(
            info=lambda what, **details: self.lines.append(details), warning=lambda *_, **__: None,
            repeated=lambda level, what, details: self.warnings.append(what),
        )  # fmt: skip
        self.context.member = SimpleNamespace(controller=SimpleNamespace(is_active=True))
        self.context.config_changes = ConfigWriter(self.store, cache, lambda *_: None, cache.put_config)

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
        CONFIGS: member.start(CONFIGS, configs(*names)),
    }
    assert not any(request.responses for request in requests.values()) and member.lines == []
    member.store.speak()
    member.context.loop.run_all()
    for api_key, request in requests.items():
        assert errors(api_key, request) == [0] * count
    assert len(member.lines) >= 3 and len(member.store.children(znodes.CONFIG_CHANGES)) == 3 * count


def test_a_fault_closes_the_connection(member: Member) -> None:
    member.store.fault = StoreError("no")
    request = member.start(QUOTAS, quotas(quota("u"), quota("v")))
    assert request.responses == [] and "could not be stored" in request.control.reason  # type: ignore[attr-defined]
    assert member.store.config("users/v") == {"producer_byte_rate": "1"} and len(member.lines) == 1
