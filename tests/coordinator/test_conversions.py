"""Conversions between classic and consumer groups, in steps: nobody sees a half of one."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import describe_groups
from kafka_cy.base import slices
from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.consumer import downgrade
from kafka_cy.coordinator.consumer.requests import HeartbeatRequest
from kafka_cy.coordinator.runtime import shard
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.protocol.errors import ErrorCode

from .consumer_fakes import ConsumerHarness
from .fakes import FakeCluster, FakeLoop
from .share_group_fakes import SST, ShareGroupHarness

MEMBERS = 20
PIECE = 3  # members or records of one step here


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: one step in each turn of the loop."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    monkeypatch.setattr(shard, "REPLAYED_AT_ONCE", PIECE)
    monkeypatch.setattr(downgrade, "PIECE_MEMBERS", PIECE)
    monkeypatch.setattr("kafka_cy.coordinator.consumer.leave.PIECE_MEMBERS", PIECE)


def turns(loop: FakeLoop) -> Iterator[None]:
    """What is due, and works on the other thread, one after the other."""
    while True:
        if loop.threads:
            work, done = loop.threads.pop(0)
            work()
            done()
        elif loop.timers and loop.timers[0][0] <= loop.time_s:
            loop.run_next()
        else:
            return
        yield


def settle(loop: FakeLoop) -> None:
    for _ in turns(loop):
        pass


def mixed() -> tuple[ConsumerHarness, dict[str, int]]:
    """A consumer group of the member m and of classic ones, with their generations."""
    harness = ConsumerHarness(FakeCluster(1))
    harness.loop.threads = []
    harness.join_consumer("g", "m")
    settle(harness.loop)
    joins = [harness.join("g", session_ms=60_000, rebalance_ms=60_000) for _ in range(MEMBERS)]
    settle(harness.loop)
    return harness, {joined["member_id"]: joined["generation_id"] for (joined,) in joins}


def send_leave(harness: ConsumerHarness, member: str = "m") -> list[dict[str, Any]]:
    responses: list[dict[str, Any]] = []
    request = HeartbeatRequest("g", member, -1, client_id="k848", client_host="/127.0.0.1")
    harness.coordinator.consumer.heartbeat(request, responses.append)
    return responses


def test_heartbeats_during_a_downgrade_wait_for_its_end() -> None:
    """A member that heard UNKNOWN_MEMBER_ID would forget its id, and with it what it has."""
    harness, generations = mixed()
    found: list[ErrorCode] = []
    left = send_leave(harness)
    sent = seen = 0
    for _ in turns(harness.loop):
        if harness.coordinator.runtime.busy_key == "g":
            seen += not isinstance(harness.group("g"), ClassicGroup) or len(harness.group("g").members) < MEMBERS
            for member, generation in generations.items():
                harness.coordinator.heartbeat("g", member, None, generation, found.append)
                sent += 1
            assert not found, "they wait"
    group = harness.group("g")
    assert isinstance(group, ClassicGroup) and len(group.members) == MEMBERS and len(left) == 1
    assert seen > MEMBERS / PIECE and len(found) == sent
    assert set(found) <= {ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION}


class LongRequest(SimpleNamespace):
    """A DescribeGroups request."""

    def __init__(self) -> None:
        body = SimpleNamespace(groups=["g"], include_authorized_operations=False)
        super().__init__(api_version=6, authorizer=None, body=body, made=[])

    def respond_long(self, prepare: Any) -> None:
        prepare(self.made.append)


def test_descriptions_during_a_downgrade_show_its_end() -> None:
    harness, _ = mixed()
    context: Any = SimpleNamespace(groups=harness.coordinator)
    send_leave(harness)
    request = LongRequest()
    for turn, _ in enumerate(turns(harness.loop)):
        if harness.coordinator.runtime.busy_key == "g" and turn % 3 == 0:  # each of them takes a turn
            assert describe_groups.handle(request, context) is None  # type: ignore[arg-type]
    assert len(request.made) > MEMBERS / PIECE
    for make in request.made:
        (described,) = make()["groups"]
        assert (described["group_state"], len(described["members"])) == ("PreparingRebalance", MEMBERS)
    assert describe_groups.handle(request, context) is not None, "at once again"  # type: ignore[arg-type]


def test_a_fault_in_a_description_is_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    harness, _ = mixed()

    def fails(*_: Any) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(ClassicGroup, "described", fails)
    send_leave(harness)
    found: list[Any] = []
    harness.coordinator.describe_groups(["g", "none"], found.append)
    settle(harness.loop)
    assert found == [[(ErrorCode.UNKNOWN_SERVER_ERROR, None), (ErrorCode.NONE, None)]]


def test_a_deletion_goes_by_the_kind_that_the_group_has_at_its_turn() -> None:
    """The group becomes a share group while the deletion waits: its states are deleted as well."""
    harness = ShareGroupHarness()
    responses: list[ErrorCode] = []
    harness.loop.threads = []
    altered: list[Any] = []

    def other(state: Any) -> Generator[object, None, CoordinatorResult[None]]:
        yield None
        return CoordinatorResult()

    harness.coordinator.runtime.write_long("g", other)
    harness.coordinator.share_offsets.alter("g", {"st": {0: 5, 1: 6}}, altered.append)
    harness.coordinator.delete_group("g", responses.append)
    assert harness.group("g") is None
    settle(harness.loop)
    assert responses == [ErrorCode.NONE] and altered
    assert harness.state("g", SST, 0) is None and harness.state("g", SST, 1) is None
    assert harness.coordinator.group_count == 0
