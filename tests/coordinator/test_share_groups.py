"""Share groups: who may do what, what is assigned, and that states are initialized and deleted in every order of events."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_cy.base import slices
from kafka_cy.coordinator.modern.assignment import STEP_ITEMS, Partitions
from kafka_cy.coordinator.modern.limits import PARTITION_BYTES
from kafka_cy.coordinator.offsets.expiry import expiry_pieces
from kafka_cy.coordinator.share.assignor import ShareMemberSpec, SimpleAssignor
from kafka_cy.coordinator.share.offsets import Altered, DeletedTopic, DescribedOffset, GroupFailure
from kafka_cy.coordinator.share.state_machine import ShareStateMachine
from kafka_cy.coordinator.share.state_requests import StateWork
from kafka_cy.protocol.errors import ErrorCode

from .fakes import replayed, replicated
from .share_group_fakes import SST, ST6, ShareGroupHarness, assigned
from .share_state import TrimmedPartition
from .standby import Standby, groups_and_pending, new_groups


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"member": ""}, ErrorCode.INVALID_REQUEST, "MemberId can't be empty."),
        ({"group": " "}, ErrorCode.INVALID_REQUEST, "GroupId can't be empty."),
        ({"rack_id": ""}, ErrorCode.INVALID_REQUEST, "RackId can't be empty."),
        ({"topics": None}, ErrorCode.INVALID_REQUEST, "SubscribedTopicNames must be set in first request."),
        ({"topics": ()}, ErrorCode.INVALID_REQUEST, "SubscribedTopicNames must be set in first request."),
        ({"epoch": -2}, ErrorCode.INVALID_REQUEST, "MemberEpoch is invalid."),
        ({"epoch": 1}, ErrorCode.GROUP_ID_NOT_FOUND, "Share group g not found."),
        ({"epoch": -1}, ErrorCode.GROUP_ID_NOT_FOUND, "Group g not found."),
    ],
)
def test_refused_heartbeats_store_nothing(fields: dict[str, Any], error: ErrorCode, message: str) -> None:
    harness = ShareGroupHarness()
    response = harness.beat(**({"group": "g", "member": "m", "epoch": 0, "topics": ("st",)} | fields))
    assert (response["error_code"], response["error_message"]) == (error, message)
    assert response["member_id"] is None and response["member_epoch"] == 0
    assert harness.written("g") == []


def test_epochs_of_members() -> None:
    harness = ShareGroupHarness()
    assert harness.settle("g")["member_epoch"] == 3
    assert harness.beat("g", "M1", 4)["error_message"] == (
        "The share group member has a greater member epoch (4) than the one known by the group coordinator (3). The member "
        "must abandon all its partitions and rejoin."
    )
    response = harness.beat("g", "M1", 1)
    assert response["error_code"] == ErrorCode.FENCED_MEMBER_EPOCH
    assert "smaller member epoch (1)" in response["error_message"]
    assert "it does not match the previous member epoch (2)" in response["error_message"]
    assert harness.beat("g", "M1", 2)["error_code"] == 0
    assert harness.beat("g", "M2", 3)["error_message"] == "Member M2 is not a member of group g."
    assert harness.beat("g", "M2", -1)["error_code"] == ErrorCode.UNKNOWN_MEMBER_ID
    written = len(harness.written("g"))
    response = harness.beat("g", "M1", 0, ("st",))  # begins anew: nothing has changed
    assert response["member_epoch"] == 3 and assigned(response) == {SST: [0, 1]}
    assert len(harness.written("g")) == written
    assert assigned(harness.beat("g", "M1", 3, ("st",))) == {SST: [0, 1]}  # a full request


def test_a_full_group_and_full_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = ShareGroupHarness(group_share_max_size=1)
    harness.beat("g", "M1", 0, ("st",))
    assert harness.beat("g", "M2", 0, ("st",))["error_message"] == "The share group has reached its maximum capacity of 1 members."
    monkeypatch.setattr(harness.coordinator.share.context.held, "bytes_max", 10_000)
    response = harness.beat("h", "M1", 0, ("x" * 2500,))
    assert response["error_code"] == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert harness.coordinator.share.context.held.member_bytes == harness.share_group("g").held_bytes
    harness.beat("g", "M1", -1)
    assert harness.coordinator.share.context.held.member_bytes == 2 * PARTITION_BYTES  # the group has share partitions still
    assert isinstance(harness.alter("other", {"st": {0: 1, 1: 1}}), dict)
    assert harness.coordinator.share.context.held.member_bytes == 4 * PARTITION_BYTES
    monkeypatch.setattr(harness.coordinator.share.context.held, "bytes_max", 5 * PARTITION_BYTES)
    assert harness.alter("more", {"st": {0: 1, 1: 1}}) == GroupFailure(ErrorCode.POLICY_VIOLATION)


def test_memory_of_states_is_given_back_when_they_are_deleted() -> None:
    harness = ShareGroupHarness()
    held = harness.coordinator.share.context.held
    for group in ("offsets", "topic", "group"):
        harness.alter(group, {"st": {0: 1, 1: 1}})
    assert held.member_bytes == 6 * PARTITION_BYTES
    assert harness.delete_offsets("offsets", "st") == {"st": DeletedTopic(SST)}
    assert held.member_bytes == 4 * PARTITION_BYTES
    shards, harness.states.runtime.shards = harness.states.runtime.shards, {}
    hosted, harness.cluster.states = harness.cluster.states, {}
    assert harness.delete_group("group") == ErrorCode.NOT_COORDINATOR  # it stays, without states
    assert held.member_bytes == 2 * PARTITION_BYTES
    harness.cluster.states, harness.states.runtime.shards = hosted, shards
    harness.delete_topic("st")
    assert held.member_bytes == 0


def test_kinds_of_groups_do_not_mix() -> None:
    harness = ShareGroupHarness()
    harness.settle("g")
    assert harness.join("g")[0]["error_code"] == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert harness.commit(group="g") == ErrorCode.GROUP_ID_NOT_FOUND
    assert harness.describe("g")["error_code"] == ErrorCode.GROUP_ID_NOT_FOUND
    found: list[Any] = []
    harness.coordinator.delete_offsets("g", [("st", 0)], lambda error, errors: found.append(error))
    assert found == [ErrorCode.GROUP_ID_NOT_FOUND]
    assert harness.delete_group("g") == ErrorCode.NON_EMPTY_GROUP
    harness.beat("g", "M1", -1)
    assert harness.join("g")[0]["error_code"] == ErrorCode.INCONSISTENT_GROUP_PROTOCOL  # also of an empty one
    harness.stable(group="classic")
    response = harness.beat("classic", "M1", 0, ("st",))
    assert (response["error_code"], response["error_message"]) == (69, "Group classic is not a share group.")
    assert harness.describe_share("classic")["error_message"] == "Group classic is not a share group."
    assert harness.describe_share("no")["error_message"] == "Group no not found."
    assert harness.describe_share("")["error_code"] == ErrorCode.INVALID_GROUP_ID
    assert harness.alter("classic", {"st": {0: 1}}) == GroupFailure(
        ErrorCode.GROUP_ID_NOT_FOUND, "Group classic is not a share group."
    )
    assert harness.coordinator.list_groups(["empty"], ["Share"])[1] == [
        {"group_id": "g", "protocol_type": "share", "group_state": "Empty", "group_type": "share"}
    ]


def test_members_share_partitions_and_lose_topics() -> None:
    harness = ShareGroupHarness()
    harness.settle("g", topics=("st", "st6"))
    harness.loop.advance(1.1)
    assert harness.beat("g", "M2", 0, ("st6", "st"))["member_epoch"] == 4
    harness.loop.advance(1.1)
    responses = {member: harness.beat("g", member, 0, ("st", "st6")) for member in ("M1", "M2")}
    parts = [assigned(each) or {} for each in responses.values()]
    assert sorted(sum(map(len, part.values())) for part in parts) == [1, 2]
    harness.loop.advance(1.1)
    response = harness.beat("g", "M1", 4, ("st6",))
    assert assigned(response) == {ST6: [0]}
    described = harness.describe_share("g")
    assert described["group_state"] == "Stable" and described["assignor_name"] == "simple"
    assert [each["member_id"] for each in described["members"]] == ["M2", "M1"]


def test_deletion_of_a_group_goes_on_after_a_restart() -> None:
    harness = ShareGroupHarness()
    harness.settle("g")
    harness.beat("g", "M1", -1)
    states, harness.states.runtime.shards = harness.states.runtime.shards, {}
    harness.cluster.states, hosted = {}, harness.cluster.states  # the share coordinator has gone
    assert harness.delete_group("g") == ErrorCode.NOT_COORDINATOR
    assert harness.share_group("g").states.deleting == {SST: "st"}
    harness.cluster.states, harness.states.runtime.shards = hosted, states
    again = harness.reload()
    again.loop.advance(0.1)
    assert again.share_group("g").states == ({}, {}, {})
    assert again.state("g", SST, 0) is None and again.state("g", SST, 1) is None
    assert again.delete_group("g") == 0


def test_an_empty_group_stays_when_offsets_expire_and_goes_on_where_it_was() -> None:
    harness = ShareGroupHarness()
    harness.settle("left")
    harness.beat("left", "M1", -1)
    epoch, state = harness.share_group("left").epoch, harness.state("left", SST, 0)
    assert isinstance(harness.alter("altered", {"st": {0: 5, 1: 5}}), dict)
    harness.commit(group="simple")
    harness.loop.advance(8 * 86_400)
    assert harness.group("simple") is None, "offsets have expired"
    again = harness.reload()
    assert again.share_group("left").epoch == epoch and again.share_group("altered").states.initialized
    for group in ("left", "altered"):
        again.beat(group, "M2", 0, ("st",))
        again.loop.advance(1.1)
    after = again.state("left", SST, 0)
    assert state is not None and after is not None and after.state_epoch == state.state_epoch, "it was not initialized again"
    assert again.describe_offsets("altered")["st"][1][0].start_offset == 5


def test_a_share_group_that_took_a_name_does_not_expire_in_the_place_of_the_group_of_before() -> None:
    harness = ShareGroupHarness()
    harness.commit(group="g")
    pieces = list(expiry_pieces(harness.group("g"), 500))
    assert harness.delete_group("g") == 0
    harness.alter("g", {"st": {0: 5}})
    for piece in (*pieces, ()):
        harness.coordinator._expire_piece(("g", piece))
    assert harness.share_group("g").states.initialized


def test_initialization_is_tried_again_later_and_later() -> None:
    harness = ShareGroupHarness()
    hosted, harness.cluster.states = harness.cluster.states, {}
    harness.states.runtime.shards.clear()
    harness.beat("g", "M1", 0, ("st",))
    attempts = 0
    for _ in range(60):
        harness.loop.advance(1.0)
        written = len(harness.written("g"))
        harness.beat("g", "M1", 2)
        attempts += len(harness.written("g")) > written
    assert attempts == 5  # after 1, 2, 4, 8, 16 seconds
    harness.cluster.states = hosted
    harness.loop.advance(30)
    harness.beat("g", "M1", 2)
    harness.loop.advance(1.1)
    harness.beat("g", "M1", 2)
    harness.loop.advance(1.1)
    assert assigned(harness.beat("g", "M1", 0, ("st",))) == {SST: [0, 1]}


def test_states_are_initialized_again_after_a_restart_in_between() -> None:
    harness = ShareGroupHarness()
    harness.coordinator.share.requests = None  # the broker stops before the states are stored
    harness.beat("g", "M1", 0, ("st",))
    again = harness.reload()
    assert again.share_group("g").states.initializing
    again.beat("g", "M1", 2)
    again.loop.advance(1.1)
    assert assigned(again.beat("g", "M1", 2)) == {SST: [0, 1]}


def test_a_topic_that_is_deleted_while_the_broker_is_down() -> None:
    harness = ShareGroupHarness()
    harness.settle("g")
    topic = harness.cluster.topics.pop("st")
    del harness.cluster.topic_by_id[topic.id]
    again = harness.reload()
    again.cluster.topics.pop("st", None)  # the harness makes it anew
    again.cluster.topic_by_id.pop(SST, None)
    assert not again.share_group("g").states.topic_ids()


def test_describe_offsets() -> None:
    harness = ShareGroupHarness()
    nothing = {"st": (SST, {0: DescribedOffset(), 1: DescribedOffset()})}
    assert harness.describe_offsets("g") == {}
    assert harness.describe_offsets("g", {"st": [0, 1], "no": [7]}) == nothing | {"no": (None, {7: DescribedOffset()})}
    harness.alter("g", {"st": {0: 5}})
    harness.cluster.logs["st", 0] = TrimmedPartition(high_watermark=8)
    assert harness.describe_offsets("g") == {"st": (SST, {0: DescribedOffset(5, 0, 3)})}


def test_alter_and_delete_offsets_refuse_what_does_not_exist() -> None:
    harness = ShareGroupHarness()
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert harness.alter("g", {"no": {0: 1}}) == {"no": Altered(None, {0: unknown})}
    assert harness.written("g") == []
    altered = harness.alter("g", {"st": {0: 1, 2: 1, -1: 1, 1: -2}})
    assert altered == {"st": Altered(SST, {0: ErrorCode.NONE, 2: unknown, -1: unknown, 1: ErrorCode.INVALID_REQUEST})}
    assert harness.delete_offsets("no", "st") == GroupFailure(ErrorCode.GROUP_ID_NOT_FOUND, "Group no not found.")
    deleted = harness.delete_offsets("g", "st6", "no", "st")
    assert deleted == {
        "st": DeletedTopic(SST), "no": DeletedTopic(None, unknown),
        "st6": DeletedTopic(None, unknown, "There is no offset information to delete."),
    }  # fmt: skip
    harness.beat("g", "M1", 0, ("st",))
    not_empty = GroupFailure(ErrorCode.NON_EMPTY_GROUP, "The group is not empty.")
    assert harness.alter("g", {"st": {0: 1}}) == not_empty == harness.delete_offsets("g", "st")


def test_no_partitions_are_assigned_that_memory_has_no_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small request names a topic of any number of partitions; so do members of any number of groups."""
    harness = ShareGroupHarness()
    context = harness.coordinator.share.context
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(context._full_line, "_log", lambda what, **details: lines.append(details))
    harness.topic("big", uuid.UUID(int=9), 300)
    monkeypatch.setattr(context.held, "bytes_max", 2 * 400 * PARTITION_BYTES)
    assert harness.beat("g", "M1", 0, ("big",))["error_code"] == 0
    harness.loop.advance(1.1)
    assert harness.share_group("g").states.partition_count() == 300
    assert assigned(harness.beat("g", "M1", 2)) is None  # states, a target and what the member has are too much together
    assert [(line["kind"], line["group"]) for line in lines] == [("share", "g")]
    monkeypatch.setattr(context.held, "bytes_max", 1 << 30)
    harness.loop.advance(1.1)
    found = assigned(harness.beat("g", "M1", 2)) or assigned(harness.beat("g", "M1", 0, ("big",)))
    assert found == {uuid.UUID(int=9): [*range(300)]}
    assert context.held.member_bytes == harness.share_group("g").held_bytes > 900 * PARTITION_BYTES
    monkeypatch.setattr(context.held, "bytes_max", context.held.member_bytes + 10_000)
    harness.beat("h", "M1", 0, ("big",))
    assert harness.share_group("h").states.partition_count() == 0 and len(harness.share_group("h").members) == 1
    monkeypatch.setattr(context.held, "bytes_max", 1 << 30)
    harness.beat("h", "M1", 2)
    harness.loop.advance(1.1)
    assert assigned(harness.beat("h", "M1", 2)) == {uuid.UUID(int=9): [*range(300)]}, "a later heartbeat has tried again"


