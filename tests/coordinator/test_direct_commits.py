"""Commits that reactors store: the same bytes, the same responses and the same state as those of the coordinator."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_cy.coordinator import heartbeat_table, open_groups
from kafka_cy.coordinator.commit_batch import commit_batch
from kafka_cy.coordinator.records import CommittedOffset, OffsetKey, encode_record
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import build_batch
from tests.waiting import wait_until

from .direct_commits import LATEST, OFFSET_COMMIT, Direct
from .fakes import OFFSETS_TOPIC
from .streams_fakes import StreamsHarness

INT64 = st.integers(-(2**63), 2**63 - 1)
NONE = ErrorCode.NONE


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[Direct]:
    found = Direct(tmp_path)
    yield found
    found.stop()


# -- bytes --


@given(
    rows=st.lists(
        st.tuples(
            st.text(min_size=1, max_size=200), st.integers(-(2**31), 2**31 - 1), INT64, st.integers(-1, 2**31 - 1),
            st.text(max_size=200), st.none() | st.uuids().filter(lambda each: each.int != 0),
        ), min_size=1, max_size=70,
    ),
    group=st.text(min_size=1, max_size=40), now_ms=st.integers(0, 2**62),
)  # fmt: skip
@settings(max_examples=60)
def test_batches_are_those_of_the_coordinator(rows: list[Any], group: str, now_ms: int) -> None:
    records = []
    for topic, partition, offset, epoch, metadata, topic_id in rows:
        committed = CommittedOffset(offset, epoch, metadata, now_ms, -1, topic_id)
        key, value = encode_record((OffsetKey(group, topic, partition), committed))
        records.append((key, value, now_ms, (), -1))
    encoded = [
        (topic.encode(), partition, offset, epoch, metadata.encode(), topic_id and topic_id.bytes)
        for topic, partition, offset, epoch, metadata, topic_id in rows
    ]
    assert commit_batch(group.encode(), encoded, now_ms) == build_batch(records, base_sequence=0)


@pytest.mark.parametrize("version", range(2, LATEST + 1))
def test_a_reactor_appends_and_answers_what_the_coordinator_would(direct: Direct, version: int) -> None:
    from kafka_cy.api import offset_commit_cold

    direct.open()
    rows = [("ct", 2, 7), ("ct", 0, 9), ("cu", 0, 1)]
    response = direct.directly(rows, version=version, metadata="note")
    assert response is not None and direct.offsets()["ct"][2].metadata == "note"
    stored = direct.batches()[-1]
    timestamp_ms = int.from_bytes(stored[27:35], "big")

    asked = SimpleNamespace(
        authorizer=None,
        body=decoded(direct.body(rows, version=version, metadata="note"), version), api_version=version,
        respond=lambda answer: answers.append(answer),
    )  # fmt: skip
    answers: list[Any] = []
    ids = direct.server.topic_ids
    topics = {name: SimpleNamespace(name=name, id=topic_id, partitions=range(3)) for name, topic_id in ids.items()}
    cluster = SimpleNamespace(topics=topics, topic_by_id={each.id: each for each in topics.values()})
    direct.harness.loop.wall_clock_ms = lambda: timestamp_ms  # type: ignore[method-assign]
    offset_commit_cold.handle(asked, SimpleNamespace(groups=direct.harness.coordinator, cluster=cluster))  # type: ignore[arg-type]
    assert direct.batches()[-1][8:] == stored[8:], "but for the base offset"
    (expected,) = answers
    for got, wanted in zip(response["topics"], expected["topics"], strict=True):
        assert got["partitions"] == wanted["partitions"]
        assert got.get("name", got.get("topic_id")) == wanted.get("name", wanted.get("topic_id"))
    assert direct.in_memory() == direct.replayed()


def decoded(body: bytes, version: int) -> Any:
    from kafka_cy.protocol.bridge import decode_request

    return decode_request(OFFSET_COMMIT, version, body)


# -- whose commits --


def test_members_of_a_stable_group(direct: Direct) -> None:
    (leader, follower), generation = direct.harness.stable(2)
    direct.open(member=leader, generation=generation)
    assert direct.commit(member=leader, generation=generation, offset=6) == (NONE, True)
    assert direct.commit(member=follower, generation=generation, offset=7) == (NONE, True)
    assert direct.offsets()["ct"][0].offset == 7
    assert direct.commit(member="nobody", generation=generation) == (ErrorCode.UNKNOWN_MEMBER_ID, False)
    assert direct.commit(member=leader, generation=generation - 1) == (ErrorCode.ILLEGAL_GENERATION, False)
    assert direct.commit(member=leader, generation=generation, instance="i") == (ErrorCode.UNKNOWN_MEMBER_ID, False)
    assert direct.commit() == (ErrorCode.UNKNOWN_MEMBER_ID, False)
    heard_of = heartbeat_table.last_heartbeat_ns(b"g", leader.encode())
    assert direct.commit(member=leader, generation=generation, offset=8) == (NONE, True)
    assert heartbeat_table.last_heartbeat_ns(b"g", leader.encode()) > heard_of, "a commit counts as a heartbeat"


def test_members_of_a_streams_group(tmp_path: Path) -> None:
    direct = Direct(tmp_path, kind=StreamsHarness)
    epoch = direct.harness.join_streams("g", "m")["member_epoch"]
    fields: dict[str, Any] = {"member": "m", "generation": epoch}
    direct.open(**fields)
    assert direct.commit(**fields, offset=6) == (NONE, True) and direct.commit(**fields, version=9) == (NONE, True)
    assert direct.commit(**fields, version=8) == (ErrorCode.UNSUPPORTED_VERSION, False)
    assert direct.commit(member="m", generation=epoch + 1) == (ErrorCode.STALE_MEMBER_EPOCH, False)
    assert direct.commit(member="n", generation=epoch) == (ErrorCode.UNKNOWN_MEMBER_ID, False)
    direct.harness.beat("g", "m", -1)
    assert direct.commit(**fields) == (ErrorCode.UNKNOWN_MEMBER_ID, False) and heartbeat_table.count() == 0
    assert direct.in_memory() == direct.replayed()
    direct.stop()


def test_a_rebalance_shuts_the_door(direct: Direct) -> None:
    (leader,), generation = direct.harness.stable()
    direct.open(member=leader, generation=generation)
    waiting = [direct.harness.join()]
    assert direct.commit(member=leader, generation=generation) == (NONE, False), "PreparingRebalance takes commits"
    waiting.append(direct.harness.join(member=leader))
    joined = [each[0] for each in waiting if each]
    assert direct.commit(member=leader, generation=joined[0]["generation_id"])[0] is ErrorCode.REBALANCE_IN_PROGRESS
    names = [each["member_id"] for each in joined]
    for name in reversed(names):
        direct.harness.sync(name, joined[0]["generation_id"], dict.fromkeys(names, b""))
    assert direct.commit(member=leader, generation=generation) == (ErrorCode.ILLEGAL_GENERATION, False)
    assert direct.commit(member=leader, generation=generation + 1) == (NONE, True), "Stable again"
    assert direct.in_memory() == direct.replayed()


def test_static_members_are_fenced(direct: Direct) -> None:
    (old,), generation = direct.harness.stable(instance="i")
    direct.open(member=old, generation=generation, instance="i")
    assert direct.commit(member=old, generation=generation, instance="i") == (NONE, True)
    (response,) = direct.harness.join(instance="i")
    new = response["member_id"]
    assert new != old and direct.harness.group().state.value == "Stable"
    assert direct.commit(member=old, generation=generation, instance="i") == (ErrorCode.FENCED_INSTANCE_ID, False)
    assert direct.commit(member=new, generation=generation, instance="i") == (NONE, True)


def test_groups_of_offsets_only(direct: Direct) -> None:
    assert direct.commit() == (NONE, False), "the first commit makes the group"
    assert direct.commit(offset=6) == (NONE, True)
    assert direct.commit(generation=0) == (ErrorCode.UNKNOWN_MEMBER_ID, False)
    assert direct.commit(group="other") == (NONE, False)
    assert direct.harness.delete_group("other") is NONE
    assert open_groups.count() == 1
    assert direct.commit(group="other", offset=1) == (NONE, False) and direct.commit(group="other", offset=2) == (NONE, True)


UNUSUAL: list[dict[str, Any]] = [
    {"retention_ms": 5, "version": 4}, {"metadata": "\u00e9"}, {"metadata": "x" * 4097}, {"partition": 3}, {"partition": -1},
]  # fmt: skip


@pytest.mark.parametrize("fields", UNUSUAL)
def test_the_unusual_is_forwarded(direct: Direct, fields: dict[str, Any]) -> None:
    direct.open()
    before = direct.log.log_end_offset
    rows = [("ct", 0, 1), ("ct", fields.pop("partition", 1), 1)]
    assert direct.directly(rows, **fields) is None
    assert direct.directly([("ct", 0, 1), ("unknown", 0, 1)], version=9) is None
    assert direct.directly([], version=9) is None
    assert direct.directly([("ct", 0, n) for n in range(1001)], version=9) is None
    assert direct.log.log_end_offset == before and direct.in_memory() == direct.replayed()
    assert direct.directly([("ct", 0, n) for n in range(1000)], version=9) is not None
    assert direct.offsets()["ct"][0].offset == 999


def test_limits_of_the_configuration(tmp_path: Path) -> None:
    direct = Direct(tmp_path, offset_metadata_max_bytes=10, message_max_bytes=300)
    direct.open()
    assert direct.commit(metadata="x" * 10) == (NONE, True)
    assert direct.commit(metadata="x" * 11) == (ErrorCode.OFFSET_METADATA_TOO_LARGE, False)
    assert direct.directly([("ct", 0, n) for n in range(3)]) is not None
    assert direct.directly([("ct", 0, n) for n in range(4)]) is None
    direct.stop()


def test_compressed_offsets_are_the_coordinators(tmp_path: Path) -> None:
    direct = Direct(tmp_path, offsets_topic_compression_codec=1)
    assert [direct.commit()[1] for _ in range(2)] == [False, False]
    direct.stop()


def test_a_slow_disk_is_the_coordinators(direct: Direct) -> None:
    direct.open()
    direct.slow_s = 600
    assert direct.commit() == (NONE, False)
    direct.slow_s = 0
    assert direct.commit() == (NONE, True)


def test_a_lost_partition_takes_no_commits(direct: Direct) -> None:
    direct.open()
    end_offset = direct.log.log_end_offset
    direct.harness.coordinator.runtime.unload(0)
    assert direct.directly([("ct", 0, 1)]) is None
    direct.settle()
    assert direct.directly([("ct", 0, 1)]) is None and direct.log.log_end_offset == end_offset
    assert open_groups.count() == 0
    direct.commit()
    direct.settle()
    assert direct.commit()[0] is NONE and direct.commit(offset=8) == (NONE, True), "loaded again"
    direct.log.retire("offline")
    assert direct.directly([("ct", 0, 1)]) is None


def test_deleted_topics(direct: Direct) -> None:
    direct.open()
    topic_id = direct.server.topic_ids["ct"]
    direct.server.delete_topic("ct")
    change = SimpleNamespace(changed=[], removed=[SimpleNamespace(name="ct", id=topic_id)])
    direct.harness.loop.advance(1)
    direct.harness.coordinator.on_change(change)
    direct.settle()
    assert direct.directly([("ct", 0, 1)], version=9) is None
    assert direct.in_memory() == direct.replayed() == {}


def test_later_commits_do_not_overtake_a_forwarded_one(direct: Direct) -> None:
    """A connection that has a request at the control plane gets its commits from there."""
    direct.open()
    direct.server.keeps = True
    connection = direct.connect()
    connection.send(OFFSET_COMMIT, 9, direct.body([("ct", 0, 1)], metadata="\u00e9", version=9))
    wait_until(lambda: direct.server.kept, "the first commit is forwarded")
    connection.send(OFFSET_COMMIT, 9, direct.body([("ct", 0, 2)], version=9))
    wait_until(lambda: len(direct.server.kept) == 2, "so is the second one")
    assert direct.offsets()["ct"][0].offset == 5
    assert direct.commit(offset=3) == (NONE, True), "other connections do not wait"
    for request in direct.server.kept:
        request.close("done")
    direct.server.kept.clear()
    connection.close()


# -- the high watermark --


def test_a_commit_waits_no_longer_than_its_timeout(tmp_path: Path) -> None:
    direct = Direct(tmp_path, sole_replica=False, offsets_commit_timeout_ms=20)
    direct.harness.coordinator.commit(request_of(direct), lambda error, errors: None)
    connection = direct.connect()
    connection.send(OFFSET_COMMIT, LATEST, direct.body([("ct", 1, 8)]))
    (topic,) = connection.answer(OFFSET_COMMIT, LATEST)["topics"]
    assert topic["partitions"][0]["error_code"] == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert direct.offsets()["ct"][1].offset == 8, "it is appended, and may be stored later"
    connection.close()
    direct.stop()


def test_the_response_waits_for_the_high_watermark(tmp_path: Path) -> None:
    direct = Direct(tmp_path, sole_replica=False)
    found: list[Any] = []
    direct.harness.coordinator.commit(
        request_of(direct), lambda error, errors: found.append(error)
    )
    assert not found
    connection = direct.connect()
    connection.send(OFFSET_COMMIT, LATEST, direct.body([("ct", 1, 8)]))
    connection.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.receive()
    fetched: list[Any] = []
    direct.harness.coordinator.fetch(["g"], lambda _, group: dict(group.offsets), fetched.append)
    direct.harness.coordinator.look()
    assert not fetched, "only stored offsets are returned"
    direct.log.follower_fetched(9, direct.log.log_end_offset)
    connection.socket.settimeout(10)
    assert connection.answer(OFFSET_COMMIT, LATEST)["topics"][0]["partitions"][0]["error_code"] == 0
    direct.harness.coordinator.look()
    assert found == [NONE] and fetched[0][0][1]["ct"][1].offset == 8

    connection.send(OFFSET_COMMIT, LATEST, direct.body([("ct", 1, 9), ("cu", 0, 9)]))
    wait_until(lambda: direct.offsets()["ct"][1].offset == 9, "the commit is appended")
    direct.log.retire("follower")
    topics = connection.answer(OFFSET_COMMIT, LATEST)["topics"]
    assert {row["error_code"] for topic in topics for row in topic["partitions"]} == {ErrorCode.NOT_COORDINATOR}
    connection.close()
    direct.stop()


def request_of(direct: Direct) -> Any:
    from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest

    topic_id: uuid.UUID = direct.server.topic_ids["ct"]
    return CommitRequest("g", -1, "", None, -1, True, [CommitPartition("ct", topic_id, 0, 5, -1, None)])


# -- threads --


def test_reactors_beside_the_coordinator(direct: Direct) -> None:
    """Two connections commit while the coordinator deletes, expires and commits in transactions: log and memory agree."""
    chance = random.Random(7)
    direct.open()
    stop, counts = threading.Event(), [0, 0]

    def work(place: int) -> None:
        connection = direct.connect()
        number = 0
        while not stop.is_set():
            number += 1
            connection.send(OFFSET_COMMIT, LATEST, direct.body([("ct", place, number), ("ct", 2, number)]))
            if connection.receive() is None:  # forwarded: the door was shut
                connection.close()
                connection = direct.connect()
            else:
                counts[place] += 1
        connection.close()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    coordinator = direct.harness.coordinator
    for number in range(300):
        which = chance.randrange(4)
        if which == 0:
            coordinator.delete_offsets("g", [("ct", chance.randrange(3))], lambda error, errors: None)
        elif which == 1:
            coordinator._expire_piece(("g", [("ct", 0), ("ct", 1), ("ct", 2)]))
        elif which == 2:
            direct.harness.commit(partition=2, offset=number, topic_id=direct.server.topic_ids["ct"])
        else:
            request = request_of(direct)._replace(is_transactional=True)
            coordinator.commit_in_transaction(request, (5, 0), lambda: NONE, lambda error, errors: None)
            direct.end_transaction(5, chance.random() < 0.7)
        direct.harness.commit(offset=number, topic_id=direct.server.topic_ids["ct"])
        before = sum(counts)
        wait_until(lambda: sum(counts) > before, "a reactor commits")  # noqa: B023 used at once
    stop.set()
    for thread in threads:
        thread.join()
    assert direct.in_memory() == direct.replayed()
    assert OFFSETS_TOPIC in direct.cluster.topics
