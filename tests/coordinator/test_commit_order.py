"""Commits of many offsets keep their place among the other requests of their group, and are looked at in slices."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import offset_commit_cold, txn_offset_commit
from kafka_cy.base import slices
from kafka_cy.coordinator.commits import Commits
from kafka_cy.coordinator.runtime import shard
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import iterate_batches

from .fakes import replayed
from .test_long_changes import PARTITIONS, LongServer, all_at, codes, fetched, rows

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


def look_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offset_commit_cold, "ANSWERED_AT_ONCE_MAX", STEP)
    monkeypatch.setattr(txn_offset_commit, "ANSWERED_AT_ONCE_MAX", STEP)


@pytest.mark.parametrize("in_slices", [False, True])
@pytest.mark.parametrize("codec", [0, 1])
def test_a_long_commit_is_not_overtaken(monkeypatch: pytest.MonkeyPatch, codec: int, *, in_slices: bool) -> None:
    """A connection's requests may follow one another without a turn of the loop in between."""
    if in_slices:
        look_in_slices(monkeypatch)
    server = LongServer(codec=codec)
    server.send_commit(1, 1)
    responses = [server.send_commit(2), server.send_commit(3, 1), server.send_commit(4, 30), server.send_commit(5, 1)]
    seen, other = server.send_fetch(), server.send_commit(9, 1, group="other")
    assert not any(responses) and not seen and codes(other[0]) == {0}, "other groups go on"
    server.settle()
    expected = all_at(2) | {("tt", index): 4 for index in range(30)} | {("tt", 0): 5}
    assert [codes(each[0]) for each in responses] == [{0}] * 4
    assert fetched(seen[0]) == [expected["tt", index] for index in range(PARTITIONS)]
    assert server.offsets() == expected == LongServer(server.harness.restarted()).offsets()


def test_a_long_commit_waits_for_its_turn_in_its_place() -> None:
    """Another group's commit is under way."""
    server = LongServer()
    server.send_commit(1, group="other")
    while server.harness.groups.runtime.busy_key != "other":
        assert server.turn()
    responses = [server.send_commit(2), server.send_commit(3, 1)]
    server.settle()
    assert [codes(each[0]) for each in responses] == [{0}, {0}]
    assert server.offsets() == all_at(2) | {("tt", 0): 3}


def test_offsets_that_are_deleted_after_a_long_commit() -> None:
    server = LongServer()
    server.send_commit(1)
    deleted: list[Any] = []
    server.harness.groups.delete_offsets("g", [("tt", 0)], lambda *result: deleted.append(result))
    server.settle()
    assert deleted == [(0, {("tt", 0): 0})]
    assert ("tt", 0) not in server.offsets() and len(server.offsets()) == PARTITIONS - 1


def test_a_long_commit_in_a_transaction_is_not_overtaken() -> None:
    server = LongServer()
    producer = server.harness.started()
    responses = [server.send_txn_commit(producer, 1), server.send_txn_commit(producer, 2, 1)]
    server.settle()
    assert [codes(each[0]) for each in responses] == [{0}, {0}]
    server.send_end(producer)
    server.settle()
    assert server.offsets() == all_at(1) | {("tt", 0): 2}


def test_a_fault_while_a_commit_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails as a whole, and nobody waits behind it."""
    look_in_slices(monkeypatch)
    server = LongServer()
    look, looked = offset_commit_cold._topic, []

    def broken(*arguments: Any) -> Any:
        looked.append(1)
        if len(looked) > 1:
            raise RuntimeError("a fault")
        return look(*arguments)

    topics = [SimpleNamespace(name="tt", partitions=rows(5, 4)), SimpleNamespace(name="tu", partitions=rows(5, 4))]
    with monkeypatch.context() as context:
        context.setattr(offset_commit_cold, "_topic", broken)
        response = commit(server, topics)[0]
        server.settle()
    after = server.send_commit(6, 1)
    assert codes(response[0]) == {ErrorCode.UNKNOWN_SERVER_ERROR} and codes(after[0]) == {0}
    assert server.offsets() == {("tt", 0): 6}


@pytest.mark.parametrize("seed", range(12))
def test_random_commits(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The log has the commits of a group in the order of their arrival: a kill after any batch leaves what was right then."""
    chance = random.Random(seed)
    if seed % 2:
        look_in_slices(monkeypatch)
    server = LongServer(codec=seed % 3 % 2)
    expected: dict[str, list[dict[tuple[str, int], int]]] = {"g": [{}], "h": [{}]}
    sent: list[tuple[dict[tuple[str, int], int], list[Any], list[Any]]] = []
    for number in range(1, 30):
        group, count = chance.choice("gh"), chance.choice((1, 2, STEP, STEP + 1, PARTITIONS))
        expected[group].append(expected[group][-1] | {("tt", index): number for index in range(count)})
        sent.append((expected[group][-1], server.send_commit(number, count, group=group), server.send_fetch(group=group)))
        for _ in range(chance.randrange(6)):
            server.turn()
    server.settle()
    for state, response, seen in sent:
        assert codes(response[0]) == {0}
        assert fetched(seen[0]) == [state["tt", index] for index in range(len(state))], "reads keep their place, too"
    left = {group: iter(states) for group, states in expected.items()}
    for batch in (b"", *server.log("g").batches):
        for group, states in left.items():
            if batch and any(key.startswith(group.encode()) for key in keys_of(batch)):
                expected_now = next(states)
                assert offsets_after(server, batch, group) == expected_now
            elif not batch:
                next(states)
    assert all(next(states, None) is None for states in left.values())


