"""DeleteGroups and OffsetDelete of many offsets: in steps, in several batches if need be; whatever comes meanwhile waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import offset_commit_cold, offset_delete
from kafka_cy.base import slices
from kafka_cy.coordinator import commits, group_deletion
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.offsets import delete, pieces
from kafka_cy.coordinator.records import GroupKey, OffsetKey
from kafka_cy.coordinator.runtime import shard
from kafka_cy.coordinator.state_machine import GroupStateMachine
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import iterate_batches
from kafka_cy.storage.log import StorageFailure

from .fakes import FakeCluster, Harness, replayed, replicated
from .test_long_changes import PARTITIONS, LongServer, codes
from .test_long_operations import turns

OFFSETS = 100
PIECE = 8  # offsets of one batch here
STEP = 3  # records that are replayed in one step here


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: one step in each turn of the loop."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    monkeypatch.setattr(shard, "REPLAYED_AT_ONCE", STEP)
    monkeypatch.setattr(pieces, "PIECE_OFFSETS_MAX", PIECE)
    monkeypatch.setattr(group_deletion, "DELETED_AT_ONCE", PIECE)


class Deletion:
    """A group with many offsets, and what became of the request to delete it."""

    def __init__(self, *, members: bool = False) -> None:
        self.harness = Harness(FakeCluster(1))
        self.log = self.harness.cluster.hosted[0]
        if members:  # the group itself is stored, too
            (member, *_), _ = self.harness.stable()
            self.harness.leave([(member, None)])
        offsets = [CommitPartition(f"t{number % 10}", None, number // 10, number, -1, "") for number in range(OFFSETS)]
        found: list[Any] = []
        request = CommitRequest("g", -1, "", None, -1, True, offsets)
        self.harness.coordinator.commit(request, lambda error, errors: found.append(error))
        assert found == [ErrorCode.NONE]
        self.harness.loop.threads = []
        self.before = len(self.log.batches)
        self.responses: list[ErrorCode] = []

    def begin(self) -> None:
        self.responses = []
        self.harness.coordinator.deletion.delete_group("g", self.responses.append)

    def turns(self) -> Iterator[None]:
        yield from turns(self.harness)

    def finish(self) -> list[ErrorCode]:
        for _ in self.turns():
            pass
        return self.responses

    def counts(self) -> list[int]:
        """How many records each batch of the deletion has."""
        batches = [next(iter(iterate_batches(each))) for each in self.log.batches[self.before :]]
        return [len(list(each.records())) for each in batches]


@pytest.mark.parametrize("members", [False, True])
def test_many_offsets_go_in_pieces(monkeypatch: pytest.MonkeyPatch, members: bool) -> None:
    deletion = Deletion(members=members)
    done = 0
    replay_steps = GroupStateMachine.replay_steps

    def counted(self: GroupStateMachine, *arguments: Any) -> Iterator[object]:
        nonlocal done
        done += 1
        return replay_steps(self, *arguments)

    monkeypatch.setattr(GroupStateMachine, "replay_steps", counted)
    deletion.begin()
    assert done <= STEP
    for _ in deletion.turns():
        assert done <= STEP, "a turn does one step"
        done = 0
    assert deletion.responses == [ErrorCode.NONE] and deletion.harness.group() is None
    assert max(deletion.counts()) <= PIECE and sum(deletion.counts()) == OFFSETS + 1
    assert deletion.harness.coordinator.counts.deletions == OFFSETS
    assert replicated(replayed(deletion.log.records())) == {}
    assert deletion.harness.delete_group() is ErrorCode.GROUP_ID_NOT_FOUND


def test_no_batch_is_larger_than_the_log_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither with a long id, nor with a small `message.max.bytes`."""
    monkeypatch.undo()
    harness = Harness(FakeCluster(1), message_max_bytes=5000)
    group = "g" * 1000
    for number in range(20):
        assert harness.commit(group=group, partition=number) == 0
    assert harness.delete_group(group) == 0
    assert harness.coordinator.group_count == 0 and replicated(replayed(harness.written(group))) == {}


