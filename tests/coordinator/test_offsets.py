"""Commit, fetch, delete and expiry of offsets."""

from __future__ import annotations

import uuid

import pytest

from kafka_cy.base import slices
from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.offsets.commit import RECORD_BYTES_MIN, OffsetCommit
from kafka_cy.coordinator.records import CommittedOffset, OffsetKey
from kafka_cy.coordinator.runtime import loader
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import iterate_batches

from .fakes import FakeCluster, Harness

WEEK_S = 7 * 24 * 3600


def deleted(harness: Harness, topic: str = "ct", group: str = "g") -> ErrorCode:
    found: list[ErrorCode] = []
    harness.coordinator.delete_offsets(
        group, [(topic, 0)], lambda error, errors: found.append(error or errors[topic, 0])
    )
    return found[0]


@pytest.mark.parametrize(("codec", "name"), list(enumerate(["none", "gzip", "snappy", "lz4", "zstd"])))
def test_offsets_are_stored_with_the_codec_of_the_configuration(codec: int, name: str) -> None:
    """The configuration is `offsets.topic.compression.codec`."""
    harness = Harness(offsets_topic_compression_codec=codec)
    assert harness.commit(metadata="m" * 4096) == 0
    (partition,) = [each for each in harness.cluster.hosted.values() if each.batches]
    (batch,) = iterate_batches(partition.batches[-1])
    assert batch.compression == name
    assert (len(partition.batches[-1]) < 4096) == (codec > 0)
    assert harness.reload().group().offsets["ct"][0].offset == 5


def test_commit_errors_of_each_state() -> None:
    harness = Harness()
    assert harness.commit(generation=1) == ErrorCode.GROUP_ID_NOT_FOUND
    assert harness.commit(generation=1, new=False) == ErrorCode.ILLEGAL_GENERATION
    (leader, follower), generation = harness.stable(2)
    assert harness.commit() == ErrorCode.UNKNOWN_MEMBER_ID, "a simple commit to a group with members"
    assert harness.commit(member="x", generation=generation) == ErrorCode.UNKNOWN_MEMBER_ID
    assert harness.commit(member=leader, generation=generation + 1) == ErrorCode.ILLEGAL_GENERATION
    assert (
        harness.commit(member=leader, generation=generation, metadata="m" * 4097) == ErrorCode.OFFSET_METADATA_TOO_LARGE
    )
    assert harness.commit(member=leader, generation=generation, offset=-7) == 0
    harness.join(member=leader)
    assert harness.commit(member=leader, generation=generation) == 0, "PreparingRebalance"
    harness.join(member=follower)
    assert harness.commit(member=leader, generation=generation + 1) == ErrorCode.REBALANCE_IN_PROGRESS


def test_delete() -> None:
    harness = Harness()
    assert deleted(harness) == ErrorCode.GROUP_ID_NOT_FOUND
    assert deleted(harness, group="") == ErrorCode.INVALID_GROUP_ID
    (member,), generation = harness.stable()
    harness.commit(member=member, generation=generation)
    harness.commit(member=member, generation=generation, topic="old")
    assert deleted(harness) == ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC
    assert deleted(harness, "old") == 0 and "old" not in harness.group().offsets
    count = len(harness.written())
    assert deleted(harness, "never") == 0 and len(harness.written()) == count
    harness.stable(group="other", kind="connect")
    assert deleted(harness, group="other") == ErrorCode.NON_EMPTY_GROUP


def test_offsets_of_a_deleted_topic_go() -> None:
    harness = Harness()
    harness.commit()
    harness.coordinator.topics_deleted({"ct": None})
    assert not harness.group().offsets and harness.written()[-1][1] is None


def test_offsets_of_a_new_topic_of_the_name_stay() -> None:
    harness = Harness()
    old, new = uuid.uuid4(), uuid.uuid4()
    harness.commit(topic_id=old)
    harness.commit(topic_id=new, partition=1)
    harness.coordinator.topics_deleted({"ct": old})
    assert list(harness.group().offsets["ct"]) == [1]


def test_simple_group_expires_from_the_commit() -> None:
    harness = Harness()
    harness.commit()
    harness.loop.advance(WEEK_S / 2)
    harness.commit(partition=1)
    harness.loop.advance(WEEK_S / 2 + 601)
    assert harness.group().offsets == {"ct": {1: harness.group().offsets["ct"][1]}}
    harness.loop.advance(WEEK_S)
    assert harness.group() is None and harness.written()[-1][1] is None


def commit_many(harness: Harness, topics: int, partitions: int) -> None:
    records = [
        (OffsetKey("g", f"t{topic}", partition), CommittedOffset(1, -1, "", harness.loop.wall_clock_ms()))
        for topic in range(topics)
        for partition in range(partitions)
    ]
    harness.coordinator.runtime.write("g", lambda state: CoordinatorResult(records))