def test_requests_about_states_do_not_overtake_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    harness = ShareGroupHarness()
    harness.topic("big", uuid.UUID(int=9), 500)  # worked on in slices
    harness.beat("g", "M1", 0, ("big",))
    harness.beat("g", "M1", -1)
    found: list[Any] = []
    harness.coordinator.share_offsets.alter("g", {"big": {7: 70}}, found.append)
    harness.coordinator.deletion.delete_group("g", found.append)
    assert found == []
    harness.loop.advance(1)
    assert found == [{"big": Altered(uuid.UUID(int=9), {7: ErrorCode.NONE})}, ErrorCode.NONE]
    assert not any(shard.state.states for shard in harness.states.runtime.loaded_shards())
    assert not harness.coordinator.share.work.is_busy("g")


def test_hundreds_of_requests_wait_for_work_on_the_states_of_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    harness = ShareGroupHarness()
    harness.topic("big", uuid.UUID(int=9), 500)
    harness.beat("g", "M1", 0, ("big",))  # the states are initialized in slices; what waits for it ends at once
    found: list[Any] = []
    for _ in range(500):
        harness.coordinator.share_offsets.alter("g", {"big": {7: 70}}, found.append)
    assert not found
    harness.loop.advance(1)
    assert found == [GroupFailure(ErrorCode.NON_EMPTY_GROUP, "The group is not empty.")] * 500
    assert not harness.coordinator.share.work.is_busy("g")


