"""Requests that change many topics, users, quotas or settings: others are served in between, and each changes as a whole."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from control_fakes import call, make_context, start
from differential_cases import GROUP
from differential_cases import alter as alter_configs
from differential_security import alter_scram, deletion, upsertion

from kafka_cy.api import alter_client_quotas
from kafka_cy.api.change_pieces import PIECE_ENTITIES
from kafka_cy.base import slices
from kafka_cy.base.slices import Slices
from kafka_cy.cluster.features import FinalizedFeatures
from kafka_cy.cluster.store import StoreBroken
from kafka_cy.cluster.topic_changes import PIECE_PARTITIONS

SCRAM, QUOTAS, CONFIGS, RESOURCE_NOT_FOUND, INVALID_REQUEST = 51, 49, 44, 91, 42
CREATE, DELETE, EXTEND = 19, 20, 37
UNKNOWN_TOPIC, TOPIC_EXISTS, INVALID_PARTITIONS = 3, 36, 37
COUNT = 10 * PIECE_ENTITIES


class Turns:
    """A loop whose turns the test runs."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], object]] = deque()

    def call_later(self, delay_s: float, function: Callable[..., object], *arguments: Any) -> None:
        self.waiting.append(partial(function, *arguments))

    def call_soon_threadsafe(self, function: Callable[..., object], *arguments: Any) -> None:
        self.waiting.append(partial(function, *arguments))

    def run_one(self) -> None:
        self.waiting.popleft()()

    def run_all(self) -> None:
        while self.waiting:
            self.run_one()


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One step in each turn of the loop."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    made: Any = make_context()
    made.cluster.features = FinalizedFeatures({"metadata.version": 30}, 1)
    made.loop = Turns()
    made.slices = Slices(made.loop, pytest.fail)
    return made


def quota(name: str, value: float = 1.0, kind: str = "user") -> dict[str, Any]:
    ops = [{"key": "producer_byte_rate" if kind == "user" else "connection_creation_rate", "value": value, "remove": False}]
    return {"entity": [{"entity_type": kind, "entity_name": name}], "ops": ops}


def quotas(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"entries": list(entries), "validate_only": False}


def configs(*groups: str) -> dict[str, Any]:
    each = [alter_configs(GROUP, name, ("consumer.session.timeout.ms", 0, "50000"))["resources"][0] for name in groups]
    return {"resources": each, "validate_only": False}


def names(prefix: str) -> list[str]:
    return [f"{prefix}{number}" for number in range(COUNT)]


@pytest.mark.parametrize(
    ("api_key", "body"),
    [
        (SCRAM, alter_scram(*(upsertion(name) for name in names("u")))),
        (QUOTAS, quotas(*(quota(name) for name in names("u")))),
        (CONFIGS, configs(*names("u"))),
    ],
)
def test_others_are_served_in_between(context: Any, api_key: int, body: dict[str, Any]) -> None:
    def stored() -> int:
        return len(context.cluster.config_entities("groups" if api_key == CONFIGS else "users"))

    request = start(context, api_key, 0 if api_key == SCRAM else 1, body)
    known = [stored()]
    while context.loop.waiting:
        context.loop.run_one()
        known.append(stored())
    assert known[-1] == COUNT and max(after - before for before, after in zip([0, *known], known, strict=False)) == PIECE_ENTITIES
    (response,) = request.responses
    rows = response[{SCRAM: "results", QUOTAS: "entries", CONFIGS: "responses"}[api_key]]
    assert len(rows) == COUNT and {int(row["error_code"]) for row in rows} == {0}


def test_a_user_that_is_named_twice_is_not_changed(context: Any) -> None:
    """The second mention comes last, long after the first piece could have been stored."""
    request = start(context, SCRAM, 0, alter_scram(*(upsertion(name) for name in [*names("u"), "u0"])))
    context.loop.run_all()
    assert [row["user"] for row in request.responses[0]["results"] if row["error_code"]] == ["u0"]
    assert context.cluster.config("users", "u0") == {} and len(context.cluster.config_entities("users")) == COUNT - 1


