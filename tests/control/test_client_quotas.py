"""DescribeClientQuotas and AlterClientQuotas: responses recorded from Apache Kafka 4.3.1, limits, and what is stored and logged."""

from __future__ import annotations

import gzip
import json
import math
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from control_fakes import call, make_context

from kafka_cy.api import alter_client_quotas, client_quotas
from kafka_cy.api.context import ApiContext
from kafka_cy.cluster import config_changes
from kafka_cy.network.host_names import LOOKUPS_WAITING_MAX, HostLookups, numeric_address
from tests.waiting import wait_until

GOLDEN = json.loads(gzip.decompress((Path(__file__).parent / "golden_data" / "client_quotas.json.gz").read_bytes()))
DESCRIBE, ALTER = 48, 49
INVALID_REQUEST, POLICY_VIOLATION = 42, 44
PRODUCE, FETCH = "producer_byte_rate", "consumer_byte_rate"


class Lookups:
    """Resolves at once, and knows one name."""

    def add(self, hosts: Iterable[str], done: Callable[[dict[str, set[bytes]]], object]) -> bool:
        done({host: {b"\x7f\0\0\1"} if host == "localhost" else set() for host in hosts})
        return True


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> ApiContext:
    monkeypatch.setattr(alter_client_quotas, "_lookups", Lookups())
    context = make_context()
    context.loop = SimpleNamespace(call_soon_threadsafe=lambda function, *arguments: function(*arguments))  # type: ignore[assignment]
    return context


def sorted_answer(answer: dict[str, Any]) -> str:
    """In one order: Kafka's are those of hash maps."""
    def order(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: order(each) for key, each in sorted(value.items())}
        if isinstance(value, list | tuple):
            return sorted((order(each) for each in value), key=json.dumps)
        return value

    return json.dumps(order(answer))


def test_answers_are_those_of_kafka(context: ApiContext) -> None:
    assert len(GOLDEN) > 140
    for api_key, version, request, expected in GOLDEN:
        answer = call(context, api_key, version, request)
        assert sorted_answer(answer) == sorted_answer(expected), request


def alter(context: ApiContext, *entries: tuple[dict[str, str | None], dict[str, float | None]]) -> list[tuple[int, str | None]]:
    body = {
        "entries": [
            {
                "entity": [{"entity_type": kind, "entity_name": name} for kind, name in names.items()],
                "ops": [{"key": key, "value": value or 0.0, "remove": value is None} for key, value in ops.items()],
            }
            for names, ops in entries
        ],
        "validate_only": False,
    }
    return [(each["error_code"], each["error_message"]) for each in call(context, ALTER, 1, body)["entries"]]


def test_too_many_changes_are_refused_as_a_whole(context: ApiContext) -> None:
    entries = [({"user": f"u{i}"}, {PRODUCE: 1.0}) for i in range(10_001)]
    assert set(alter(context, *entries)) == {(POLICY_VIOLATION, "Unable to perform excessively large batch operation.")}
    assert context.cluster.quotas == {}


def test_entities_are_limited(context: ApiContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_changes, "ENTITIES_MAX", 3)
    assert [code for code, _ in alter(context, *[({"user": str(i)}, {PRODUCE: 1.0}) for i in range(5)])] == [0, 0, 0, 44, 44]
    assert alter(context, ({"user": "3"}, {PRODUCE: 1.0}), ({"user": "0"}, {FETCH: 2.0})) == [
        (POLICY_VIOLATION, "there are 3 users with settings already"),
        (0, None),
    ]
    assert alter(context, ({"user": "0"}, {PRODUCE: None, FETCH: None}), ({"client-id": "3"}, {PRODUCE: 1.0})) == [(0, None)] * 2
    assert alter(context, ({"user": "3"}, {PRODUCE: 1.0})) == [(0, None)]
    assert len(context.cluster.quotas) == 4