def test_work_that_fails_does_not_hold_up_what_waits_for_it() -> None:
    work, ended = StateWork(), []

    def begin() -> None:
        ended.append("begun")

    def fail() -> None:
        raise ValueError

    def again() -> None:
        ended.append("again")
        work.over("g")

    work.add("g", begin)
    work.add("g", fail)
    work.add("g", again)
    with pytest.raises(ValueError):
        work.over("g")
    assert ended == ["begun", "again"]
    assert not work.is_busy("g")


def test_many_partitions_are_assigned_in_slices() -> None:
    harness = ShareGroupHarness()
    harness.topic("big", uuid.UUID(int=9), 3000)
    for member in range(3):
        harness.beat("g", f"M{member}", 0, ("big",))
    for _ in range(4):
        harness.loop.advance(1.1)
        for member in range(3):
            harness.beat("g", f"M{member}", 0, ("big",))
    group = harness.share_group("g")
    assert [sum(map(len, each.assigned.values())) for each in group.members.values()] == [1000] * 3
    assert group.settled is not None
    epoch = group.epoch
    written = len(harness.written("g"))
    for member in range(3):
        harness.beat("g", f"M{member}", epoch)
    assert len(harness.written("g")) == written


# -- the assignor --

TOPIC_IDS = [uuid.UUID(int=each) for each in range(1, 5)]


