"""Complete scenarios, compared with the records that Apache Kafka 4.3.1 stored; ids and timestamps are replaced."""

from __future__ import annotations

from typing import Any

from kafka_cy.coordinator import records
from kafka_cy.protocol.errors import ErrorCode

from .fakes import SUBSCRIPTION, Harness
from .golden import golden


def expected(name: str) -> list[Any]:
    (found,) = [each for each in golden("record-sequences.json")["sequences"] if each["id"] == name]
    return [normal(bytes.fromhex(key), value and bytes.fromhex(value)) for *_, key, value in found["records"]]


def normal(key: bytes, value: bytes | None) -> Any:
    """The record with zeroed timestamps, replaced random UUIDs and sorted members."""
    parsed = records.read_key(key)
    if value is None:
        return parsed, None
    if isinstance(parsed, records.OffsetKey):
        offset = records.read_offset_value(value)
        spent = offset.expire_timestamp_ms - offset.commit_timestamp_ms if offset.expire_timestamp_ms >= 0 else -1
        return parsed, value[:2], offset._replace(commit_timestamp_ms=0, expire_timestamp_ms=spent)
    group = records.read_group_value(value)
    assert value[:2] == b"\x00\x03"

    def name(member_id: str | None) -> str | None:
        return member_id and member_id[:-36]

    members = [each._replace(member_id=name(each.member_id)) for each in group.members]
    leader, ordered = name(group.leader), tuple(sorted(members, key=lambda each: each.client_id))
    return parsed, group._replace(state_timestamp_ms=0, leader=leader, members=ordered)


def written(harness: Harness, group: str) -> list[Any]:
    return [normal(key, value) for key, value in harness.written(group)]


def assignment_of(name: str, client: str) -> bytes:
    for record in expected(name):
        if isinstance(record[1], records.StoredGroup):
            for member in record[1].members:
                if member.client_id == client:
                    return member.assignment
    raise AssertionError(client)


def test_e2_members_leave_while_the_group_completes_a_rebalance() -> None:
    harness = Harness()
    (topic_id,) = {each[2].topic_id for each in expected("e2") if len(each) == 3}
    options = {"session_ms": 10_000, "rebalance_ms": 30_000}
    first = harness.join("e2", client="c1", **options)
    second = harness.join("e2", client="c2", **options)
    harness.loop.advance(3)
    one, two = first[0]["member_id"], second[0]["member_id"]
    assert first[0]["leader"] == second[0]["leader"] == one and len(first[0]["members"]) == 2
    assignments = {one: assignment_of("e2", "c1"), two: assignment_of("e2", "c2")}
    waiting = harness.sync(two, 1, group="e2")
    assert not waiting and harness.sync(one, 1, assignments, group="e2")[0]["assignment"] == assignments[one]
    assert waiting[0]["assignment"] == assignments[two]
    assert harness.commit(group="e2", member=one, generation=1, topic_id=topic_id) == 0
    third = harness.join("e2", client="c3", **options)
    assert harness.heartbeat(one, 1, group="e2") == ErrorCode.REBALANCE_IN_PROGRESS
    for member, client in ((one, "c1"), (two, "c2")):
        harness.join("e2", member, client=client, **options)
    assert third[0]["generation_id"] == 2
    harness.leave([(one, None), (two, None), (third[0]["member_id"], None)], group="e2")
    assert harness.delete_group("e2") == 0
    assert written(harness, "e2") == expected("e2")


def test_e3_leader_that_never_syncs_is_removed_after_the_rebalance_timeout() -> None:
    harness = Harness()
    harness.join("e3", rebalance_ms=2000)
    harness.loop.advance(1)
    assert harness.group("e3").state.value == "CompletingRebalance"
    harness.loop.advance(1.99)
    assert harness.group("e3").members
    harness.loop.advance(0.02)
    assert not harness.group("e3").members
    harness.loop.advance(601)
    assert written(harness, "e3") == expected("e3")
    assert harness.group("e3") is None


def test_e6_session_timeout_of_the_only_member() -> None:
    harness = Harness()
    joined = harness.join("e6", client="c1", session_ms=1000, rebalance_ms=2000)
    harness.loop.advance(1.1)
    member = joined[0]["member_id"]
    harness.sync(member, 1, {member: b"abc"}, group="e6")
    harness.loop.advance(0.99)
    assert harness.group("e6").members
    harness.loop.advance(0.02)
    assert harness.group("e6").state.value == "Empty"
    harness.loop.advance(601)
    assert written(harness, "e6") == expected("e6")


def test_es_static_member_is_replaced_without_rebalance() -> None:
    harness = Harness()
    assignment = assignment_of("es", "c1")
    joined = harness.join("es", instance="i1", client="c1")
    harness.loop.advance(1.1)
    member = joined[0]["member_id"]
    harness.sync(member, 1, {member: assignment}, group="es")
    changed = expected("es")[4][1].members[0].subscription  # topics "ct" and "zz"
    for subscription in (SUBSCRIPTION, SUBSCRIPTION, changed):
        (response,) = harness.join("es", instance="i1", client="other", protocols=[("range", subscription)])
        assert response["generation_id"] == 1 and response["skip_assignment"] and len(response["members"]) == 1
        assert harness.heartbeat(member, 1, group="es", instance="i1") == ErrorCode.FENCED_INSTANCE_ID
        assert harness.heartbeat(member, 1, group="es") == ErrorCode.UNKNOWN_MEMBER_ID
        member = response["member_id"]
    harness.leave([("", "i1")], group="es")
    harness.loop.advance(601)
    assert written(harness, "es") == expected("es")


def test_hret_offsets_with_their_own_retention() -> None:
    harness = Harness(offsets_retention_check_interval_ms=100_000)
    for _ in range(2):
        spent = next(each[2].expire_timestamp_ms for each in expected("hret") if len(each) == 3)
        metadata = next(each[2].metadata for each in expected("hret") if len(each) == 3)
        assert harness.commit(group="hret", metadata=metadata, retention_ms=spent, new=False) == 0
        harness.loop.advance(1 + spent / 1000 + 100)
    assert written(harness, "hret") == expected("hret")
    assert harness.group("hret") is None