def test_requests_during_a_deletion_wait_for_its_end() -> None:
    deletion = Deletion()
    harness = deletion.harness
    joined: list[Any] = []
    committed: list[ErrorCode] = []
    fetched: list[Any] = []
    deletion.begin()
    for turn, _ in enumerate(deletion.turns()):
        if turn == 5:
            assert 0 < harness.group().offsets.count < OFFSETS
            request = CommitRequest("g", -1, "", None, -1, True, [CommitPartition("new", None, 0, 7, -1, "")])
            harness.coordinator.fetch(["g"], lambda place, group: group and group.offsets.count, fetched.append)
            harness.coordinator.commit(request, lambda error, errors: committed.append(error))
            joined = harness.join(known=True)
        if turn > 5 and not deletion.responses:
            assert not (fetched or committed or joined)
    assert deletion.responses == [ErrorCode.NONE]
    assert fetched == [[(ErrorCode.NONE, None)]] and committed == [ErrorCode.NONE]
    assert joined[0]["error_code"] == ErrorCode.MEMBER_ID_REQUIRED
    assert dict(harness.group().offsets).keys() == {"new"}


def test_a_group_with_members_stays_as_it_is() -> None:
    deletion = Deletion(members=True)
    joined = deletion.harness.join()
    while not joined:
        deletion.harness.loop.advance(0.25)
    deletion.before = len(deletion.log.batches)
    deletion.begin()
    assert deletion.finish() == [ErrorCode.NON_EMPTY_GROUP]
    assert deletion.counts() == [] and deletion.harness.group().offsets.count == OFFSETS


@pytest.mark.parametrize("members", [False, True])
def test_a_crash_after_each_batch_leaves_a_group_that_can_be_deleted(members: bool) -> None:
    deletion = Deletion(members=members)
    deletion.begin()
    deletion.finish()
    left = OFFSETS
    for place in range(deletion.before, len(deletion.log.batches)):
        cluster = FakeCluster(1)
        log = cluster.hosted[0]
        log.batches = deletion.log.batches[: place + 1]
        log.log_end_offset = log.high_watermark = sum(
            next(iter(iterate_batches(each))).last_offset_delta + 1 for each in log.batches
        )
        harness = Harness(cluster)
        for _ in turns(harness):  # it loads the log
            pass
        group = harness.group()
        now = group.offsets.count if group is not None else 0
        assert now < left or place == len(deletion.log.batches) - 1, "each batch removes something"
        assert (group is not None) == (now > 0 or (members and place < len(deletion.log.batches) - 1))
        found: list[ErrorCode] = []
        harness.coordinator.deletion.delete_group("g", found.append)
        for _ in turns(harness):
            pass
        assert found == [ErrorCode.NONE if group is not None else ErrorCode.GROUP_ID_NOT_FOUND]
        assert replicated(replayed(log.records())) == {}
        left = now
    assert left == 0


def test_an_error_in_the_middle_leaves_a_group_that_can_be_deleted() -> None:
    deletion = Deletion(members=True)
    deletion.begin()
    for _ in deletion.turns():
        if deletion.harness.group().offsets.count <= OFFSETS // 2:
            break
    deletion.log.failing = StorageFailure("the log directory is offline", 2)
    assert deletion.finish() == [ErrorCode.NOT_COORDINATOR]
    group = deletion.harness.group()
    assert 0 < group.offsets.count <= OFFSETS // 2 and group.state_name == "Empty"
    deletion.log.failing = None
    deletion.begin()
    assert deletion.finish() == [ErrorCode.NONE] and deletion.harness.group() is None


def test_the_partition_is_lost_in_the_middle() -> None:
    deletion = Deletion()
    deletion.begin()
    for _ in deletion.turns():
        if deletion.harness.group().offsets.count <= OFFSETS // 2:
            break
    deletion.harness.coordinator.runtime.unload(0, reload=True)
    assert deletion.finish() == [ErrorCode.NOT_COORDINATOR]
    assert 0 < deletion.harness.group().offsets.count <= OFFSETS // 2
    deletion.begin()
    assert deletion.finish() == [ErrorCode.NONE] and deletion.harness.group() is None


