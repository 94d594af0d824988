"""Commits and transaction markers of many offsets: applied in slices, and seen whole or not at all."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import offset_commit_cold, txn_offset_commit
from kafka_cy.api.registry import cold_handler
from kafka_cy.base import slices
from kafka_cy.cluster.topic_names import OFFSETS_TOPIC
from kafka_cy.coordinator.commit_batch import CommitBatch
from kafka_cy.coordinator.offsets.pending import PendingOffsets
from kafka_cy.coordinator.records import CommittedOffset, OffsetKey, encode_record
from kafka_cy.coordinator.runtime import shard
from kafka_cy.coordinator.runtime.loader import replay_batch
from kafka_cy.coordinator.state_machine import GroupStateMachine
from kafka_cy.coordinator.transactions.init_producer_id import Producer
from kafka_cy.coordinator.transactions.states import IDLE, PREPARED
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import TRANSACTIONAL, build_batch, iterate_batches

from .test_transactional_offsets import Server
from .transaction_fakes import TransactionCluster, TransactionHarness

PARTITIONS = 40
STEP = 3  # offsets of one step here


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few offsets in each step, and one step in each turn of the loop."""
    monkeypatch.setattr(slices, "SLICE_S", 0)
    monkeypatch.setattr("kafka_cy.coordinator.offsets.pending.ENDED_AT_ONCE_MAX", STEP)
    monkeypatch.setattr("kafka_cy.coordinator.offsets.commit.PIECE_OFFSETS", STEP)
    monkeypatch.setattr("kafka_cy.coordinator.commits.LONG_OFFSETS", STEP)
    monkeypatch.setattr(shard, "REPLAYED_AT_ONCE", STEP)
    monkeypatch.setattr(offset_commit_cold, "STEP_PARTITIONS", STEP)


class LongServer(Server):
    """Requests whose responses may come later; all groups and transactions are on one partition."""

    def __init__(self, harness: TransactionHarness | None = None, codec: int = 0) -> None:
        cluster = TransactionCluster(1, {"tt": PARTITIONS, "tu": PARTITIONS})
        super().__init__(harness or TransactionHarness(cluster, offsets_topic_compression_codec=codec))
        self.settle()

    def turn(self) -> bool:
        """Run one piece of work that is due; False if there is none."""
        loop = self.harness.loop
        if not loop.timers or loop.timers[0][0] > loop.time_s:
            return False
        loop.run_next()
        return True

    def settle(self) -> None:
        while self.turn():
            pass

    def send(self, api_key: int, version: int, **fields: Any) -> list[Any]:
        """The response, once it is there."""
        responses: list[Any] = []
        request: Any = SimpleNamespace(
            api_version=version, authorizer=None, body=SimpleNamespace(**fields), respond=responses.append,
            respond_long=lambda prepare: prepare(lambda make: responses.append(make())),
        )  # fmt: skip
        handle = cold_handler(api_key)
        assert handle is not None
        response = handle(request, self.context)
        return responses if response is None else [response]

    def send_commit(self, offset: int, count: int = PARTITIONS, *, group: str = "g", topic: str = "tt") -> list[Any]:
        return self.send(
            8, 9, group_id=group, generation_id_or_member_epoch=-1, member_id="", group_instance_id=None,
            topics=[SimpleNamespace(name=topic, partitions=rows(offset, count))],
        )  # fmt: skip

    def send_txn_commit(
        self, producer: Producer, offset: int, count: int = PARTITIONS, *, group: str = "g", transactional_id: str = "t"
    ) -> list[Any]:
        return self.send(
            28, 5, transactional_id=transactional_id, group_id=group, producer_id=producer.producer_id,
            producer_epoch=producer.epoch, generation_id=-1, member_id="", group_instance_id=None,
            topics=[SimpleNamespace(name="tt", partitions=rows(offset, count))],
        )  # fmt: skip

    def send_fetch(self, *, group: str = "g", stable: bool = False) -> list[Any]:
        return self.send(9, 7, group_id=group, topics=None, require_stable=stable)

    def send_end(self, producer: Producer, committed: bool = True, transactional_id: str = "t") -> list[Any]:
        found: list[Any] = []
        self.harness.coordinator.end(transactional_id, producer, committed, 2, lambda *result: found.append(result))
        return found

    def offsets(self, group: str = "g") -> dict[tuple[str, int], int]:
        """The group's offsets in memory, however complete they are."""
        _, found = self.harness.groups.group(group)
        return {
            (topic, partition): each.offset
            for topic, partitions in (found.offsets.items() if found is not None else ())
            for partition, each in partitions.items()
        }

    def shard(self) -> Any:
        return self.harness.groups.runtime.shards[0]

    def is_changing(self) -> bool:
        """Whether a part of a group's offsets has changed."""
        return self.harness.groups.runtime.busy_key is not None

    def hold_back(self) -> list[Any]:
        """An open transaction whose long commit has been replayed and whose marker is half applied; its EndTxn."""
        producer = self.harness.started()
        self.send_txn_commit(producer, 7)
        self.settle()
        return self.send_end(producer)