def test_a_credential_that_another_request_removes_meanwhile_does_not_exist(context: Any) -> None:
    start(context, SCRAM, 0, alter_scram(*(upsertion(name) for name in names("u"))))
    context.loop.run_all()
    request = start(context, SCRAM, 0, alter_scram(delete=[deletion(name) for name in names("u")]))
    last = names("u")[-1]
    while len(context.cluster.config_entities("users")) == COUNT:
        context.loop.run_one()
    call(context, SCRAM, 0, alter_scram(delete=[deletion(last)]))
    context.loop.run_all()
    wrong = [(row["user"], int(row["error_code"])) for row in request.responses[0]["results"] if row["error_code"]]
    assert wrong == [(last, RESOURCE_NOT_FOUND)] and context.cluster.config_entities("users") == []


def test_an_entity_that_is_named_twice_has_the_first_quota(context: Any) -> None:
    request = start(context, QUOTAS, 1, quotas(*(quota(name) for name in names("u")), quota("u0", 2.0)))
    context.loop.run_all()
    wrong = [row["entity"][0]["entity_name"] for row in request.responses[0]["entries"] if row["error_code"] == INVALID_REQUEST]
    assert wrong == ["u0"] and context.cluster.quotas[("user", "u0"),] == {"producer_byte_rate": 1.0}


def test_many_hosts_wait_for_their_addresses(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[set[str], Callable[[dict[str, set[bytes]]], object]]] = []
    lookups = SimpleNamespace(add=lambda hosts, done: asked.append((set(hosts), done)) or True)
    monkeypatch.setattr(alter_client_quotas, "_lookups", lookups)
    request = start(context, QUOTAS, 1, quotas(*(quota(name, kind="ip") for name in names("host"))))
    context.loop.run_all()
    ((hosts, done),) = asked
    assert hosts == set(names("host")) and request.responses == []
    done({host: {b"\x7f\0\0\1"} if host != "host0" else set() for host in hosts})
    context.loop.run_all()
    wrong = [row["entity"][0]["entity_name"] for row in request.responses[0]["entries"] if row["error_code"]]
    assert wrong == ["host0"] and len(context.cluster.quotas) == COUNT - 1