@pytest.mark.parametrize("committed", [True, False])
def test_offsets_of_open_transactions_go_along(committed: bool) -> None:
    """Also those that the end of a transaction commits in the middle."""
    server = LongServer()
    first, second = server.harness.started("t"), server.harness.started("u")
    server.send_commit(5)
    server.send_txn_commit(first, 7)
    server.send_txn_commit(second, 8, 2, transactional_id="u")
    server.settle()
    found: list[ErrorCode] = []
    server.harness.groups.deletion.delete_group("g", found.append)
    for _ in range(4):
        server.turn()
    assert 0 < len(server.offsets()) < PARTITIONS and not found
    ended = server.send_end(second, committed=committed, transactional_id="u")
    server.settle()
    assert found == [ErrorCode.NONE] and ended[0][0] is ErrorCode.NONE
    assert server.harness.groups.group("g") == (ErrorCode.NONE, None)
    server.send_end(first)
    server.settle()
    assert server.offsets() == {} and server.harness.groups.offset_commit.pending_held.count == 0
    assert LongServer(server.harness.restarted()).offsets() == {}


def test_the_last_batch_removes_the_group() -> None:
    deletion = Deletion(members=True)
    deletion.begin()
    deletion.finish()
    machine = GroupStateMachine({}, lambda *_: None)
    keys = []
    for each in deletion.log.batches[deletion.before :]:
        for record in next(iter(iterate_batches(each))).records():
            decoded = machine.decode(record.key or b"", record.value)
            assert decoded is not None and decoded[1] is None
            keys.append(decoded[0])
    assert isinstance(keys[-1], GroupKey) and all(isinstance(each, OffsetKey) for each in keys[:-1])


def test_codes_of_commits_after_a_deletion() -> None:
    server = LongServer()
    server.send_commit(5)
    server.settle()
    found: list[ErrorCode] = []
    server.harness.groups.deletion.delete_group("g", found.append)
    late = server.send_commit(9, 1)
    server.settle()
    assert found == [ErrorCode.NONE] and codes(late[0]) == {0}
    assert server.offsets() == {("tt", 0): 9}


# -- OffsetDelete --


class OffsetDeletes(LongServer):
    """A group with offsets of two topics."""

    def __init__(self) -> None:
        super().__init__()
        self.send_commit(5)
        self.send_commit(6, topic="tu")
        self.settle()

    def send_delete(self, *topics: tuple[str, range]) -> list[Any]:
        rows = [
            SimpleNamespace(name=name, partitions=[SimpleNamespace(partition_index=each) for each in partitions])
            for name, partitions in topics
        ]
        return self.send(47, 0, group_id="g", topics=rows)