def rows(offset: int, count: int) -> list[Any]:
    return [
        SimpleNamespace(partition_index=index, committed_offset=offset, committed_leader_epoch=-1, committed_metadata="")
        for index in range(count)
    ]


def codes(response: Any) -> set[int]:
    return {each["error_code"] for topic in response["topics"] for each in topic["partitions"]}


def fetched(response: Any) -> list[int]:
    assert response["error_code"] == 0
    return [each["committed_offset"] for topic in response["topics"] for each in topic["partitions"]]


def all_at(offset: int) -> dict[tuple[str, int], int]:
    return {("tt", index): offset for index in range(PARTITIONS)}


@pytest.mark.parametrize("codec", [0, 1])
def test_a_long_commit_is_seen_whole_or_not_at_all(codec: int) -> None:
    server = LongServer(codec=codec)
    first = server.send_commit(5)
    server.settle()
    assert codes(first[0]) == {0}
    second, waiting, other = server.send_commit(6), [], []
    turns = 0
    while server.turn():
        turns += 1
        seen = server.send_fetch()
        if server.is_changing():
            assert not seen and not second, "the group is half changed"
            assert set(server.offsets().values()) == {5, 6}
            waiting.append(seen)
            other.append(server.send_commit(1, 1, group="other"))
        elif seen:
            assert set(fetched(seen[0])) in ({5}, {6})
    assert turns > 2 * PARTITIONS // STEP and len(waiting) > PARTITIONS // STEP - 3
    assert codes(second[0]) == {0} and all(codes(each[0]) == {0} for each in other), "other groups do not wait"
    assert all(set(fetched(each[0])) == {6} for each in waiting)


def test_commits_of_a_group_keep_their_order() -> None:
    server = LongServer()
    responses = [server.send_commit(1)]
    while not server.is_changing():
        assert server.turn()
    responses += [server.send_commit(2, 2), server.send_commit(3, 1)]
    assert not any(responses)
    server.settle()
    assert [codes(each[0]) for each in responses] == [{0}] * 3
    expected = all_at(1) | {("tt", 1): 2, ("tt", 0): 3}
    assert server.offsets() == expected
    restarted = LongServer(server.harness.restarted())
    assert restarted.offsets() == expected


def test_a_commit_that_is_not_long_is_not_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection's requests may follow one another without a turn of the loop in between."""
    monkeypatch.setattr("kafka_cy.coordinator.commits.LONG_OFFSETS", PARTITIONS)
    server = LongServer()
    responses = [server.send_commit(1), server.send_commit(2, 1)]
    server.settle()
    assert [codes(each[0]) for each in responses] == [{0}] * 2
    assert server.offsets() == all_at(1) | {("tt", 0): 2}