def test_long_names_are_refused(context: ApiContext) -> None:
    longest = "n" * client_quotas.NAME_CHARS_MAX
    assert alter(context, ({"user": longest}, {PRODUCE: 1.0})) == [(0, None)]
    assert [code for code, _ in alter(context, ({"user": None, "client-id": longest + "n"}, {PRODUCE: 1.0}))] == [POLICY_VIOLATION]


def test_credentials_of_the_user_stay(context: ApiContext) -> None:
    context.config_changes.set_config("users", "alice", {"SCRAM-SHA-256": "salt"})
    alter(context, ({"user": "alice"}, {PRODUCE: 1.0}))
    assert context.cluster.config("users", "alice") == {"SCRAM-SHA-256": "salt", PRODUCE: "1"}
    alter(context, ({"user": "alice"}, {PRODUCE: None}))
    assert context.cluster.config("users", "alice") == {"SCRAM-SHA-256": "salt"}
    assert context.cluster.quotas == {}


def test_nothing_is_written_for_values_that_do_not_change(context: ApiContext, monkeypatch: pytest.MonkeyPatch) -> None:
    alter(context, ({"user": "a"}, {PRODUCE: 1.0, "request_percentage": math.nan}))
    monkeypatch.setattr(context.config_changes, "set_config", lambda *arguments: pytest.fail(str(arguments)))
    alter(context, ({"user": "a"}, {PRODUCE: 1.0, "request_percentage": math.nan, FETCH: None}))


def test_changes_are_logged(context: ApiContext) -> None:
    lines: list[tuple[str, dict[str, Any]]] = []
    context.log = SimpleNamespace(info=lambda text, **details: lines.append((text, details)))  # type: ignore[assignment]
    alter(context, ({"user": "a", "client-id": None}, {PRODUCE: 1.0, "request_percentage": 0.5}), ({"ip": "::1"}, {PRODUCE: 1.0}))
    alter(context, ({"client-id": None, "user": "a"}, {PRODUCE: None}))
    entity, sender = {"entity": "user a, default client-id"}, {"client_id": "test", "client": "127.0.0.1"}
    assert lines == [
        ("client quotas changed", {**entity, "set": "producer_byte_rate=1, request_percentage=0.5", **sender}),
        ("client quotas changed", {**entity, "removed": "producer_byte_rate", **sender}),
    ]


def test_addresses_are_read_as_java_reads_them() -> None:
    same = {
        "1.2.3.4": "1.2.3.4", "010.0.0.1": "10.0.0.1", "5": "0.0.0.5", "1.2": "1.0.0.2", "1.2.3": "1.2.0.3", "16909060": "1.2.3.4",
        "1.131844": "1.2.3.4",
    }  # fmt: skip
    assert {text: ".".join(map(str, numeric_address(text) or b"")) for text in same} == same
    assert numeric_address("[::1]") == numeric_address("0:0:0:0:0:0:0:1") == numeric_address("::1") == bytes(15) + b"\1"
    names = ["", "999.1.1.1", "1.2.3.4.5", "1.2.3.256", "4294967296", "a", "[::1", "fe80::1%lo", "1.2.3.4\0", "::\0", "\u0663"]
    assert [numeric_address(name) for name in names] == [None] * len(names)


def test_lookups_are_answered_in_order_and_limited() -> None:
    lookups, done, begun, release = HostLookups(), [], threading.Event(), threading.Event()
    assert lookups.add((), lambda found: begun.set() or release.wait(10))
    assert begun.wait(10)
    added = [lookups.add(("127.0.0.1",), lambda found, i=i: done.append((i, found))) for i in range(LOOKUPS_WAITING_MAX + 2)]
    assert added == [True] * LOOKUPS_WAITING_MAX + [False, False]
    release.set()
    wait_until(lambda: len(done) == added.count(True), "answers")
    assert done == [(i, {"127.0.0.1": {b"\x7f\0\0\1"}}) for i in range(len(done))]