def test_a_broken_store_ends_the_request(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored before stays; nothing is answered."""
    request = start(context, SCRAM, 0, alter_scram(*(upsertion(name) for name in names("u"))))
    request.fail = lambda failed, error: failed.close(repr(error))
    while not context.cluster.config_entities("users"):
        context.loop.run_one()
    monkeypatch.setattr(context.config_changes, "set_config", lambda *_: (_ for _ in ()).throw(StoreBroken("full")))
    context.loop.run_all()
    assert request.responses == [] and request.control.reason == "StoreBroken('full')"  # type: ignore[attr-defined]
    assert len(context.cluster.config_entities("users")) == PIECE_ENTITIES


# -- topics --


def creation(names: list[str], partitions: int = 1) -> dict[str, Any]:
    topics = [
        {"name": name, "num_partitions": partitions, "replication_factor": 1, "assignments": [], "configs": []} for name in names
    ]
    return {"topics": topics, "timeout": 1000, "validate_only": False}


def extension(names: list[str], count: int = 2) -> dict[str, Any]:
    topics = [{"name": name, "count": count, "assignments": None} for name in names]
    return {"topics": topics, "timeout": 1000, "validate_only": False}


def deletion_of(names: list[str]) -> dict[str, Any]:
    return {"topics": [{"name": name, "topic_id": None} for name in names], "timeout": 1000}


def partitions_in(context: Any) -> int:
    return sum(len(topic.partitions) for topic in context.cluster.all_topics())


def run_counted(context: Any) -> list[int]:
    """How many partitions each turn changes."""
    known = [partitions_in(context)]
    while context.loop.waiting:
        context.loop.run_one()
        known.append(partitions_in(context))
    return [abs(after - before) for before, after in itertools.pairwise(known)]


def test_others_are_served_while_many_topics_change(context: Any) -> None:
    many = names("t")
    request = start(context, CREATE, 7, creation(many, 3))
    assert max(run_counted(context)) == 3 * PIECE_ENTITIES
    rows = request.responses[0]["topics"]
    assert [row["name"] for row in rows] == many and {int(row["error_code"]) for row in rows} == {0}
    assert all(len(row["configs"]) > 20 and row["num_partitions"] == 3 for row in rows)
    request = start(context, EXTEND, 3, extension(many, 13))
    assert max(run_counted(context)) == PIECE_PARTITIONS // 10 * 10, "ten are added to each"
    assert [(row["name"], int(row["error_code"])) for row in request.responses[0]["results"]] == [(name, 0) for name in many]
    request = start(context, DELETE, 6, deletion_of(many))
    assert max(run_counted(context)) == PIECE_PARTITIONS // 13 * 13
    assert {int(row["error_code"]) for row in request.responses[0]["responses"]} == {0} and context.cluster.topics == {}


def test_a_topic_with_many_partitions_is_a_piece_of_its_own(context: Any) -> None:
    start(context, CREATE, 7, creation(["a", "b", "c", "d", "e"], PIECE_PARTITIONS + 1))
    assert set(run_counted(context)) <= {0, PIECE_PARTITIONS + 1} and len(context.cluster.topics) == 5


def test_topics_that_another_request_changes_meanwhile(context: Any) -> None:
    many = names("t")
    request = start(context, CREATE, 7, creation(many))
    while not context.cluster.topics:
        context.loop.run_one()
    call(context, CREATE, 7, creation([many[-1]]))
    context.loop.run_all()
    assert [(row["name"], row["error_code"]) for row in request.responses[0]["topics"] if row["error_code"]] == [
        (many[-1], TOPIC_EXISTS)
    ]
    request = start(context, EXTEND, 3, extension(many))
    while len(context.cluster.topics[many[0]].partitions) == 1:
        context.loop.run_one()
    call(context, DELETE, 6, deletion_of([many[-1]]))
    call(context, EXTEND, 3, extension([many[-2]], 3))
    context.loop.run_all()
    assert [(row["name"], row["error_code"]) for row in request.responses[0]["results"] if row["error_code"]] == [
        (many[-2], INVALID_PARTITIONS), (many[-1], UNKNOWN_TOPIC)
    ]  # fmt: skip
    request = start(context, DELETE, 6, deletion_of(many[:-1]))
    while len(context.cluster.topics) == COUNT - 1:
        context.loop.run_one()
    call(context, DELETE, 6, deletion_of([many[-2]]))
    context.loop.run_all()
    assert [(row["name"], row["error_code"]) for row in request.responses[0]["responses"] if row["error_code"]] == [
        (many[-2], UNKNOWN_TOPIC)
    ]


def test_too_many_records_create_nothing(context: Any) -> None:
    request = start(context, CREATE, 7, creation(names("t"), 100))
    context.loop.run_all()
    assert {row["error_code"] for row in request.responses[0]["topics"]} == {44} and context.cluster.topics == {}


@pytest.mark.parametrize(
    ("api_key", "version", "body"),
    [
        (CREATE, 7, creation(["t"])),
        (CONFIGS, 1, configs("u")),
        (SCRAM, 0, alter_scram(upsertion("u"))),
        (QUOTAS, 1, quotas(quota("u"))),
    ],
)
def test_the_lines_of_the_log_name_who_has_logged_in(context: Any, api_key: int, version: int, body: dict[str, Any]) -> None:
    users: list[object] = []
    context.log = SimpleNamespace(info=lambda _text, **details: users.append(details["user"]))
    request = start(context, api_key, version, body, user="admin")
    context.loop.run_all()
    assert len(request.responses) == 1 and users == ["admin"]


@pytest.mark.parametrize(
    ("api_key", "version", "body", "what"),
    [
        (CREATE, 7, creation(names("t")), "topic created"),
        (CONFIGS, 1, configs(*names("u")), "configuration changed"),
        (SCRAM, 0, alter_scram(*(upsertion(name) for name in names("u"))), "SCRAM credential changed"),
        (QUOTAS, 1, quotas(*(quota(name) for name in names("u"))), "client quotas changed"),
    ],
)
def test_what_was_stored_before_a_fault_is_logged(
    context: Any, monkeypatch: pytest.MonkeyPatch, api_key: int, version: int, body: dict[str, Any], what: str
) -> None:
    """What was not stored is not."""
    lines: list[str] = []
    context.log = SimpleNamespace(info=lambda text, **_: lines.append(text), warning=lambda *_, **__: None)
    calls = itertools.count()

    def breaks(changes: Any) -> None:
        if next(calls):
            raise StoreBroken("full")

    monkeypatch.setattr(context.topic_changes._store, "_persist", breaks)
    request = start(context, api_key, version, body)
    request.fail = lambda failed, error: failed.close(repr(error))
    context.loop.run_all()
    assert request.responses == [] and request.control.reason == "StoreBroken('full')"  # type: ignore[attr-defined]
    assert lines == [what] * PIECE_ENTITIES