@pytest.mark.parametrize("committed", [True, False])
def test_a_marker_of_many_offsets(committed: bool) -> None:
    server = LongServer()
    producer = server.harness.started()
    server.send_commit(5)
    server.send_txn_commit(producer, 7)
    server.settle()
    assert server.harness.groups.offset_commit.pending_held.count == PARTITIONS
    ended, waiting, others = server.send_end(producer, committed), [], []
    assert ended[0][0] is ErrorCode.NONE, "the outcome is stored"
    while server.is_changing():
        assert server.harness.stored().state in PREPARED, "the marker is not applied"
        waiting.append(server.send_fetch(stable=True))
        others.append(server.send_fetch(group="other"))
        assert not waiting[-1]
        done = PARTITIONS - server.harness.groups.offset_commit.pending_held.count
        assert server.turn()
        assert PARTITIONS - server.harness.groups.offset_commit.pending_held.count <= done + STEP, "a step is bounded"
    server.settle()
    assert len(waiting) >= PARTITIONS // STEP
    assert [each[0]["error_code"] for each in others] == [0] * len(others), "other groups do not wait"
    assert server.harness.stored().state in IDLE
    expected = 7 if committed else 5
    assert all(set(fetched(each[0])) == {expected} for each in waiting)
    assert server.offsets() == all_at(expected)
    assert server.harness.groups.offset_commit.pending_held.count == 0
    assert LongServer(server.harness.restarted()).offsets() == all_at(expected)


def test_a_marker_of_many_groups_goes_from_group_to_group() -> None:
    """A group of which nothing is done yet can be changed; its later commit wins."""
    server = LongServer()
    producer = server.harness.started()
    names = [f"g{number}" for number in range(12)]
    for name in names:
        server.send_txn_commit(producer, 7, 2, group=name)
    server.settle()
    ended = server.send_end(producer)
    assert server.harness.stored().state in PREPARED
    pending = [name for name in names if not server.offsets(name)]
    assert 0 < len(pending) < len(names)
    late = server.send_commit(9, 1, group=pending[-1])
    assert codes(late[0]) == {0}
    deleted: list[Any] = []
    server.harness.groups.delete_offsets(pending[-2], [("tt", 0)], lambda *result: deleted.append(result))
    assert deleted == [(0, {("tt", 0): 0})]
    server.settle()
    assert ended[0][0] is ErrorCode.NONE and server.harness.stored().state in IDLE
    both = {("tt", 0): 7, ("tt", 1): 7}
    expected = dict.fromkeys(names, both) | {pending[-1]: both | {("tt", 0): 9}, pending[-2]: {("tt", 1): 7}}
    assert {name: server.offsets(name) for name in names} == expected
    restarted = LongServer(server.harness.restarted())
    assert {name: restarted.offsets(name) for name in names} == expected


def test_a_fenced_producer_whose_commit_is_still_applied() -> None:
    """The marker of the abort comes when the commit is complete."""
    server = LongServer()
    producer = server.harness.started()
    response = server.send_txn_commit(producer, 7)
    while not server.is_changing():
        assert server.turn()
    error, _ = server.harness.init()
    assert error is ErrorCode.CONCURRENT_TRANSACTIONS
    assert not server.log("g").markers()
    server.settle()
    assert codes(response[0]) == {0} and server.harness.groups.offset_commit.pending_held.count == PARTITIONS
    server.harness.loop.advance(1)
    assert len(server.log("g").markers()) == 1
    assert server.harness.groups.offset_commit.pending_held.count == 0 and not server.offsets()
    error, _ = server.harness.init()
    assert not error


@pytest.mark.parametrize("codec", [0, 1])
def test_a_transaction_that_ends_while_its_commit_is_prepared(codec: int) -> None:
    """Its offsets are refused: no marker would follow them. A compressed batch is made on another thread."""
    server = LongServer(codec=codec)
    producer = server.harness.started()
    server.send_txn_commit(producer, 1, 1)
    held: list[Any] = []
    server.harness.loop.threads = held
    response = server.send_txn_commit(producer, 7)
    while not held and server.harness.loop.timers[0][0] <= server.harness.loop.time_s and codec:
        server.turn()
    assert bool(held) == bool(codec) and not response
    ended = server.send_end(producer)
    for work, done in held:
        work()
        done()
    server.settle()
    assert ended[0][0] is ErrorCode.NONE
    assert codes(response[0]) == {ErrorCode.INVALID_PRODUCER_EPOCH}
    assert server.harness.groups.offset_commit.pending_held.count == 0
    assert server.offsets() == {("tt", 0): 1}