def rows_of(response: dict[str, Any]) -> list[tuple[str, list[int], set[int]]]:
    """(topic, partitions, errors) of each topic."""
    return [
        (each["name"], [row["partition_index"] for row in each["partitions"]], {row["error_code"] for row in each["partitions"]})
        for each in response["topics"]
    ]


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many offsets the operation finds in each turn."""
    for module in (delete, commits):
        monkeypatch.setattr(module, "DELETED_AT_ONCE", STEP)
    monkeypatch.setattr(offset_delete, "ANSWERED_AT_ONCE_MAX", STEP)
    monkeypatch.setattr(offset_commit_cold, "STEP_PARTITIONS", STEP)
    looked = [0]
    tombstones = delete.offset_tombstones

    def counted(group_id: str, partitions: Sequence[tuple[str, int]]) -> Any:
        looked[-1] += len(partitions)
        return tombstones(group_id, partitions)

    monkeypatch.setattr(delete, "offset_tombstones", counted)
    return looked


def test_many_deleted_offsets_go_in_steps(few_at_once: list[int]) -> None:
    """One batch, and the response has the order of the request, unknown partitions first, as in Kafka."""
    server = OffsetDeletes()
    batches = len(server.log("g").batches)
    response = server.send_delete(("tu", range(20)), ("no", range(2)), ("tt", range(9, PARTITIONS + 2)))
    late = server.send_commit(9, 1, topic="tu")
    while server.turn():
        few_at_once.append(0)
        assert not late or response
    assert max(few_at_once) == STEP and sum(few_at_once) == 20 + PARTITIONS - 9
    assert rows_of(response[0]) == [
        ("no", [0, 1], {ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}),
        ("tt", [40, 41, *range(9, 40)], {0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}),
        ("tu", list(range(20)), {0}),
    ]
    expected = {("tt", each): 5 for each in range(9)} | {("tu", each): 6 for each in range(20, PARTITIONS)} | {("tu", 0): 9}
    assert server.offsets() == expected and len(server.log("g").batches) == batches + 2
    assert LongServer(server.harness.restarted()).offsets() == expected


def test_more_deleted_offsets_than_a_batch_can_remove(monkeypatch: pytest.MonkeyPatch, few_at_once: list[int]) -> None:
    monkeypatch.setattr(commits, "tombstones_max", lambda *_: PIECE)
    server = OffsetDeletes()
    batches = len(server.log("g").batches)
    response = server.send_delete(("tt", range(PARTITIONS)))
    server.settle()
    assert rows_of(response[0]) == [("tt", list(range(PARTITIONS)), {0})]
    assert server.offsets() == {("tu", each): 6 for each in range(PARTITIONS)}
    assert len(server.log("g").batches) == batches + PARTITIONS // PIECE
    assert server.harness.groups.counts.deletions == PARTITIONS


@pytest.mark.parametrize("count", [PIECE - 1, PIECE, PIECE + 1])
def test_as_many_deleted_offsets_as_a_batch_can_remove(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(commits, "tombstones_max", lambda *_: PIECE)
    server = OffsetDeletes()
    response = server.send_delete(("tt", range(count)))
    server.settle()
    assert rows_of(response[0]) == [("tt", list(range(count)), {0})]
    assert len(server.offsets()) == 2 * PARTITIONS - count


def test_offsets_of_a_group_that_is_deleted_meanwhile(few_at_once: list[int]) -> None:
    server = OffsetDeletes()
    found: list[ErrorCode] = []
    server.harness.groups.deletion.delete_group("g", found.append)
    response = server.send_delete(("tt", range(PARTITIONS)))
    server.settle()
    assert found == [ErrorCode.NONE] and response[0]["error_code"] == ErrorCode.GROUP_ID_NOT_FOUND
    assert response[0]["topics"] == []


def test_commits_that_reactors_store_before_the_door_shuts_are_removed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that had few offsets when its turn came, and has many when nobody else may commit any more."""
    deletion = Deletion()
    harness = deletion.harness
    assert harness.commit(group="g2", topic="t", partition=0) == 0
    deletion.before = len(deletion.log.batches)
    offsets = harness.group("g2").offsets
    listed = 0
    hold, committed_partitions = GroupStateMachine.hold, delete.committed_partitions

    def late(self: GroupStateMachine, key: str) -> None:
        for partition in range(1, OFFSETS):
            offsets.put("t", partition, offsets.find("t", 0))
        monkeypatch.setattr(GroupStateMachine, "hold", hold)
        hold(self, key)

    def counted(found: Any) -> Iterator[tuple[str, int]]:
        nonlocal listed
        listed += 1
        assert listed < 10, "no round removes anything"
        return committed_partitions(found)

    monkeypatch.setattr(GroupStateMachine, "hold", late)
    monkeypatch.setattr(delete, "committed_partitions", counted)
    harness.coordinator.deletion.delete_group("g2", deletion.responses.append)
    assert deletion.finish() == [ErrorCode.NONE] and harness.group("g2") is None
    assert max(deletion.counts()) <= PIECE and sum(deletion.counts()) == OFFSETS + 1