def test_a_group_with_many_offsets_expires_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    harness = Harness(FakeCluster(1))
    commit_many(harness, 1100, 2)
    written = harness.cluster.hosted[0].batches
    before = len(written)
    harness.loop.time_s += WEEK_S + 601
    harness.loop.run_next()
    assert len(written) == before + 1, "other work goes on after each piece"
    assert harness.commit(topic="t1099", partition=1) == 0, "an offset that is not looked at yet"
    harness.loop.advance(0)
    assert len(written) == before + 6
    assert {topic: list(each) for topic, each in harness.group().offsets.items()} == {"t1099": [1]}
    harness.loop.advance(WEEK_S + 601)
    assert harness.group() is None and harness.coordinator.group_count == 0


def test_expiry_looks_at_each_offset_once(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    commit_many(harness, 1100, 2)
    looks: list[str] = []
    start_ms = ClassicGroup.offset_expiry_start_ms

    def counted(group: ClassicGroup, topic: str, committed: CommittedOffset) -> int | None:
        looks.append(topic)
        return start_ms(group, topic, committed)

    monkeypatch.setattr(ClassicGroup, "offset_expiry_start_ms", counted)
    harness.loop.time_s += WEEK_S + 601
    harness.loop.advance(0)
    assert len(looks) == 2200 and harness.group() is None


def test_a_group_with_members_keeps_what_it_is_subscribed_to() -> None:
    harness = Harness()
    (member,), generation = harness.stable(session_ms=1_800_000)
    harness.commit(member=member, generation=generation)
    harness.commit(member=member, generation=generation, topic="old")
    for _ in range(2 * 7 * 24):
        harness.loop.advance(1800 * 0.6)
        assert harness.heartbeat(member, generation) == 0
    harness.loop.advance(600)
    for _ in range(2 * 7 * 24):
        harness.loop.advance(1800 * 0.6)
        assert harness.heartbeat(member, generation) == 0
    assert set(harness.group().offsets) == {"ct"}
    harness.leave([(member, None)])
    harness.loop.advance(WEEK_S - 60)
    assert harness.group().offsets, "the clock runs since the group is Empty"
    harness.loop.advance(700)
    assert harness.group() is None


def test_reload_of_a_deleted_group() -> None:
    harness = Harness()
    (member,), generation = harness.stable()
    harness.commit(member=member, generation=generation, metadata="note", offset=77)
    again = harness.reload()
    assert again.group().offsets["ct"][0].metadata == "note"
    assert again.sync(member, generation)[0]["assignment"] == member.encode()
    again.leave([(member, None)])
    assert again.delete_group() == 0
    assert harness.reload().group() is None


def test_requests_while_a_partition_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    (member,), generation = harness.stable()
    for offset in range(50):
        harness.commit(group="simple", offset=offset, metadata="x" * 100)
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    monkeypatch.setattr(loader, "READ_BYTES", 1000)
    loading = harness.reload()
    assert loading.coordinator.runtime.shards[0].loader is not None
    assert loading.commit(group="simple") == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert loading.join()[0]["error_code"] == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert loading.sync(member, generation)[0]["error_code"] == ErrorCode.REBALANCE_IN_PROGRESS
    assert loading.heartbeat(member, generation) == 0
    loading.loop.advance(0.001)
    assert loading.group("simple").offsets["ct"][0].offset == 49
    assert loading.heartbeat(member, generation) == 0 and member in loading.group().members
    loading.loop.advance(10.1)
    assert not loading.group().members, "sessions begin anew after loading, and end"


def test_partitions_load_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(3))
    groups = {harness.partition_index(name): name for name in map(str, range(100))}
    for name in groups.values():
        for offset in range(10):
            assert harness.commit(group=name, offset=offset) == 0
    harness.coordinator.stop()
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    monkeypatch.setattr(loader, "READ_BYTES", 1)
    loading = harness.reload()
    assert loading.loop.pending == 2, "the expiry, and one slice of loading"
    shards = loading.coordinator.runtime.shards
    offsets = [shards[index].loader.offset for index in range(3)]
    assert offsets == [1, 0, 0]
    loading.coordinator.runtime.unload(1)
    loading.loop.advance(0)
    assert [index for index, shard in shards.items() if shard.loader is None] == [0, 2]
    assert loading.commit(group=groups[1]) == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    loading.loop.advance(0)
    assert loading.group(groups[1]).offsets["ct"][0].offset == 9


def test_delete_of_an_offset_that_is_named_twice() -> None:
    harness = Harness()
    assert harness.commit() == 0
    found: list[object] = []
    harness.coordinator.delete_offsets("g", [("ct", 0), ("ct", 0)], lambda *response: found.append(response))
    assert found == [(ErrorCode.NONE, {("ct", 0): ErrorCode.NONE})]
    assert not harness.group().offsets