def test_a_producer_adds_nothing_while_its_transaction_is_ended() -> None:
    """WriteTxnMarkers of an operator ends a transaction that its coordinator still has open."""
    server = LongServer()
    producer = server.harness.started()
    server.send_txn_commit(producer, 7)
    server.settle()
    found: list[Any] = []
    marker = shard.Marker(producer.producer_id, producer.epoch, 0, False, 0)
    server.harness.groups.runtime.end_transaction(0, marker, found.append)
    assert server.shard().busy_producers == {producer.producer_id}
    assert codes(server.send_txn_commit(producer, 8, 1, group="other")[0]) == {ErrorCode.CONCURRENT_TRANSACTIONS}
    again: list[Any] = []
    server.harness.groups.runtime.end_transaction(0, marker, again.append)
    assert again == [ErrorCode.COORDINATOR_LOAD_IN_PROGRESS]
    server.settle()
    assert found == [ErrorCode.NONE] and not server.shard().busy_producers and not server.offsets()
    assert codes(server.send_txn_commit(producer, 8, 1, group="other")[0]) == {0}


def test_a_partition_that_is_lost_meanwhile() -> None:
    server = LongServer()
    ended = server.hold_back()
    waiting = server.send_fetch()
    assert server.is_changing() and not waiting
    server.harness.groups.runtime.unload(0)
    server.settle()
    assert waiting[0]["error_code"] == ErrorCode.NOT_COORDINATOR
    server.harness.loop.advance(1)
    assert ended[0][0] is ErrorCode.NONE and server.harness.stored().state in IDLE
    assert server.offsets() == all_at(7)
    assert server.harness.groups.offset_commit.pending_held.count == 0


def test_a_fault_in_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The partition is loaded again, and shows what the log says."""
    server = LongServer()
    ended = server.hold_back()
    assert server.is_changing()

    def fails(*arguments: Any) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as context:
        context.setattr(PendingOffsets, "_end_one", fails)
        assert server.turn()
    server.settle()
    server.harness.loop.advance(1)
    assert ended[0][0] is ErrorCode.NONE and server.harness.stored().state in IDLE
    assert server.offsets() == all_at(7)
    assert "a coordinator's partition is loaded again after a fault" in server.harness.lines


def test_a_topic_that_is_deleted_while_its_offsets_are_committed() -> None:
    server = LongServer()
    response = server.send_commit(5)
    while not server.is_changing():
        assert server.turn()
    topic = server.harness.cluster.topics["tt"]
    server.harness.cluster.remove("tt")
    server.harness.groups.topics_deleted({"tt": topic.id})
    server.settle()
    assert codes(response[0]) == {0}
    assert not server.offsets()
    assert not LongServer(server.harness.restarted()).offsets()


def test_a_commit_that_cannot_be_prepared_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    server = LongServer()

    def fails(records: Any) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("kafka_cy.coordinator.offsets.commit.CommitBatch", lambda now_ms: SimpleNamespace(add=fails))
    response = server.send_commit(5)
    server.settle()
    assert codes(response[0]) == {ErrorCode.UNKNOWN_SERVER_ERROR}
    assert not server.log("g").batches


def test_a_commit_that_is_much_larger_before_compression_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record repeats the group id, so that a small request would become a batch of any size in memory."""
    built: list[Any] = []
    monkeypatch.setattr("kafka_cy.coordinator.offsets.commit.build_batch", lambda rows, **_: built.append(rows))
    server = LongServer(codec=1)
    name = "g" * 30_000
    count = 4 * server.harness.groups.offset_commit.batch_bytes_max() // len(name) + 1
    response = server.send(
        8, 9, group_id=name, generation_id_or_member_epoch=-1, member_id="", group_instance_id=None,
        topics=[SimpleNamespace(name="tt", partitions=rows(5, 1) * count)],
    )  # fmt: skip
    server.settle()
    assert codes(response[0]) == {-1} and not built and not server.offsets(name)


