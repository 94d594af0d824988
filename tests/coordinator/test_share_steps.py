"""Requests about share groups with many topics: no turn of the loop looks at all of them, and what happens meanwhile counts."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import describe_share_group_offsets, share_group_heartbeat_cold
from kafka_cy.base import slices
from kafka_cy.coordinator.modern import assignment, names, topics
from kafka_cy.coordinator.modern import groups as modern_groups
from kafka_cy.coordinator.modern.heartbeat_responses import member_response
from kafka_cy.coordinator.share import assignor, share_groups, target
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.offsets import Altered, DeletedTopic, DescribedOffset, GroupFailure
from kafka_cy.coordinator.share.requests import ShareHeartbeat
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage.log import StorageFailure

from .fakes import replayed, replicated
from .looks import LOOKS, Id, Name, turns_of
from .share_group_fakes import SST, ShareCluster, ShareGroupHarness, assigned

TOPICS = 600
PIECE = 20  # names and partitions of one step here
MOST = 250  # looks at names and ids in one turn, of which there may be some for each element of a step


NAMES = [Name(f"topic-{number:04}") for number in range(TOPICS)]
IDS = [Id(int=number) for number in range(1, TOPICS + 1)]


class Turns:
    """A coordinator whose turns the test runs; all topics have one partition."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slices, "SLICE_S", 0.0)
        monkeypatch.setattr(names, "PIECE_NAMES", PIECE)
        monkeypatch.setattr(topics, "HASHED_AT_ONCE", PIECE)
        for module in (assignment, assignor, target):
            monkeypatch.setattr(module, "STEP_ITEMS", PIECE)
        monkeypatch.setattr(assignment.steps_of, "__defaults__", (PIECE,))
        monkeypatch.setattr(target, "AT_ONCE_MAX", PIECE)
        self.harness = ShareGroupHarness(ShareCluster(1))
        for name, topic_id in zip(NAMES, IDS, strict=True):
            self.harness.topic(name, topic_id, 1)
        self.harness.loop.threads = []
        LOOKS.most = 0

    @property
    def group(self) -> ShareGroup:
        return self.harness.share_group("g")

    def beat(self, member: str, epoch: int, topic_names: Sequence[str] | None = None) -> list[dict[str, Any]]:
        responses: list[dict[str, Any]] = []
        asked = None if topic_names is None else tuple(topic_names)
        request = ShareHeartbeat("g", member, epoch, None, asked, "sh", "/127.0.0.1")
        with LOOKS.of_turn():
            self.harness.coordinator.share.heartbeat(request, responses.append)
        return responses

    def run(self) -> Iterator[None]:
        return turns_of(self.harness.loop)

    def settled(self, responses: list[Any]) -> Any:
        for _ in self.run():
            pass
        (response,) = responses
        return response

    def ask(self, ask: Callable[[Callable[[Any], object]], object]) -> Any:
        found: list[Any] = []
        with LOOKS.of_turn():
            ask(found.append)
        return self.settled(found)

    def alter(self, asked: Mapping[str, Mapping[int, int]]) -> Any:
        return self.ask(lambda respond: self.harness.coordinator.share_offsets.alter("g", asked, respond))

    def describe(self, asked: Mapping[str, Sequence[int]] | None) -> Any:
        offsets = self.harness.coordinator.share_offsets
        return self.ask(lambda respond: offsets.describe("g", asked, lambda error, found: respond((error, found))))

    def delete(self, asked: Sequence[str]) -> Any:
        return self.ask(lambda respond: self.harness.coordinator.share_offsets.delete("g", asked, respond))

    def check(self) -> None:
        """Nothing was looked at all at once, and the log says the same as the memory."""
        assert 0 < LOOKS.most <= MOST
        hosted = self.harness.cluster.hosted[0]
        assert replicated(replayed(hosted.records())) == replicated(self.harness.coordinator.runtime.shards[0].state)
        assert not self.harness.coordinator.share.work.is_busy("g")


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    return Turns(monkeypatch)


def with_members(turns: Turns, *members: str) -> None:
    """They have all topics."""
    for member in members:
        turns.settled(turns.beat(member, 0, NAMES))
    for _ in range(3):
        turns.harness.loop.time_s += 1.1
        for member in members:
            turns.settled(turns.beat(member, turns.group.members[member].member_epoch))
    assert sum(len(each.assigned) for each in turns.group.members.values()) == TOPICS