def keys_of(batch: bytes) -> list[bytes]:
    """The group ids of the offsets in a batch."""
    return [(record.key or b"")[4:] for each in iterate_batches(batch) for record in each.records()]


def offsets_after(server: LongServer, last: bytes, group: str) -> dict[tuple[str, int], int]:
    """What a start loads if the log ends with this batch."""
    batches = server.log("g").batches
    records = [
        (record.key or b"", record.value)
        for data in batches[: batches.index(last) + 1] for each in iterate_batches(data) for record in each.records()
    ]  # fmt: skip
    offsets = replayed(records).groups[group].offsets.items()
    return {(topic, index): each.offset for topic, partitions in offsets for index, each in partitions.items()}


# -- requests that are long though they have few offsets --


def commit(server: LongServer, topics: list[Any], api: str = "commit") -> tuple[list[Any], list[str]]:
    """The response, once it is there, and where it is made."""
    responses: list[Any] = []
    made: list[str] = []

    def respond(response: Any) -> None:
        made.append("loop")
        responses.append(response)

    def respond_long(prepare: Callable[..., object]) -> None:
        def ready(make: Callable[[], Any]) -> None:
            made.append("thread")
            responses.append(make())

        prepare(ready)

    fields = {"group_id": "g", "member_id": "", "group_instance_id": None, "topics": topics}
    if api == "commit":
        body = SimpleNamespace(**fields, generation_id_or_member_epoch=-1)
        handle: Any = offset_commit_cold.handle
        version = 9
    else:
        producer = server.harness.started()
        body = SimpleNamespace(
            **fields, generation_id=-1, transactional_id="t", producer_id=producer.producer_id, producer_epoch=producer.epoch
        )
        handle, version = txn_offset_commit.handle, 5
    request = SimpleNamespace(
        api_version=version, authorizer=None, body=body, respond=respond, respond_long=respond_long
    )
    handle(request, server.context)
    return responses, made


class Counting(dict[str, Any]):
    """Topics of the cluster, and how often they were looked up."""

    looked = 0

    def get(self, name: str, default: Any = None) -> Any:  # type: ignore[override]
        self.looked += 1
        return super().get(name, default)


@pytest.mark.parametrize("api", ["commit", "transaction"])
def test_topics_without_partitions_count(monkeypatch: pytest.MonkeyPatch, api: str) -> None:
    look_in_slices(monkeypatch)
    server = LongServer()
    topics = [SimpleNamespace(name=f"no{number}", partitions=[]) for number in range(PARTITIONS)]
    found = server.context.cluster.topics = Counting(server.context.cluster.topics)
    response, made = commit(server, [*topics, SimpleNamespace(name="tt", partitions=rows(5, 1))], api)
    most = found.looked
    while found.looked < PARTITIONS:
        before = found.looked
        assert server.turn()
        most = max(most, found.looked - before)
    assert most <= STEP + 1
    server.settle()
    assert made == ["thread"] and codes(response[0]) == {0}
    assert [len(topic["partitions"]) for topic in response[0]["topics"]] == [0] * PARTITIONS + [1]


@pytest.mark.parametrize("api", ["commit", "transaction"])
def test_an_unknown_partition_that_is_repeated_counts_each_time(monkeypatch: pytest.MonkeyPatch, api: str) -> None:
    look_in_slices(monkeypatch)
    server = LongServer()
    response, made = commit(server, [SimpleNamespace(name="unknown", partitions=rows(5, 1) * PARTITIONS)], api)
    server.settle()
    assert made == ["thread"] and codes(response[0]) == {ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
    assert len(response[0]["topics"][0]["partitions"]) == PARTITIONS


def test_only_the_first_topics_are_counted_at_once() -> None:
    """Whether a request is long is known after so many of its topics, however many it has."""

    def topics() -> Any:
        for _ in range(5):
            yield SimpleNamespace(partitions=())
        raise AssertionError("it looks at too many")

    def has_many(few: int) -> bool:
        request: Any = SimpleNamespace(body=SimpleNamespace(topics=topics()))
        return offset_commit_cold.has_many(request, few)

    assert has_many(4)


def test_deleted_topics_of_a_long_commit_are_looked_for_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    server = LongServer()
    removed: list[Any] = []
    commits: Commits = server.harness.groups._commits
    monkeypatch.setattr(commits, "_topics_deleted", removed.append)
    ids = {f"gone{number}": uuid.UUID(int=number + 1) for number in range(STEP + 1)}
    commits._committed(ids, None)
    assert not removed
    server.settle()
    assert removed == [ids]