def test_a_long_request_is_looked_at_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offset_commit_cold, "ANSWERED_AT_ONCE_MAX", STEP)
    monkeypatch.setattr("kafka_cy.api.txn_offset_commit.ANSWERED_AT_ONCE_MAX", STEP)
    server = LongServer()
    looked: list[int] = []
    accept = txn_offset_commit._accept

    def counting(*arguments: Any) -> Iterator[None]:
        for _ in accept(*arguments):
            looked.append(1)
            yield

    monkeypatch.setattr(txn_offset_commit, "_accept", counting)
    response = server.send_txn_commit(server.harness.started(), 5)
    assert not response
    most = 0
    while len(looked) < PARTITIONS:
        before = len(looked)
        assert server.turn()
        most = max(most, len(looked) - before)
    server.settle()
    assert 0 < most <= STEP
    assert codes(response[0]) == {0}


@pytest.mark.parametrize("producer", [None, (5, 3)])
def test_the_batch_of_a_long_commit_is_that_of_the_codec(producer: tuple[int, int] | None) -> None:
    """With and without an expiry of its own (version 1 of the value), a topic id, long and non-ASCII strings."""
    records = [
        (
            OffsetKey("gr\u00fc", f"t{number % 3}", number),
            CommittedOffset(
                number, number - 1, "\u00e9" * (number % 200), 7, 99 if number % 5 == 0 else -1,
                uuid.UUID(int=number) if number % 2 and number % 5 else None,
            ),
        )
        for number in range(300)
    ]  # fmt: skip
    batch = CommitBatch(7)
    batch.add(records[:100])
    batch.add(records[100:])
    producer_id, epoch = producer or (-1, -1)
    expected = build_batch(
        [(*encode_record(record), 7, (), -1) for record in records], base_sequence=0, producer_id=producer_id,
        producer_epoch=epoch, attributes=TRANSACTIONAL if producer else 0,
    )  # fmt: skip
    assert batch.size == len(expected)
    assert batch.finish(producer) == expected
    with pytest.raises(ValueError, match="32767"):
        batch.add([(OffsetKey("g", "t", 0), CommittedOffset(1, -1, "m" * 40_000, 7))])


def test_loading_applies_a_marker_in_steps() -> None:
    server = LongServer()
    server.hold_back()
    server.settle()
    machine = GroupStateMachine({}, lambda *_: None)
    marker_steps = 0
    for data in server.log("g").batches:
        for batch in iterate_batches(data):
            steps = sum(1 for _ in replay_batch(machine, batch))
            marker_steps += steps if batch.is_control else 0
    assert marker_steps >= PARTITIONS // STEP
    assert {index: each.offset for index, each in machine.groups["g"].offsets["tt"].items()} == dict.fromkeys(range(PARTITIONS), 7)


@pytest.mark.parametrize("seed", range(12))
def test_random_requests_give_what_the_log_gives(seed: int) -> None:
    chance = random.Random(seed)
    server = LongServer()
    producers: dict[str, Producer] = {}
    for _ in range(60):
        group, count, offset = chance.choice("gh"), chance.choice((1, 2, 7, 20)), chance.randrange(100)
        name = chance.choice("ab")
        action = chance.randrange(5)
        if action == 0:
            server.send_commit(offset, count, group=group, topic=chance.choice(("tt", "tu")))
        elif action == 1:
            if name not in producers:
                error, producer = server.harness.init(name)
                if not error:
                    producers[name] = producer
            if name in producers:
                server.send_txn_commit(producers[name], offset, count, group=group, transactional_id=name)
        elif action == 2 and name in producers:
            server.send_end(producers.pop(name), chance.random() < 0.7, name)
        elif action == 3:
            server.harness.groups.delete_offsets(group, [("tt", chance.randrange(20))], lambda *result: None)
        for _ in range(chance.randrange(6)):
            server.turn()
    server.settle()
    server.harness.loop.advance(5)
    assert not server.is_changing() and not server.shard().busy_producers
    restarted = LongServer(server.harness.restarted())
    held = [each.harness.groups.offset_commit.pending_held.count for each in (server, restarted)]
    assert [server.offsets(group) for group in "gh"] == [restarted.offsets(group) for group in "gh"]
    assert held[0] == held[1]
    assert server.log("g") is server.harness.cluster.hosted[OFFSETS_TOPIC, 0]