def test_no_turn_of_a_heartbeat_looks_at_many_topics(turns: Turns) -> None:
    """Joins, the heartbeats that bring the assignment, those that change topics, and the end of members."""
    with_members(turns, "a", "b")
    assert assigned(turns.settled(turns.beat("a", 0, NAMES))) == {
        topic_id: [0] for topic_id in turns.group.members["a"].assigned
    }
    assert turns.group.settled is not None
    turns.harness.topic(NAMES[0], IDS[0], 2)
    turns.settled(turns.beat("a", turns.group.members["a"].member_epoch))
    turns.settled(turns.beat("b", turns.group.members["b"].member_epoch, NAMES[1:]))
    turns.settled(turns.beat("b", -1))
    turns.check()
    turns.harness.loop.time_s += 50
    for _ in turns.run():
        pass
    assert not turns.group.members and not turns.group.by_name
    turns.check()
    assert turns.ask(lambda respond: turns.harness.coordinator.deletion.delete_group("g", respond)) == ErrorCode.NONE
    turns.check()
    assert turns.harness.coordinator.share.context.held.member_bytes == 0


def test_no_turn_of_a_request_about_offsets_looks_at_many_topics(turns: Turns) -> None:
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    altered = turns.alter({name: {0: 5, 1: 5} for name in NAMES})
    assert altered == {
        name: Altered(topic_id, {0: ErrorCode.NONE, 1: unknown}) for name, topic_id in zip(NAMES, IDS, strict=True)
    }
    turns.check()
    expected = {name: (topic_id, {0: DescribedOffset(5)}) for name, topic_id in zip(NAMES, IDS, strict=True)}
    assert turns.describe(None) == (ErrorCode.NONE, expected)
    assert turns.describe({name: [0] for name in NAMES}) == (ErrorCode.NONE, expected)
    turns.check()
    gone = NAMES[: TOPICS - 1]
    assert turns.delete(gone) == {
        name: DeletedTopic(topic_id) for name, topic_id in zip(gone, IDS, strict=False)
    }
    turns.check()
    assert set(turns.group.states.initialized) == {IDS[-1]}


@pytest.mark.parametrize("name", ["no", "big", None])
def test_no_turn_looks_at_many_partitions_of_a_few_topics_to_show_offsets(turns: Turns, name: str | None) -> None:
    count, topic_id = slices.AT_ONCE_MAX + 1, uuid.UUID(int=TOPICS + 1)
    turns.harness.topic("big", topic_id, count)
    turns.alter({"big": dict.fromkeys(range(count), 5)})
    found: list[Any] = []
    describe = partial(turns.harness.coordinator.share_offsets.describe, "g", respond=lambda *each: found.append(each))
    describe({name: range(count)} if name else None)
    assert not found and len(turns.harness.loop.threads or ()) == 1
    known = ("big", topic_id, DescribedOffset(5))
    topic, its_id, offset = ("no", None, DescribedOffset()) if name == "no" else known
    assert turns.settled(found) == (ErrorCode.NONE, {topic: (its_id, dict.fromkeys(range(count), offset))})
    describe({topic: [7]})
    assert found[1:] == [(ErrorCode.NONE, {topic: (its_id, {7: offset})})], "one partition is looked at at once"


def test_requests_that_come_between_two_steps_wait(turns: Turns) -> None:
    joining = turns.beat("a", 0, NAMES)
    altered: list[Any] = []
    described: list[Any] = []
    coordinator = turns.harness.coordinator
    coordinator.share_offsets.alter("g", {NAMES[0]: {0: 5}}, altered.append)
    coordinator.deletion.delete_group("g", altered.append)
    leaving = turns.beat("a", -1)
    coordinator.share_offsets.describe("g", None, lambda error, found: described.append((error, found)))
    assert (joining, altered, leaving) == ([], [], [])
    assert described == [(ErrorCode.NONE, {})]  # it shows what is stored
    for _ in turns.run():
        pass
    assert [each["error_code"] for each in (*joining, *leaving)] == [0, 0]
    assert altered == [GroupFailure(ErrorCode.NON_EMPTY_GROUP, "The group is not empty."), ErrorCode.NON_EMPTY_GROUP]
    assert not turns.group.members
    turns.check()