def shared_out(members: dict[str, ShareMemberSpec], partitions: Partitions) -> dict[str, Partitions]:
    result: dict[str, Partitions] = {}
    slices.at_once(SimpleAssignor().assign(members, partitions, result))
    return result


def sharers(result: dict[str, Partitions], topic_id: uuid.UUID, partition: int) -> int:
    return sum(partition in each.get(topic_id, ()) for each in result.values())


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(0, 7), min_size=1, max_size=4),
    rounds=st.lists(st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=9), min_size=1, max_size=3),
    same=st.booleans(),
)
def test_assignments(counts: list[int], rounds: list[list[set[int]]], same: bool) -> None:
    """Every partition that somebody reads is assigned, only to readers, to equally many each, and again the same way."""
    partitions = {TOPIC_IDS[each]: frozenset(range(count)) for each, count in enumerate(counts)}
    result: dict[str, Partitions] = {}
    for subscriptions in rounds:
        topics = [frozenset(TOPIC_IDS[each] for each in sorted(wanted)) for wanted in subscriptions]
        members = {
            f"m{place}": ShareMemberSpec(topics[0] if same else wanted, result.get(f"m{place}", {}))
            for place, wanted in enumerate(topics)
        }
        result = shared_out(members, partitions)
        for member_id, spec in members.items():
            assert set(result[member_id]) <= spec.topic_ids
            assert all(each <= partitions.get(topic_id, frozenset()) for topic_id, each in result[member_id].items())
        for topic_id, each in partitions.items():
            readers = sum(topic_id in spec.topic_ids for spec in members.values())
            assert all(sharers(result, topic_id, partition) >= 1 for partition in each if readers)
        if same:
            total = sum(len(partitions.get(topic_id, ())) for topic_id in topics[0])
            sizes = [sum(map(len, each.values())) for each in result.values()]
            assert max(sizes) - min(sizes) <= 1
            assert total < len(members) or sum(sizes) == total
        again = {member_id: spec._replace(assigned=result[member_id]) for member_id, spec in members.items()}
        assert shared_out(again, partitions) == result


