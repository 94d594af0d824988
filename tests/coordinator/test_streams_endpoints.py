"""Responses about the endpoints of many members: they are made in slices, and encoded on another thread."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import streams_group_heartbeat_cold as api
from kafka_cy.base import slices
from kafka_cy.coordinator.modern import groups as modern_groups
from kafka_cy.coordinator.streams import endpoints, streams_groups
from kafka_cy.coordinator.streams.records import Endpoint
from kafka_cy.coordinator.streams.requests import StreamsHeartbeat, error_response
from kafka_cy.coordinator.streams.tasks import Tasks
from kafka_cy.protocol.errors import ErrorCode

from .fakes import FakeCluster
from .streams_fakes import StreamsHarness

MEMBERS = 12
PARTITIONS = 60


def with_endpoints() -> StreamsHarness:
    """Every member has its tasks, and an endpoint."""
    harness = StreamsHarness(FakeCluster(1), group_streams_initial_rebalance_delay_ms=0)
    harness.topic("sin", PARTITIONS)
    for number in range(MEMBERS):
        harness.join_streams("g", f"m{number}", process=f"P{number}", endpoint=Endpoint("here", number))
    group = harness.streams_group()
    for _ in range(4):
        harness.loop.time_s += 1.1
        for member in list(group.members.values()):
            tasks = Tasks({part: frozenset(each) for part, each in member.assigned.active.items()})
            harness.beat("g", member.member_id, member.member_epoch, tasks, endpoint_epoch=group.endpoint_epoch)
    assert {each.assigned.size for each in group.members.values()} == {PARTITIONS // MEMBERS}
    return harness


def heartbeat(harness: StreamsHarness, endpoint_epoch: int, member: str = "m0", **fields: Any) -> list[dict[str, Any]]:
    """The response, once it is there."""
    responses: list[dict[str, Any]] = []
    epoch = harness.streams_group().members[member].member_epoch
    request = StreamsHeartbeat(
        "g", member, epoch, endpoint_epoch=endpoint_epoch, client_id="sg", client_host="/127.0.0.1", **fields
    )
    harness.coordinator.streams.heartbeat(request, responses.append)
    return responses


def settle(harness: StreamsHarness) -> int:
    """How many turns of the loop it takes."""
    loop, count = harness.loop, 0
    while loop.threads or (loop.timers and loop.timers[0][0] <= loop.time_s):
        count += 1
        if loop.threads:
            work, done = loop.threads.pop(0)
            work()
            done()
        else:
            loop.run_next()
    return count


def test_rows_of_many_endpoints_are_made_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = with_endpoints()
    few = heartbeat(harness, -1)
    assert len(few[0]["partitions_by_user_endpoint"]) == MEMBERS, "few rows are made at once"
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    monkeypatch.setattr(endpoints, "ROWS_AS_A_NAME", 1)
    for module in (modern_groups, streams_groups):
        monkeypatch.setattr(module, "LONG_HEARTBEAT", MEMBERS + PARTITIONS - 1)
    harness.loop.threads = []
    response = heartbeat(harness, -1)
    assert not response
    assert harness.beat("other", "m", 1)["error_code"] == ErrorCode.GROUP_ID_NOT_FOUND, "another group has its turn"
    assert settle(harness) > 3
    assert response == few
    group = harness.streams_group()
    assert heartbeat(harness, group.endpoint_epoch)[0]["partitions_by_user_endpoint"] is None, "nothing to tell: at once"


def test_what_the_rows_take_is_counted_up_to_a_limit() -> None:
    harness = with_endpoints()
    group = harness.streams_group()
    whole = MEMBERS + MEMBERS + PARTITIONS  # a member, its subtopology and its partitions each
    assert endpoints.rows_size(group, 1000) == -(-whole // endpoints.ROWS_AS_A_NAME)
    assert endpoints.rows_size(group, 3) == 3
    member = group.members["m0"]
    group.members["m0"] = member._replace(details=member.details._replace(user_endpoint=None))
    assert endpoints.rows_size(group, 1000) == -(-(whole - 1 - PARTITIONS // MEMBERS) // endpoints.ROWS_AS_A_NAME)


@pytest.mark.parametrize("joins", [True, False])
def test_a_member_with_an_endpoint_that_may_get_tasks(monkeypatch: pytest.MonkeyPatch, *, joins: bool) -> None:
    """Its tasks raise the epoch of the endpoints, so that it is told all rows although it knew the epoch before."""
    harness = with_endpoints()
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    monkeypatch.setattr(endpoints, "ROWS_AS_A_NAME", 1)
    for module in (modern_groups, streams_groups):
        monkeypatch.setattr(module, "LONG_HEARTBEAT", MEMBERS + PARTITIONS - 1)
    harness.loop.threads = []
    group = harness.streams_group()
    streams = harness.coordinator.streams
    request = StreamsHeartbeat(
        "g", "late" if joins else "m0", 0 if joins else group.epoch, endpoint_epoch=group.endpoint_epoch,
        rebalance_timeout_ms=5000, topology=group.topology if joins else None, process_id="P",
        endpoint=Endpoint("there", 1), active={}, standby={}, warmup={}, client_id="sg", client_host="/127.0.0.1",
    )  # fmt: skip
    assert streams._size(request) > modern_groups.LONG_HEARTBEAT
    assert streams._size(request._replace(endpoint=None, member_id="unknown")) <= modern_groups.LONG_HEARTBEAT


# -- the response --


def answered(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> str:
    """Where the response is encoded."""
    monkeypatch.setattr(api, "_read", lambda request: StreamsHeartbeat("g", "m", 1))
    response = error_response(ErrorCode.NONE) | fields
    found: list[tuple[str, Any]] = []
    groups = SimpleNamespace(is_offered=lambda: True, checked_heartbeat=lambda heartbeat, send: send(response))
    request: Any = SimpleNamespace(
        authorizer=None, body=SimpleNamespace(group_id="g"),
        body_size=10, respond=lambda whole: found.append(("loop", whole)),
        respond_long=lambda prepare: prepare(lambda make: found.append(("thread", make()))),
    )  # fmt: skip
    context: Any = SimpleNamespace(groups=SimpleNamespace(streams=groups))
    assert api.handle(request, context) is None
    ((where, whole),) = found
    assert whole == {"throttle_time": 0, **response}
    return where


@pytest.mark.parametrize("field", ["active_tasks", "standby_tasks", "partitions_by_user_endpoint"])
def test_a_long_response_is_encoded_on_another_thread(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    def rows(count: int) -> list[dict[str, Any]]:
        partitions = list(range(count))
        if field != "partitions_by_user_endpoint":
            return [{"subtopology_id": "0", "partitions": partitions}]
        part = [{"topic": "sin", "partitions": partitions}]
        return [{"user_endpoint": {"host": "h", "port": 1}, "active_partitions": [], "standby_partitions": part}]

    assert answered(monkeypatch) == "loop"
    assert answered(monkeypatch, **{field: rows(api.ELEMENTS_FEW - 10)}) == "loop"
    assert answered(monkeypatch, **{field: rows(api.ELEMENTS_FEW + 1)}) == "thread"


def test_many_empty_rows_count(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"user_endpoint": {"host": "h", "port": 1}, "active_partitions": [], "standby_partitions": []}
    assert answered(monkeypatch, partitions_by_user_endpoint=[row] * api.ELEMENTS_FEW) == "thread"