@pytest.mark.parametrize("before", range(0, 20, 3))
def test_a_topic_that_is_deleted_between_two_steps_leaves_no_state(
    turns: Turns, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """So many turns before the response, as another run has shown: the records are being made or replayed."""
    other = Turns(monkeypatch)
    others = other.beat("a", 0, NAMES)
    last = sum(1 for _ in itertools.takewhile(lambda _: not others, other.run()))
    joining = turns.beat("a", 0, NAMES)
    for number, _ in enumerate(turns.run()):
        if number == last - before:
            turns.harness.delete_topic(NAMES[0])
    turns.harness.loop.time_s += 1.1
    turns.settled(turns.beat("a", turns.settled(joining)["member_epoch"]))
    assert IDS[0] not in turns.group.states.topic_ids()
    assert set(turns.group.states.initialized) == set(IDS[1:])
    turns.check()


@pytest.mark.parametrize("turn", range(12))
def test_a_topic_that_comes_while_states_are_being_stored_is_assigned(
    turns: Turns, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    """The work on the states of another topic ends between two steps of the heartbeat that sees the new one."""
    for module in (modern_groups, share_groups):
        monkeypatch.setattr(module, "LONG_HEARTBEAT", 0)
    hosted, late = turns.harness.cluster.hosted[0], uuid.UUID(int=TOPICS + 1)

    def store() -> None:
        hosted.held, hosted.high_watermark = False, hosted.log_end_offset
        turns.harness.coordinator.runtime.look()

    hosted.held = True
    turns.beat("a", 0, ["st", "late"])
    for _ in turns.run():
        pass
    assert set(turns.group.states.initialized) == {SST} and turns.harness.coordinator.share.work.is_busy("g")
    turns.harness.topic("late", late, 1)
    turns.harness.loop.time_s += 1.1
    turns.beat("a", turns.group.members["a"].member_epoch)
    for number, _ in enumerate(turns.run()):
        if number == turn:
            store()
    store()
    for _ in range(3):
        turns.settled(turns.beat("a", turns.group.members["a"].member_epoch))
        turns.harness.loop.time_s += 1.1
    assert turns.group.members["a"].assigned == {SST: {0, 1}, late: {0}}
    assert turns.group.settled is not None


@pytest.mark.parametrize("what", ["record", "log", "hash"])
def test_a_failure_half_way_changes_nothing(turns: Turns, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    with_members(turns, "a", "c")
    state = turns.harness.coordinator.runtime.shards[0].state
    before, held = replicated(state), turns.harness.coordinator.share.context.held.member_bytes

    def fails(*_: Any) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as context:
        if what == "record":
            context.setattr("kafka_cy.coordinator.runtime.shard.build_batch", fails)
        elif what == "hash":
            context.setattr(topics.Topics, "_topic_hash", fails)
        else:
            context.setattr(turns.harness.cluster.hosted[0], "failing", StorageFailure("offline", 56))
        assert turns.settled(turns.beat("b", 0, NAMES[1:]))["error_code"]
        assert turns.settled(turns.beat("a", -1))["error_code"]
    assert replicated(state) == before
    assert turns.harness.coordinator.share.context.held.member_bytes == held
    assert isinstance(turns.alter({NAMES[0]: {0: 5}}), GroupFailure)
    assert turns.settled(turns.beat("b", 0, NAMES[1:]))["error_code"] == 0
    turns.check()


@pytest.mark.parametrize("rows", [share_groups.LONG_HEARTBEAT, 1])
def test_a_response_with_many_partitions_is_encoded_on_another_thread(rows: int) -> None:
    made: list[Callable[[], Any]] = []
    responses: list[Any] = []
    request: Any = SimpleNamespace(respond=responses.append, respond_long=lambda prepare: prepare(made.append))
    for partitions in (1, 3000):
        response = member_response("m", 1, 5000, {uuid.UUID(int=row): range(partitions) for row in range(rows)})
        share_group_heartbeat_cold.respond(request, response)
    assert (len(responses), len(made)) == (1, 1)
    assert len(made[0]()["assignment"]["topic_partitions"]) == rows


@pytest.mark.parametrize("count", [3, 10_000])
def test_offsets_of_many_partitions_are_shown_by_another_thread(count: int) -> None:
    made: list[Callable[[], Any]] = []
    responses: list[Any] = []
    request: Any = SimpleNamespace(
        body=SimpleNamespace(groups=[SimpleNamespace(group_id="g", topics=None)]), api_version=1, authorizer=None,
        guarded=lambda call: call, respond=responses.append, respond_long=lambda prepare: prepare(made.append),
    )  # fmt: skip
    described = {"st": (uuid.UUID(int=1), dict.fromkeys(range(count), DescribedOffset(5, 0, 3)))}
    offsets = SimpleNamespace(describe=lambda group_id, asked, respond: respond(ErrorCode.NONE, described))
    groups = SimpleNamespace(share_offsets=offsets, share=SimpleNamespace(is_offered=lambda: True))
    context: Any = SimpleNamespace(groups=groups, cluster=ShareCluster(1))
    describe_share_group_offsets.handle(request, context)
    assert (len(responses), len(made)) == ((1, 0) if count == 3 else (0, 1))
    (group,) = (responses[0] if responses else made[0]())["groups"]
    assert len(group["topics"][0]["partitions"]) == count
