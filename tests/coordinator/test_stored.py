"""Responses are sent only when the records that they depend on are below the high watermark."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api.registry import cold_handler
from kafka_cy.coordinator.offsets.commit import CommitPartition, CommitRequest
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server.log import BrokerLog

from .fakes import FakePartition, Harness


def partition_of(harness: Harness, group: str = "g") -> FakePartition:
    return harness.cluster.hosted[harness.partition_index(group)]


def commit(harness: Harness, offset: int, member: str = "", generation: int = -1) -> list[ErrorCode]:
    responses: list[ErrorCode] = []
    each = CommitPartition("ct", None, 0, offset, -1, None)
    request = CommitRequest("g", generation, member, None, -1, True, [each])
    harness.coordinator.commit(request, lambda error, errors: responses.append(error or errors["ct", 0]))
    return responses


def call(harness: Harness, api_key: int, version: int, body: SimpleNamespace) -> list[dict[str, Any]]:
    responses: list[dict[str, Any]] = []
    request = SimpleNamespace(api_version=version, body=body, respond=responses.append, sender={})
    context = SimpleNamespace(groups=harness.coordinator, cluster=harness.cluster, log=BrokerLog("error"))
    handle = cold_handler(api_key)
    assert handle is not None
    assert handle(request, context) is None  # type: ignore[arg-type]
    return responses


def store(harness: Harness, end_offset: int | None = None) -> None:
    partition = partition_of(harness)
    assert partition.watched
    partition.high_watermark = partition.log_end_offset if end_offset is None else end_offset
    harness.coordinator.look()


def test_commits_get_their_responses_in_the_order_in_which_they_are_stored() -> None:
    harness = Harness()
    partition = partition_of(harness)
    partition.held = True
    first, second = commit(harness, 5), commit(harness, 6)
    harness.coordinator.look()
    assert not first and not second
    store(harness, 1)
    assert first == [ErrorCode.NONE] and not second
    store(harness)
    assert second == [ErrorCode.NONE]
    partition.watched = False
    harness.coordinator.look()
    assert not partition.watched, "nobody waits, nobody watches"


def test_join_and_sync() -> None:
    harness = Harness(group_initial_rebalance_delay_ms=0)
    partition_of(harness).held = True
    needs_id = harness.join(known=True)
    assert not needs_id, "the group's first record is not stored"
    store(harness)
    member = needs_id[0]["member_id"]
    joined = harness.join(member=member, known=True)
    harness.loop.advance(1)
    assert joined[0]["error_code"] == 0
    synced = harness.sync(member, 1, {member: b"mine"})
    assert not synced
    store(harness)
    assert synced == [{"error_code": 0, "protocol_type": "consumer", "protocol_name": "range", "assignment": b"mine"}]


def test_what_is_not_stored_is_not_shown() -> None:
    harness = Harness()
    partition_of(harness).held = True
    commit(harness, 5)
    asked = SimpleNamespace(group_id="g", topics=None)
    fetched = call(harness, 9, 8, SimpleNamespace(groups=[asked]))
    single = call(harness, 9, 7, asked)
    assert not fetched and not single
    store(harness)
    assert fetched[0]["groups"][0]["topics"][0]["partitions"][0]["committed_offset"] == 5
    assert single[0]["topics"][0]["partitions"][0]["committed_offset"] == 5


@pytest.mark.parametrize("lost", [False, True])
def test_leave_and_deletions(lost: bool) -> None:
    harness = Harness()
    (member,), generation = harness.stable()
    harness.commit(member=member, generation=generation)
    partition = partition_of(harness)
    partition.held = True
    who = SimpleNamespace(member_id=member, group_instance_id=None)
    left = call(harness, 13, 5, SimpleNamespace(group_id="g", members=[who]))
    forgotten: list[ErrorCode] = []
    harness.coordinator.delete_offsets("g", [("ct", 0)], lambda error, errors: forgotten.append(error))
    deleted = call(harness, 42, 2, SimpleNamespace(groups_names=["g", "none"]))
    assert not left and not forgotten and not deleted
    if lost:
        partition.state = 2
        harness.coordinator.look()
    else:
        store(harness)
    expected = ErrorCode.NOT_COORDINATOR if lost else ErrorCode.NONE
    assert left[0]["error_code"] == expected
    assert forgotten == [expected]
    errors = {each["group_id"]: each["error_code"] for each in deleted[0]["results"]}
    assert errors == {"g": expected, "none": ErrorCode.GROUP_ID_NOT_FOUND}


def test_a_lost_partition_fails_what_waits_and_forgets_its_groups() -> None:
    harness = Harness()
    partition = partition_of(harness)
    partition.held = True
    waiting = commit(harness, 5)
    partition.state = 2
    harness.coordinator.look()
    assert waiting == [ErrorCode.NOT_COORDINATOR]
    assert harness.partition_index() not in harness.coordinator.runtime.shards