class Walked(dict[uuid.UUID, frozenset[int]]):
    """A part of an assignment that counts the topics that are walked over."""

    count = 0

    def __iter__(self) -> Iterator[uuid.UUID]:
        for topic_id in super().__iter__():
            self.count += 1
            yield topic_id


def test_no_step_walks_over_many_topics_that_nobody_reads_any_more() -> None:
    before = Walked({uuid.UUID(int=each): frozenset({0}) for each in range(10, 10 + 3 * STEP_ITEMS)})
    spec = ShareMemberSpec(frozenset(TOPIC_IDS[:2]), before)
    result: dict[str, Partitions] = {}
    most = last = 0
    for step in SimpleAssignor().assign({"m": spec}, {TOPIC_IDS[0]: frozenset({0})}, result):
        if isinstance(step, slices.Work):
            step.run()
        most, last = max(most, before.count - last), before.count
    assert 0 < most <= STEP_ITEMS
    assert result == {"m": {TOPIC_IDS[0]: {0}}}


# -- replay --

operations = st.one_of(
    st.tuples(st.just("join"), st.sampled_from("ab"), st.integers(0, 2), st.sampled_from([("st",), ("st", "st6"), ("no",)])),
    st.tuples(st.just("stay"), st.sampled_from("ab"), st.integers(0, 2)),
    st.tuples(st.just("leave"), st.sampled_from("ab"), st.integers(0, 2)),
    st.tuples(st.just("alter"), st.sampled_from("ab"), st.sampled_from(["st", "st6"]), st.integers(0, 2)),
    st.tuples(st.just("delete_offsets"), st.sampled_from("ab"), st.sampled_from(["st", "st6"])),
    st.tuples(st.just("delete_group"), st.sampled_from("ab")),
    st.tuples(st.just("grow"), st.integers(1, 4)),
    st.tuples(st.just("wait"), st.sampled_from([0.2, 1.1, 46.0])),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(operations, max_size=25))
