"""Complete scenarios of consumer groups, compared with the records that Apache Kafka 4.3.1 stored."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.coordinator.consumer import records as stored
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.records import OffsetKey, StoredGroup
from kafka_cy.protocol.errors import ErrorCode

from .consumer_fakes import CT, CT2, ConsumerHarness, assigned, normal
from .golden import golden


def kafka(name: str) -> list[Any]:
    (found,) = [each for each in golden("consumer-sequences.json")["sequences"] if each["id"] == name]
    return [normal(bytes.fromhex(key), value and bytes.fromhex(value)) for *_, key, value in found["records"]]


def ours(harness: ConsumerHarness, group: str) -> list[Any]:
    return [normal(*record) for record in harness.written(group)]


def in_any_order(records: list[Any]) -> list[Any]:
    """Neighbours of one kind that Kafka writes in the order of a hash table: targets of an assignment, removed offsets."""
    ordered: list[Any] = []
    for record in records:
        place = len(ordered)
        is_target = isinstance(record[0], stored.TargetMemberKey) and record[1] is not None
        if is_target or (isinstance(record[0], OffsetKey) and record[1] is None):
            while place > 0 and type(ordered[place - 1][0]) is type(record[0]) and ordered[place - 1][0] > record[0]:
                place -= 1
        ordered.insert(place, record)
    return ordered


def assert_as_kafka(harness: ConsumerHarness, name: str) -> None:
    found, expected = in_any_order(ours(harness, name)), in_any_order(kafka(name))
    for mine, theirs in zip(found, expected, strict=False):
        assert mine == theirs
    assert len(found) == len(expected)


@pytest.mark.parametrize("vector", golden("metadata-hash.json"))
def test_metadata_hash(vector: Any) -> None:
    topics = {}
    for each in vector["topics"]:
        partitions = [SimpleNamespace(replicas=[1])] * each["partitions"]
        topics[each["name"]] = SimpleNamespace(name=each["name"], id=uuid.UUID(each["id"]), partitions=partitions)
    cluster = SimpleNamespace(topics=topics, broker_id=1)
    assert Topics(cluster, None).group_hash(topics) == vector["group_hash"]
    assert Topics(cluster, None).group_hash([]) == 0


def test_k4_two_members_revocation_commits_and_another_subscription() -> None:
    harness = ConsumerHarness(offsets_retention_check_interval_ms=100_000_000)
    response = harness.join_consumer("k4", "AAAAm1")
    assert response["member_epoch"] == 2 and assigned(response) == {CT: [0, 1, 2, 3]}
    harness.loop.advance(1.1)
    response = harness.join_consumer("k4", "BBBBm2")
    assert response["member_epoch"] == 3 and assigned(response) == {}
    response = harness.beat("k4", "AAAAm1", 2)
    assert response["member_epoch"] == 2 and assigned(response) == {CT: [0, 1]}
    assert assigned(harness.beat("k4", "BBBBm2", 3)) is None
    ids = {"group": "k4", "member": "AAAAm1", "topic": "ct", "topic_id": CT}
    assert harness.commit(**ids, generation=2, partition=3) == 0
    # One request in Kafka; a refused one first.
    assert harness.commit(**ids, generation=1, partition=0) == ErrorCode.STALE_MEMBER_EPOCH
    assert harness.commit(**ids, generation=2, partition=0) == 0
    response = harness.beat("k4", "AAAAm1", 2, owned={CT: [0, 1]})
    assert response["member_epoch"] == 3 and assigned(response) is None
    response = harness.beat("k4", "BBBBm2", 3)
    assert response["member_epoch"] == 3 and assigned(response) == {CT: [2, 3]}
    for generation in (2, 3):
        assert harness.commit(**ids, generation=generation, partition=0) == 0
    ids["member"] = "BBBBm2"
    assert harness.commit(**ids, generation=2, partition=2) == ErrorCode.STALE_MEMBER_EPOCH
    for _ in range(2):
        assert harness.commit(**ids, generation=3, partition=2) == 0
    harness.loop.advance(1.0)
    response = harness.beat("k4", "AAAAm1", 3, topic_names=("ct2", "ct"))
    assert response["member_epoch"] == 3 and assigned(response) == {CT: [0]}
    harness.loop.advance(5.0)  # its rebalance timeout
    assert harness.beat("k4", "AAAAm1", 3)["error_code"] == ErrorCode.UNKNOWN_MEMBER_ID
    harness.loop.advance(45.0)
    assert harness.group("k4").is_empty
    assert harness.delete_group("k4") == 0
    assert_as_kafka(harness, "k4")


def test_k5_assignment_interval_and_a_topic_that_grows() -> None:
    harness = ConsumerHarness()
    harness.join_consumer("k5", "AAAAm1")
    response = harness.join_consumer("k5", "BBBBm2")
    assert response["member_epoch"] == 2 and assigned(response) == {}
    harness.loop.advance(1.2)
    assert assigned(harness.beat("k5", "AAAAm1", 2)) == {CT: [0, 1]}
    harness.beat("k5", "BBBBm2", 2)
    harness.beat("k5", "BBBBm2", 3)
    assert harness.beat("k5", "AAAAm1", 2, owned={CT: [0, 1]})["member_epoch"] == 3
    harness.topic("ct", CT, 5)
    harness.loop.advance(2.0)
    members = harness.consumer_group("k5").members
    members["AAAAm1"] = members.pop("AAAAm1")  # the order of Kafka's hash table decides who gets the extra partition
    response = harness.beat("k5", "AAAAm1", 3)
    assert response["member_epoch"] == 4 and assigned(response) == {CT: [0, 1, 4]}
    harness.loop.advance(42.9)
    harness.beat("k5", "AAAAm1", 4)
    harness.loop.advance(2.1)
    assert list(harness.group("k5").members) == ["AAAAm1"]
    assert harness.beat("k5", "AAAAm1", -1)["member_epoch"] == -1
    assert harness.delete_group("k5") == 0
    assert_as_kafka(harness, "k5")


def test_k6_a_member_that_never_gives_up_its_partitions() -> None:
    harness = ConsumerHarness()
    harness.topic("ct", CT, 5)
    harness.join_consumer("k6", "AAAAm1", timeout_ms=1000)
    harness.loop.advance(1.1)
    harness.join_consumer("k6", "BBBBm2", timeout_ms=1000)
    harness.beat("k6", "AAAAm1", 2)
    harness.loop.advance(1.05)
    assert list(harness.group("k6").members) == ["BBBBm2"]
    harness.loop.advance(45.0)
    assert harness.delete_group("k6") == 0
    assert_as_kafka(harness, "k6")


def test_k7_session_timeout() -> None:
    harness = ConsumerHarness(group_consumer_session_timeout_ms=2000)
    harness.topic("ct", CT, 5)
    harness.join_consumer("k7", "AAAAm1")
    harness.loop.advance(1.9)
    assert harness.group("k7").members
    harness.loop.advance(0.2)
    assert not harness.group("k7").members and harness.loop.pending == 1  # the expiry of offsets
    assert harness.delete_group("k7") == 0
    assert_as_kafka(harness, "k7")


def test_k8_a_static_member_leaves_and_comes_back() -> None:
    harness = ConsumerHarness()
    harness.topic("ct", CT, 5)
    harness.join_consumer("k8", "S1", instance_id="i1")
    other = harness.join_consumer("k8", "S2", instance_id="i1")
    assert other["error_code"] == ErrorCode.UNRELEASED_INSTANCE_ID
    assert harness.beat("k8", "S1", -2, instance_id="i1")["member_epoch"] == -2
    response = harness.join_consumer("k8", "S1b", instance_id="i1")
    assert response["member_epoch"] == 2 and assigned(response) == {CT: [0, 1, 2, 3, 4]}
    assert harness.beat("k8", "S1", 2, instance_id="i1")["error_code"] == ErrorCode.FENCED_INSTANCE_ID
    assert harness.beat("k8", "S1", 2)["error_code"] == ErrorCode.UNKNOWN_MEMBER_ID
    assert harness.beat("k8", "S1b", -2, instance_id="i1")["member_epoch"] == -2
    assert harness.beat("k8", "S1b", -1, instance_id="i1")["member_epoch"] == -1
    assert harness.delete_group("k8") == 0
    assert_as_kafka(harness, "k8")


def test_k9_regular_expression() -> None:
    harness = ConsumerHarness()
    harness.topic("ct", CT, 5)
    response = harness.join_consumer("k9", "AAAAm1", None, topic_regex="c[t]2?")
    assert response["member_epoch"] == 1 and assigned(response) == {}
    response = harness.beat("k9", "AAAAm1", 1)
    assert response["member_epoch"] == 2 and assigned(response) == {CT: [0, 1, 2, 3, 4], CT2: [0, 1, 2]}
    response = harness.join_consumer("k9", "BBBBm2", None, topic_regex="c[t]2?")
    assert response["member_epoch"] == 2 and assigned(response) == {}
    for member in ("AAAAm1", "BBBBm2"):
        harness.beat("k9", member, -1)
    assert harness.delete_group("k9") == 0
    assert_as_kafka(harness, "k9")


def ids_of(name: str) -> dict[str, uuid.UUID]:
    """The ids of topics rx1 and rx2, in the order in which they appear in assignments."""
    found: dict[uuid.UUID, None] = {}
    for key, value in kafka(name):
        if isinstance(key, stored.TargetMemberKey) and value is not None:
            found |= dict.fromkeys(sorted(value, key=lambda topic_id: topic_id in found, reverse=True))
    return dict(zip(("rx1", "rx2"), found, strict=False))


def test_re1_topics_that_are_created_later() -> None:
    harness = ConsumerHarness()
    ids = ids_of("re1")
    assert harness.join_consumer("re1", "m1", None, topic_regex="rx.*")["member_epoch"] == 1
    harness.topic("rx1", ids["rx1"], 1)
    harness.loop.advance(9)
    harness.beat("re1", "m1", 1)  # too early for another look at all topics
    harness.loop.advance(1.1)
    for epoch in (1, 1):
        harness.beat("re1", "m1", epoch)
    harness.topic("rx2", ids["rx2"], 1)
    harness.loop.advance(10.1)
    harness.beat("re1", "m1", 2)
    response = harness.beat("re1", "m1", 2)
    assert response["member_epoch"] == 3 and assigned(response) == {ids["rx1"]: [0], ids["rx2"]: [0]}
    harness.beat("re1", "m1", -1)
    assert harness.delete_group("re1") == 0
    assert_as_kafka(harness, "re1")


def test_re2_names_and_a_regular_expression_together() -> None:
    harness = ConsumerHarness()
    harness.topic("rx1", ids_of("re1")["rx1"], 1)
    response = harness.join_consumer("re2", "m1", ["ct2"], topic_regex="rx1")
    assert response["member_epoch"] == 2 and assigned(response) == {CT2: [0, 1, 2]}
    harness.beat("re2", "m1", -1)
    assert harness.delete_group("re2") == 0
    assert_as_kafka(harness, "re2")


def test_mig1_upgrade_and_downgrade() -> None:
    expected = kafka("mig1")
    harness = ConsumerHarness(offsets_retention_check_interval_ms=100_000_000)
    harness.topic("ct", CT, 5)
    first = next(value for _, value in expected if isinstance(value, StoredGroup) and value.members)
    rejoined = [value for _, value in expected if isinstance(value, stored.Member) and value.classic_member_metadata]
    waiting = harness.join("mig1", client="k848b", protocols=[("range", first.members[0].subscription)], rebalance_ms=20_000)
    harness.loop.advance(1.01)
    member, kafkas_member = waiting[0]["member_id"], first.members[0].member_id
    harness.sync(member, 1, {member: first.members[0].assignment}, group="mig1")
    response = harness.join_consumer("mig1", "NEW1")
    assert response["member_epoch"] == 2 and assigned(response) == {}
    assert harness.heartbeat(member, 1, group="mig1") == ErrorCode.REBALANCE_IN_PROGRESS
    for value, generation in zip(rejoined[1:], (1, 2), strict=True):
        (protocol,) = value.classic_member_metadata.supported_protocols
        (joined,) = harness.join("mig1", member, client="k848b", protocols=[tuple(protocol)], rebalance_ms=20_000)
        assert (joined["generation_id"], joined["leader"], joined["protocol_name"]) == (generation, "", "range")
        (synced,) = harness.sync(member, generation, group="mig1", kind="consumer", protocol="range")
        assert synced["error_code"] == 0
        assert harness.heartbeat(member, generation, group="mig1") == (
            ErrorCode.REBALANCE_IN_PROGRESS if generation == 1 else 0
        )
    assert assigned(harness.beat("mig1", "NEW1", 2)) == {CT: [3, 4]}
    assert harness.commit(group="mig1", member="NEW1", generation=2, topic_id=CT) == 0
    assert harness.beat("mig1", "NEW1", -1)["member_epoch"] == -1
    assert harness.group("mig1").state.value == "PreparingRebalance"
    assert harness.heartbeat(member, 2, group="mig1") == ErrorCode.REBALANCE_IN_PROGRESS
    harness.join("mig1", member, client="k848b", rebalance_ms=20_000)
    harness.loop.advance(10.1)
    assert harness.group("mig1").state.value == "Empty"
    assert harness.delete_group("mig1") == 0
    mine = str(in_any_order(ours(harness, "mig1"))).replace(member, kafkas_member)
    assert mine == str(in_any_order(expected))


def test_mig4_a_simple_group_becomes_a_consumer_group_and_a_classic_one() -> None:
    harness = ConsumerHarness(offsets_retention_check_interval_ms=100_000_000)
    harness.topic("ct", CT, 5)
    assert harness.commit(group="mig4", topic_id=CT) == 0
    assert harness.join_consumer("mig4", "NEW1")["member_epoch"] == 2
    assert harness.group("mig4").offsets["ct"][0].offset == 5
    harness.beat("mig4", "NEW1", -1)
    (joined,) = harness.join("mig4", known=True)
    assert joined["error_code"] == ErrorCode.MEMBER_ID_REQUIRED
    assert harness.group("mig4").offsets["ct"][0].offset == 5
    harness.loop.advance(11)
    assert harness.delete_group("mig4") == 0
    assert_as_kafka(harness, "mig4")