def test_a_fault_of_one_expiry_does_not_end_the_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness()
    harness.commit()
    groups = harness.coordinator.runtime
    works = groups.in_slices

    def fails(*_: object) -> int:
        raise RuntimeError("a fault")

    monkeypatch.setattr(groups, "in_slices", fails)
    with pytest.raises(RuntimeError):
        harness.loop.advance(600)
    monkeypatch.setattr(groups, "in_slices", works)
    harness.loop.advance(WEEK_S + 601)
    assert harness.group() is None


def test_sessions_of_loaded_members_begin_when_loading_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    (member,), generation = harness.stable(session_ms=10_000)
    harness.coordinator.stop()
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    monkeypatch.setattr(loader, "READ_BYTES", 1)
    loading = harness.reload()
    assert loading.coordinator.runtime.shards[0].loader is not None
    loading.loop.time_s += 100.0  # the load takes longer than the session timeout
    loading.loop.advance(0.001)
    assert loading.coordinator.runtime.shards[0].loader is None
    assert list(loading.group().members) == [member]
    loading.loop.advance(9.9)
    assert loading.heartbeat(member, generation) == 0
    loading.loop.advance(10.1)
    assert not loading.group().members


def commit_all(harness: Harness, count: int) -> list[ErrorCode]:
    """Commit this many partitions with names as short as possible, in one request."""
    partitions = [CommitPartition("t", None, index, 0, -1, None) for index in range(count)]
    found: list[ErrorCode] = []
    request = CommitRequest("g", -1, "", None, -1, True, partitions)
    harness.coordinator.commit(request, lambda error, errors: found.append(error))
    return found


def test_a_commit_that_no_batch_can_hold_is_refused_before_its_records_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1), message_max_bytes=10_000)
    while harness.coordinator.is_loading():
        harness.loop.run_next()
    fitting = next(count for count in range(10_000 // RECORD_BYTES_MIN, 0, -1) if commit_all(harness, count) == [0])
    assert fitting > 0.9 * (10_000 // RECORD_BYTES_MIN), "RECORD_BYTES_MIN is about the least that a record needs"
    made: list[object] = []
    monkeypatch.setattr(OffsetCommit, "_records", lambda *arguments: made.append(arguments))
    assert commit_all(harness, 10_000 // RECORD_BYTES_MIN + 1) == [ErrorCode.UNKNOWN_SERVER_ERROR]
    assert not made


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_compression_does_not_make_a_commit_larger_than_the_loop_can_bear(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of offsets compresses into one batch."""
    harness = Harness(FakeCluster(1), message_max_bytes=10_000, offsets_topic_compression_codec=codec)
    assert commit_all(harness, 10_000 // RECORD_BYTES_MIN) == [ErrorCode.NONE]
    made: list[object] = []
    monkeypatch.setattr(OffsetCommit, "_records", lambda *arguments: made.append(arguments))
    assert commit_all(harness, 10_000 // RECORD_BYTES_MIN + 1) == [ErrorCode.UNKNOWN_SERVER_ERROR]
    assert not made


def test_what_is_compressed_on_the_loop_is_limited() -> None:
    harness = Harness(FakeCluster(1), message_max_bytes=1_000, offsets_topic_compression_codec=1)
    assert harness.commit(metadata="m" * 3_500) == ErrorCode.NONE
    assert harness.commit(metadata="m" * 4_000) == ErrorCode.UNKNOWN_SERVER_ERROR
    assert len(harness.group().offsets["ct"][0].metadata) == 3_500


def test_a_batch_with_many_offsets_loads_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    assert commit_all(harness, 2 * loader.STEP_RECORDS + 1) == [ErrorCode.NONE]
    harness.coordinator.stop()
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    loading = harness.reload()
    shard = loading.coordinator.runtime.shards[0]
    counts = []
    while shard.is_loading:
        counts.append(sum(len(partitions) for group in shard.state.groups.values() for partitions in group.offsets.values()))
        loading.loop.run_next()
    assert [count for place, count in enumerate(counts) if count not in counts[:place]] == [
        loader.STEP_RECORDS, 2 * loader.STEP_RECORDS, 2 * loader.STEP_RECORDS + 1
    ]  # fmt: skip
    assert len(loading.group().offsets["t"]) == 2 * loader.STEP_RECORDS + 1


def test_commits_expiries_and_deletions_are_counted() -> None:
    harness = Harness(offsets_topic_compression_codec=0)
    counts = harness.coordinator.counts
    assert harness.commit(group="g") == 0 and harness.commit(group="g2") == 0
    assert harness.commit(generation=7, group="none") != 0
    assert (counts.commits, counts.expirations, counts.deletions) == (2, 0, 0)
    assert deleted(harness) == 0
    assert (counts.expirations, counts.deletions) == (0, 1)
    harness.loop.advance(2 * WEEK_S)
    assert (counts.commits, counts.expirations, counts.deletions) == (2, 1, 1)
    assert harness.reload().coordinator.counts.commits == 0, "loading counts nothing"