def test_the_log_tells_the_state_and_every_initialized_partition_has_a_state(steps: list[tuple[Any, ...]]) -> None:
    """Killed between any two batches, of groups or of states of share partitions, a coordinator comes back with the same state."""
    harness = ShareGroupHarness()
    groups, states = harness.coordinator.runtime.shards, harness.states.runtime.shards
    standbys = [
        Standby(harness.cluster.hosted[index], partial(groups.get, index), new_groups, groups_and_pending)
        for index in {harness.partition_index(group) for group in "ab"}
    ]
    standbys += [
        Standby(hosted, partial(states.get, index), ShareStateMachine, lambda machine: (machine.states, machine.batch_count))
        for index, hosted in harness.cluster.states.items()
    ]
    epochs: dict[tuple[str, int], int] = {}
    size = 1
    for what, *arguments in steps:
        if what in {"join", "stay", "leave"}:
            group, who, *topics = arguments
            epoch = {"join": 0, "leave": -1}.get(what, epochs.get((group, who), 0))
            response = harness.beat(group, f"m{who}", epoch, *(topics or [("st",)]))
            epochs[group, who] = response["member_epoch"]
        elif what == "alter":
            harness.alter(arguments[0], {arguments[1]: {0: arguments[2]}})
        elif what == "grow":
            size = max(size, arguments[0])
            harness.topic("st6", ST6, size)
        elif what == "wait":
            harness.loop.advance(arguments[0])
        else:
            getattr(harness, what)(*arguments)
        for standby in standbys:
            standby.look()
    machines = [shard.state for shard in harness.coordinator.runtime.loaded_shards()]
    live = {name: state for machine in machines for name, state in replicated(machine).items()}
    stored: dict[str, Any] = {}
    for group in "ab":
        stored |= {name: state for name, state in replicated(replayed(harness.written(group))).items() if name == group}
    assert live == stored
    for group in live:
        for topic_id, each in harness.share_group(group).states.initialized.items():
            assert all(harness.state(group, topic_id, partition) is not None for partition in each.partitions)
