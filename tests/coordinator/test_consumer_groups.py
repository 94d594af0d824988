"""Consumer groups: refused requests, limits, faults, loading, settings of a group, and large assignments."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from kafka_cy.coordinator.consumer import limits, target
from kafka_cy.coordinator.consumer.embedded_protocol import write_assignment
from kafka_cy.coordinator.consumer.records import ClassicMember, ClassicProtocol
from kafka_cy.coordinator.modern.assignment import count
from kafka_cy.coordinator.modern.limits import PARTITION_BYTES
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage.log import StorageFailure

from .consumer_fakes import CT, CT2, ConsumerHarness, assigned
from .fakes import SUBSCRIPTION, FakeCluster, replicated

JOIN: dict[str, Any] = {"topic_names": ("ct",), "rebalance_timeout_ms": 5000, "owned": {}}


@pytest.mark.parametrize(
    ("group", "member", "epoch", "fields", "error"),
    [
        ("", "m", 0, JOIN, ErrorCode.INVALID_REQUEST),
        ("  ", "m", 0, JOIN, ErrorCode.INVALID_REQUEST),
        ("g", "", 0, JOIN, ErrorCode.INVALID_REQUEST),
        ("g", "", 1, {"needs_member_id": False}, ErrorCode.INVALID_REQUEST),
        ("g", "m", 0, {**JOIN, "instance_id": ""}, ErrorCode.INVALID_REQUEST),
        ("g", "m", 0, {**JOIN, "rack_id": ""}, ErrorCode.INVALID_REQUEST),
        ("g", "m", 0, {**JOIN, "rebalance_timeout_ms": -1}, ErrorCode.INVALID_REQUEST),
        ("g", "m", 0, {**JOIN, "owned": None}, ErrorCode.INVALID_REQUEST),
        ("g", "m", 0, {**JOIN, "owned": {CT: [0]}}, ErrorCode.INVALID_REQUEST),
        ("g", "m", 0, {**JOIN, "topic_names": None}, ErrorCode.INVALID_REQUEST),
        ("g", "m", -2, {}, ErrorCode.INVALID_REQUEST),
        ("g", "m", -3, {}, ErrorCode.INVALID_REQUEST),
        ("g", "m", 0, {**JOIN, "assignor": "sticky"}, ErrorCode.UNSUPPORTED_ASSIGNOR),
        ("g", "m", 0, {**JOIN, "topic_regex": "("}, ErrorCode.INVALID_REGULAR_EXPRESSION),
        ("g", "m", 0, {**JOIN, "topic_regex": "(?=a)b"}, ErrorCode.INVALID_REGULAR_EXPRESSION),
        ("g", "m", 0, {**JOIN, "topic_regex": "((a{1,100}){1,100}){1,100}"}, ErrorCode.INVALID_REGULAR_EXPRESSION),
        ("g", "m", 0, {**JOIN, "topic_regex": "(x{1000})" * 100}, ErrorCode.INVALID_REGULAR_EXPRESSION),
        ("g", "m", 5, {}, ErrorCode.GROUP_ID_NOT_FOUND),
        ("g", "m", -1, {}, ErrorCode.GROUP_ID_NOT_FOUND),
        ("g", "\ud7ff" * 20_000, 0, JOIN, ErrorCode.UNKNOWN_SERVER_ERROR),  # does not fit into a record
    ],
)
def test_refused_requests_store_nothing(
    group: str, member: str, epoch: int, fields: dict[str, Any], error: ErrorCode
) -> None:
    harness = ConsumerHarness(FakeCluster(1))
    response = harness.beat(group, member, epoch, **fields)
    assert (response["error_code"], response["member_id"], response["member_epoch"]) == (error, None, 0)
    assert not harness.written("g") and harness.coordinator.group_count == 0
    assert harness.coordinator.consumer.context.held.member_bytes == 0


def test_epochs_that_lie() -> None:
    harness = ConsumerHarness()
    harness.join_consumer("g", "m")
    harness.loop.advance(1.1)
    harness.join_consumer("g", "n")
    harness.beat("g", "m", 2)
    harness.beat("g", "m", 2, owned={CT: [0, 1]})
    before = len(harness.written("g"))
    for member, epoch, owned, error in (
        ("x", 3, None, ErrorCode.UNKNOWN_MEMBER_ID),
        ("m", 4, None, ErrorCode.FENCED_MEMBER_EPOCH),
        ("m", 1, {}, ErrorCode.FENCED_MEMBER_EPOCH),
        ("m", 2, None, ErrorCode.FENCED_MEMBER_EPOCH),  # the previous epoch, but it may have too much
        ("m", 2, {CT: [2]}, ErrorCode.FENCED_MEMBER_EPOCH),
        ("m", 2, {CT: [0]}, ErrorCode.NONE),
        ("m", 2, {}, ErrorCode.NONE),
        ("m", 3, {CT: [3]}, ErrorCode.NONE),
    ):
        assert harness.beat("g", member, epoch, owned=owned)["error_code"] == error, (member, epoch, owned)
    assert len(harness.written("g")) == before
    response = harness.join_consumer("g", "m")  # epoch 0 begins anew and gets what the member has
    assert response["member_epoch"] == 3 and assigned(response) == {CT: [0, 1]}
    assert len(harness.written("g")) == before


def test_static_members_are_told_apart() -> None:
    harness = ConsumerHarness()
    harness.join_consumer("g", "m", instance_id="i")
    for member, epoch, instance, error in (
        ("m", 2, "x", ErrorCode.UNKNOWN_MEMBER_ID),
        ("n", 2, "i", ErrorCode.FENCED_INSTANCE_ID),
        ("n", -1, "i", ErrorCode.FENCED_INSTANCE_ID),
        ("n", -2, "i", ErrorCode.FENCED_INSTANCE_ID),
        ("m", -2, "i", ErrorCode.NONE),
    ):
        assert harness.beat("g", member, epoch, instance_id=instance)["error_code"] == error
    harness.loop.advance(46)  # it did not come back within its session
    assert harness.group("g").is_empty and not harness.consumer_group("g").owners


def test_a_static_member_that_left_for_now_has_its_whole_session_to_come_back() -> None:
    harness = ConsumerHarness()
    harness.join_consumer("g", "m", instance_id="i")
    harness.loop.advance(1.1)
    harness.join_consumer("g", "n")
    assert assigned(harness.beat("g", "m", 2, instance_id="i")) == {CT: [0, 1]}
    harness.beat("g", "m", -2, instance_id="i")  # it did not say that it gave up two partitions
    harness.loop.advance(40)
    assert "m" in harness.group("g").members
    harness.loop.advance(6)
    assert "m" not in harness.group("g").members


def test_a_group_with_malformed_classic_members_is_not_converted_back() -> None:
    harness = ConsumerHarness()
    harness.join_consumer("g", "m")
    (joined,) = harness.join("g", protocols=[("range", SUBSCRIPTION)])
    group, member = harness.consumer_group("g"), joined["member_id"]
    broken = group.members[member].details._replace(classic_member_metadata=ClassicMember(6000, (ClassicProtocol("range", b"x"),)))
    group.members[member] = group.members[member]._replace(details=broken)
    assert harness.beat("g", "m", -1)["error_code"] == 0
    assert harness.group("g").kind == "consumer" and list(harness.group("g").members) == [member]


def test_only_a_group_of_consumers_is_converted() -> None:
    harness = ConsumerHarness(group_initial_rebalance_delay_ms=0)
    connect, _ = harness.stable(group="connect", kind="connect")
    assert harness.join_consumer("connect", "m")["error_code"] == ErrorCode.GROUP_ID_NOT_FOUND
    custom, generation = harness.stable(group="custom")
    group = harness.group("custom")
    group.members[custom[0]].assignment = write_assignment(1, [("ct", [0])])[:-4] + b"\x00\x00\x00\x01x"
    response = harness.join_consumer("custom", "m")
    assert response["error_code"] == ErrorCode.GROUP_ID_NOT_FOUND and "custom assignor" in response["error_message"]
    group.members[custom[0]].assignment = b"\x00"
    assert "malformed" in harness.join_consumer("custom", "m")["error_message"]
    assert harness.heartbeat(custom[0], generation, group="custom") == harness.heartbeat(connect[0], 1, group="connect") == 0


@pytest.mark.parametrize(
    ("policy", "up", "down"),
    [("disabled", False, False), ("UPGRADE", True, False), ("downgrade", False, True), ("bidirectional", True, True)],
)
def test_migration_policy(policy: str, up: bool, down: bool) -> None:
    harness = ConsumerHarness(group_consumer_migration_policy=policy, group_initial_rebalance_delay_ms=0)
    (member,), _ = harness.stable(group="classic")
    harness.group("classic").members[member].assignment = write_assignment(1, [("ct", [0, 1, 2, 3])])
    upgraded = harness.join_consumer("classic", "m")["error_code"]
    assert upgraded == (ErrorCode.NONE if up else ErrorCode.GROUP_ID_NOT_FOUND)
    harness.join_consumer("consumer", "m")
    (joined,) = harness.join("consumer")
    allowed = policy != "disabled"
    assert joined["error_code"] == (ErrorCode.NONE if allowed else ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    harness.beat("consumer", "m", -1)
    kinds = {False: "consumer", True: "classic"}
    assert harness.group("consumer").kind == kinds[down and allowed]


def test_classic_members_of_a_consumer_group_have_deadlines_for_join_and_sync() -> None:
    harness = ConsumerHarness()
    harness.join_consumer("g", "m")
    (joined,) = harness.join("g", rebalance_ms=2000, session_ms=30_000)
    member, generation = joined["member_id"], joined["generation_id"]
    assert harness.sync(member, generation + 1, group="g")[0]["error_code"] == ErrorCode.ILLEGAL_GENERATION
    assert harness.sync("x", generation, group="g")[0]["error_code"] == ErrorCode.UNKNOWN_MEMBER_ID
    wrong = harness.sync(member, generation, group="g", protocol="other")
    assert wrong[0]["error_code"] == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    harness.loop.advance(2.1)  # no SyncGroup
    assert list(harness.group("g").members) == ["m"]
    (joined,) = harness.join("g", rebalance_ms=2000, session_ms=30_000)
    member, generation = joined["member_id"], joined["generation_id"]
    assert not harness.sync(member, generation, group="g")[0]["error_code"]
    harness.loop.advance(3)
    harness.beat("g", "m", harness.group("g").members["m"].member_epoch)
    assert harness.heartbeat(member, generation, group="g") == 0  # its partitions belong to m still
    harness.beat("g", "m", harness.group("g").members["m"].member_epoch, owned={CT: [0, 1]})
    assert harness.heartbeat(member, generation, group="g") == ErrorCode.REBALANCE_IN_PROGRESS
    harness.loop.advance(2.1)  # no JoinGroup
    assert harness.heartbeat(member, generation, group="g") == ErrorCode.UNKNOWN_MEMBER_ID


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = ConsumerHarness(group_consumer_max_size=2)
    for member in ("a", "b"):
        assert not harness.join_consumer("g", member)["error_code"]
    assert harness.join_consumer("g", "c")["error_code"] == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert not harness.join_consumer("g", "a")["error_code"]
    held = harness.coordinator.consumer.context.held
    assert held.member_bytes == harness.consumer_group("g").held_bytes > 2 * limits.MEMBER_OBJECT_BYTES
    monkeypatch.setattr(held, "bytes_max", held.member_bytes + limits.MEMBER_OBJECT_BYTES)
    assert harness.join_consumer("other", "a")["error_code"] == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert harness.beat("g", "a", 2, topic_names=("x" * 5000,))["error_code"] == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert harness.group("other") is None
    monkeypatch.setattr("kafka_cy.coordinator.group_limits.GROUPS_MAX", 1)
    assert harness.join_consumer("other", "a")["error_code"] == ErrorCode.POLICY_VIOLATION
    harness.coordinator.stop()
    assert held.member_bytes == 0


def test_a_group_of_which_nothing_is_left_for_a_moment_takes_no_memory_for_ever() -> None:
    """A static member that reads nothing comes back under another id: the records remove the old one first."""
    harness = ConsumerHarness()
    for number in range(5):
        harness.join_consumer("g", f"m{number}", (), instance_id="i")
        harness.beat("g", f"m{number}", -2, instance_id="i")
    group, held = harness.consumer_group("g"), harness.coordinator.consumer.context.held
    assert held.member_bytes == group.held_bytes > 0 and len(group.members) == 1
    harness.loop.advance(60)
    assert held.member_bytes == 0


@pytest.mark.parametrize("later", [False, True])
def test_no_partitions_are_assigned_that_memory_has_no_room_for(monkeypatch: pytest.MonkeyPatch, later: bool) -> None:
    """A small request names a topic of any number of partitions, and a topic that many groups read may get partitions."""
    harness = ConsumerHarness(group_consumer_assignment_interval_ms=0)
    if later:
        monkeypatch.setattr("kafka_cy.coordinator.consumer.target.AT_ONCE_MAX", 0)
    context = harness.coordinator.consumer.context
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(context._full_line, "_log", lambda what, **details: lines.append(details))
    for name in ("g", "small"):
        harness.join_consumer(name, "m")
        harness.beat(name, "m", harness.consumer_group(name).members["m"].member_epoch)
    harness.topic("ct", CT, 400)
    monkeypatch.setattr(context.held, "bytes_max", context.held.member_bytes + 2 * PARTITION_BYTES * 300)
    harness.beat("g", "m", 2, topic_names=("ct",))
    group = harness.consumer_group("g")
    assert group.epoch > group.assignment_epoch and [line["group"] for line in lines] == ["g"]
    monkeypatch.setattr(context.held, "bytes_max", context.held.member_bytes + 100)
    for fields in ({"topic_names": ("ct2",)}, {}):  # few partitions are assigned in any case
        harness.beat("small", "m", 2, **fields)
    small = harness.consumer_group("small")
    assert small.epoch == small.assignment_epoch and len(small.target["m"][CT2]) == 3
    monkeypatch.setattr(context.held, "bytes_max", 1 << 30)
    for _ in range(2):
        harness.beat("g", "m", group.members["m"].member_epoch, owned={})
    assert len(group.members["m"].assigned[CT]) == 400
    assert context.held.member_bytes == group.held_bytes + small.held_bytes > 800 * PARTITION_BYTES


def test_an_append_that_fails_changes_nothing() -> None:
    harness = ConsumerHarness(FakeCluster(1))
    harness.join_consumer("g", "m")
    partition, machine = harness.cluster.hosted[0], harness.coordinator.runtime.shards[0].state
    before = replicated(machine)
    partition.failing = StorageFailure("Input/output error", 2, 5)
    assert harness.join_consumer("g", "n")["error_code"] == ErrorCode.NOT_COORDINATOR
    assert harness.beat("g", "m", -1)["error_code"] == ErrorCode.NOT_COORDINATOR
    harness.loop.advance(46)  # the session of m ends, which cannot be stored
    assert replicated(machine) == before
    partition.failing = None
    harness.loop.advance(2)
    assert harness.group("g").is_empty


def test_loading_begins_sessions_and_rebalance_timeouts() -> None:
    harness = ConsumerHarness()
    harness.join_consumer("g", "m")
    harness.loop.advance(1.1)
    harness.join_consumer("g", "n")
    harness.beat("g", "m", 2)  # has to give up two partitions
    harness.coordinator.stop()
    loaded = harness.reload()
    assert loaded.beat("g", "n", 3)["error_code"] == 0
    loaded.loop.advance(5.1)
    assert list(loaded.group("g").members) == ["n"]
    assert loaded.beat("g", "n", 3)["member_epoch"] == 4
    loaded.loop.advance(46)
    assert loaded.group("g").is_empty and loaded.coordinator.consumer.context.held.member_bytes == 0


def test_an_assignor_that_is_no_longer_offered() -> None:
    harness = ConsumerHarness()
    harness.join_consumer("g", "m", assignor="range")
    harness.coordinator.stop()
    loaded = harness.reload(group_consumer_assignors=["uniform"])
    loaded.loop.advance(1.1)
    assert loaded.beat("g", "m", 2, topic_names=("ct2",))["member_epoch"] == 2
    response = loaded.beat("g", "m", 2, owned={})
    assert response["member_epoch"] == 3 and assigned(response) == {CT2: [0, 1, 2]}


def test_settings_of_a_group() -> None:
    harness = ConsumerHarness()
    harness.cluster.configs["groups", "g"] = {
        "consumer.session.timeout.ms": "50000", "consumer.heartbeat.interval.ms": "99000",
        "consumer.assignment.interval.ms": "0",
    }  # fmt: skip
    assert harness.join_consumer("g", "m")["heartbeat_interval"] == 15_000  # the broker's limit
    assert harness.join_consumer("h", "m")["heartbeat_interval"] == 5000
    assert assigned(harness.join_consumer("g", "n")) == {}
    assert harness.consumer_group("g").assignment_epoch == 3  # no interval between assignments
    harness.loop.advance(49)
    assert harness.group("h").is_empty and len(harness.group("g").members) == 2
    harness.loop.advance(2)
    assert harness.group("g").is_empty


def test_deleted_topics_and_offsets_of_topics_that_nobody_reads() -> None:
    harness = ConsumerHarness(offsets_retention_minutes=1)
    harness.join_consumer("g", "m", ["ct", "ct2"])
    for topic, topic_id in (("ct", CT), ("ct2", CT2)):
        assert harness.commit(group="g", member="m", generation=2, topic=topic, topic_id=topic_id) == 0
    harness.delete_topic("ct2")
    harness.loop.advance(1.1)
    response = harness.beat("g", "m", 2, owned={CT: [0, 1, 2, 3]})
    assert response["member_epoch"] == 3 and assigned(response) == {CT: [0, 1, 2, 3]}
    for _ in range(20):
        harness.loop.advance(40)
        harness.beat("g", "m", harness.group("g").members["m"].member_epoch, topic_names=("ct",))
    assert set(harness.group("g").offsets) == {"ct"}


def test_a_large_assignment_is_computed_between_other_requests() -> None:
    harness = ConsumerHarness(FakeCluster(1))
    names = [f"t{number}" for number in range(10)]
    for name in names:
        harness.topic(name, uuid.uuid5(uuid.NAMESPACE_URL, name), 200)
    for number in range(300):
        response = harness.join_consumer("big", f"m{number}", names)
        assert (response["error_code"], assigned(response)) == (0, {})
        if number == 0:
            harness.loop.advance(0)  # the first member gets everything
    group = harness.consumer_group("big")
    harness.loop.time_s += 1.1
    first = harness.beat("big", "m0", 1)
    assert first["error_code"] == 0
    turns = 0
    while group.assigning or group.assignment_epoch < group.epoch:
        assert harness.join_consumer(f"other{turns}", "m")["member_epoch"] == 2
        assert harness.beat("big", "m1", group.members["m1"].member_epoch)["error_code"] == 0
        harness.loop.advance(0)
        turns += 1
        if not group.assigning:
            harness.loop.time_s += 1.1
        assert turns < 1000
    sizes = [count(each) for each in group.target.values()]
    assert len(sizes) == 300 and sum(sizes) == 2000 and max(sizes) - min(sizes) <= 1


def test_members_that_come_and_go_while_an_assignment_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "AT_ONCE_MAX", 0)
    harness = ConsumerHarness()
    slices = harness.coordinator.runtime.slices
    held: list[Any] = []
    with monkeypatch.context() as later:
        later.setattr(slices, "add", lambda steps, done=lambda: None: held.append((steps, done)))
        for member, instance in (("a", None), ("b", None), ("s", "i")):
            harness.join_consumer("g", member, instance_id=instance)
        harness.beat("g", "b", -1)
        harness.beat("g", "s", -2, instance_id="i")
        harness.join_consumer("g", "s2", instance_id="i")
        harness.join_consumer("g", "d")
    group = harness.consumer_group("g")
    assert len(held) == 1 and group.assigning
    slices.add(*held[0])
    for _ in range(3):
        harness.loop.advance(1.1)
        harness.beat("g", "a", group.members["a"].member_epoch)
    assert group.assignment_epoch == group.epoch and set(group.target) == {"a", "s2", "d"}
    assert sum(map(count, group.target.values())) == 4


def test_a_classic_member_replaces_the_last_static_member() -> None:
    """The group is classic and Stable afterwards: nobody has to rebalance."""
    harness = ConsumerHarness()
    harness.join_consumer("g", "m", instance_id="i")
    subscription = SUBSCRIPTION
    (joined,) = harness.join("g", instance="i", protocols=[("range", subscription)])
    assert (joined["error_code"], joined["generation_id"], joined["protocol_name"]) == (0, 2, "range")
    group = harness.group("g")
    assert (group.kind, group.state.value, group.generation) == ("classic", "Stable", 2)
    (synced,) = harness.sync(joined["member_id"], 2, group="g", instance="i")
    assert synced["assignment"] == write_assignment(1, [("ct", [0, 1, 2, 3])])
    assert harness.beat("g", "m", 2, instance_id="i")["error_code"] == ErrorCode.GROUP_ID_NOT_FOUND
