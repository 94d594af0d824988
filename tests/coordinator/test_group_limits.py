"""The memory of groups and of committed offsets is limited; what exists goes on, and what was acknowledged is loaded."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.coordinator import committed_offsets
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.commits import LONG_OFFSETS
from kafka_cy.coordinator.committed_offsets import CommittedOffsets
from kafka_cy.coordinator.group_limits import GroupLimits, group_bytes
from kafka_cy.coordinator.offsets import pending
from kafka_cy.coordinator.records import CommittedOffset
from kafka_cy.protocol.errors import ErrorCode

from .consumer_fakes import ConsumerHarness
from .direct_commits import Direct
from .fakes import CONFIG, Harness
from .share_group_fakes import ShareGroupHarness
from .streams_fakes import StreamsHarness

NONE, POLICY_VIOLATION = ErrorCode.NONE, ErrorCode.POLICY_VIOLATION
LONG, WIDE = "l" * 32_000, "\u20ac" * 10_000


@pytest.fixture(autouse=True)
def no_limit() -> Iterator[None]:
    yield
    committed_offsets.set_bytes_max(1 << 30)


def fill() -> None:
    """No more memory for committed offsets."""
    gc.collect()
    committed_offsets.set_bytes_max(max(1, committed_offsets.held_bytes()))
    assert committed_offsets.are_full()


def group_of(number: int) -> str:
    return f"{number}{(LONG, WIDE)[number % 2]}"


# -- groups --


def test_group_ids_are_limited_in_bytes() -> None:
    groups = [group_of(number) for number in range(6)]
    harness = ConsumerHarness(kafkacy_groups_max_bytes=sum(map(group_bytes, groups)))
    limits = harness.coordinator.limits
    for group in groups:
        assert harness.commit(group=group) == 0
    assert limits.bytes == sum(map(group_bytes, groups)) > 6 * 96_000
    assert harness.commit(group="n") == POLICY_VIOLATION
    assert harness.join("n")[0]["error_code"] == POLICY_VIOLATION
    assert harness.join_consumer("n", "a")["error_code"] == POLICY_VIOLATION
    assert limits.refused == {"groups": 3, "offsets": 0, "pending": 0}
    joined = harness.join(groups[1])
    harness.loop.advance(2)
    assert harness.commit(group=groups[0], offset=6) == 0 == joined[0]["error_code"]
    assert harness.delete_group(groups[2]) == 0 and harness.commit(group="n") == 0
    assert harness.commit(group=groups[2]) == POLICY_VIOLATION
    harness.loop.advance(8 * 86_400)
    assert limits.bytes == 0 == harness.coordinator.group_count, "all have expired"
    assert harness.commit(group=groups[2]) == 0
    harness.coordinator.stop()
    assert limits.bytes == 0


@pytest.mark.parametrize("group", [LONG, WIDE])
@pytest.mark.parametrize("kind", ["classic", "consumer", "share", "streams"])
def test_the_id_of_a_group_counts_with_each_of_its_members(kind: str, group: str) -> None:
    """Reactors have a copy for each (heartbeat_table)."""
    harness: Any = {"share": ShareGroupHarness, "streams": StreamsHarness}.get(kind, ConsumerHarness)()
    coordinator = harness.coordinator
    held = coordinator.rebalancer.held if kind == "classic" else getattr(coordinator, kind).context.held
    join = {
        "classic": lambda member: harness.join(group), "consumer": lambda member: harness.join_consumer(group, member),
        "share": lambda member: harness.beat(group, member, 0, ["st"]),
        "streams": lambda member: harness.join_streams(group, member),
    }[kind]  # fmt: skip
    for number in (1, 2):
        join(f"m{number}")
        assert held.member_bytes >= number * len(group.encode())
    harness.loop.advance(120)
    assert not harness.group(group).members and held.member_bytes < 10_000, "a topology and states of partitions stay"


def test_what_was_acknowledged_is_loaded_beyond_the_limits() -> None:
    harness = Harness()
    for number in range(6):
        assert harness.commit(group=group_of(number), metadata="m" * 4000) == 0
    loaded = harness.reload(kafkacy_groups_max_bytes=100_000, kafkacy_committed_offsets_max_bytes=1000)
    harness.loop.advance(1)
    assert loaded.coordinator.group_count == 6 and loaded.coordinator.limits.bytes > 100_000
    assert loaded.group(group_of(5)).offsets["ct"][0].metadata == "m" * 4000
    assert loaded.commit(group="n") == POLICY_VIOLATION
    assert loaded.commit(group=group_of(0), partition=1) == POLICY_VIOLATION
    assert loaded.commit(group=group_of(0), offset=7) == 0
    assert loaded.coordinator.limits.refused == {"groups": 1, "offsets": 1, "pending": 0}


@pytest.mark.parametrize("kind", [ConsumerHarness, ShareGroupHarness, StreamsHarness])
def test_a_heartbeat_that_begins_no_group_gets_the_error_of_kafka(kind: Any) -> None:
    harness = kind(kafkacy_groups_max_bytes=1)
    refused = harness.coordinator.limits.refused
    for epoch in (7, -1):
        assert harness.beat("n", "a", epoch)["error_code"] == ErrorCode.GROUP_ID_NOT_FOUND
    assert refused["groups"] == 0
    joins = {
        ConsumerHarness: lambda: harness.join_consumer("n", "a"), ShareGroupHarness: lambda: harness.beat("n", "a", 0, ["st"]),
        StreamsHarness: lambda: harness.join_streams("n", "a"),
    }  # fmt: skip
    assert joins[kind]()["error_code"] == POLICY_VIOLATION and refused["groups"] == 1


def test_a_commit_that_begins_no_group_gets_the_error_of_kafka() -> None:
    harness = Harness(kafkacy_groups_max_bytes=1)
    assert harness.commit(generation=7) == ErrorCode.GROUP_ID_NOT_FOUND
    assert harness.commit(generation=7, new=False) == ErrorCode.ILLEGAL_GENERATION
    assert harness.coordinator.limits.refused["groups"] == 0
    assert harness.commit() == POLICY_VIOLATION


def test_the_log_tells_once_a_minute() -> None:
    lines, now = list[tuple[str, dict[str, Any]]](), [0.0]
    config = CONFIG | {"kafkacy.groups.max.bytes": 10}
    limits = GroupLimits(config, lambda what, **fields: lines.append((what, fields)), lambda: now[0])
    for _ in range(3):
        assert limits.is_full(LONG)
        limits.refuse_offsets(LONG)
        limits.refuse_pending(LONG, offsets=0, held_bytes=0)
    assert [set(fields) for _, fields in lines] == [
        {"group", "groups", "bytes", "bytes_max"}, {"group", "bytes", "bytes_max"}, {"group", "offsets", "bytes"}
    ]  # fmt: skip
    assert all(len(fields["group"]) == 200 for _, fields in lines)
    now[0] = 61
    assert limits.is_full("g") and len(lines) == 4


# -- offsets --


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[Direct]:
    found = Direct(tmp_path)
    yield found
    found.stop()


def test_a_reactor_stores_no_offset_beyond_the_limit(direct: Direct) -> None:
    direct.open(metadata="note")
    assert direct.commit(offset=6, metadata="note") == (NONE, True)
    fill()
    held = committed_offsets.held_bytes()
    assert direct.commit(offset=7, metadata="noto") == (NONE, True), "it takes no more memory"
    assert direct.commit(partition=1) == (POLICY_VIOLATION, False)
    assert direct.commit(topic="cu") == (POLICY_VIOLATION, False)
    assert direct.commit(metadata="longer note") == (POLICY_VIOLATION, False)
    assert committed_offsets.held_bytes() == held
    assert direct.harness.coordinator.limits.refused["offsets"] == 3
    assert direct.offsets()["ct"][0].offset == 7 and direct.offsets().count == 1
    assert direct.in_memory() == direct.replayed()
    direct.harness.coordinator.delete_offsets("g", [("ct", 0)], lambda error, errors: None)
    assert committed_offsets.held_bytes() < held
    assert direct.commit()[0] == NONE and direct.commit(offset=8) == (NONE, True)


def test_a_refused_commit_stores_nothing_of_it(direct: Direct) -> None:
    direct.open()
    fill()
    assert direct.directly([("ct", 0, 9), ("ct", 1, 9)]) is None
    assert direct.offsets()["ct"][0].offset == 5
    assert direct.directly([("ct", 0, 9)]) is not None


def request(count: int, *, generation: int = -1, metadata: str | None = None) -> CommitRequest:
    rows = [CommitPartition("ct", None, partition, 1, -1, metadata) for partition in range(count)]
    return CommitRequest("g", generation, "", None, -1, True, rows)


def commit(harness: Harness, asked: CommitRequest) -> ErrorCode:
    found: list[ErrorCode] = []
    harness.coordinator.commit(asked, lambda error, errors: found.append(error or max(errors.values())))
    while not found:
        harness.loop.advance(0.01)
    return found[0]


@pytest.mark.parametrize("count", [2, LONG_OFFSETS + 500])
def test_the_coordinator_stores_no_offset_beyond_the_limit(count: int) -> None:
    harness = Harness()
    assert commit(harness, request(count)) == 0
    fill()
    held = committed_offsets.held_bytes()
    assert commit(harness, request(count)) == 0
    assert commit(harness, request(count + 1)) == POLICY_VIOLATION
    assert commit(harness, request(count, metadata="m")) == POLICY_VIOLATION
    assert commit(harness, request(count + 1, generation=1)) != POLICY_VIOLATION, "why it is refused anyway counts first"
    assert committed_offsets.held_bytes() == held and harness.group().offsets.count == count
    assert harness.commit(group="n") == POLICY_VIOLATION and harness.coordinator.group_count == 1


@pytest.mark.parametrize("codec", [0, 4])
@pytest.mark.parametrize("count", [3, LONG_OFFSETS + 500])
def test_partitions_of_a_commit_that_are_known_are_stored_beyond_the_limit(count: int, codec: int) -> None:
    harness = Harness(offsets_topic_compression_codec=codec)
    assert commit(harness, request(count)) == 0
    fill()
    too_large = ErrorCode.OFFSET_METADATA_TOO_LARGE
    known = [CommitPartition("ct", None, partition, 9, -1, None) for partition in range(count)]
    metadata_of_new = {count: None, count + 1: "m" * 5000, count + 2: ""}
    new = [CommitPartition("ct", None, partition, 9, -1, metadata) for partition, metadata in metadata_of_new.items()]
    found: list[Any] = []
    asked = request(0)._replace(partitions=[new[0], *known, *new[1:]])
    harness.coordinator.commit(asked, lambda *response: found.append(response))
    while not found:
        harness.loop.advance(0.01)
    ((error, errors),) = found
    assert error == 0 and {partition for (_, partition), each in errors.items() if not each} == set(range(count))
    assert [errors["ct", partition] for partition in metadata_of_new] == [POLICY_VIOLATION, too_large, POLICY_VIOLATION]
    assert harness.coordinator.limits.refused["offsets"] == 1
    loaded = harness.reload()
    loaded.loop.advance(1)
    for each in (harness, loaded):
        stored = each.group().offsets["ct"]
        assert {partition: value.offset for partition, value in stored.items()} == dict.fromkeys(range(count), 9)
    fill()
    assert commit(harness, asked._replace(partitions=[*known, new[1]])) == too_large
    assert harness.coordinator.limits.refused["offsets"] == 1, "too large metadata takes no room"


def test_offsets_in_transactions_are_refused_beyond_the_limit(direct: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    direct.open()
    fill()

    def commit_in_transaction(partition: int) -> list[ErrorCode]:
        found: list[ErrorCode] = []
        row = CommitPartition("ct", direct.server.topic_ids["ct"], partition, 7, -1, None)
        asked = CommitRequest("g", -1, "", None, -1, True, [row], is_transactional=True)
        direct.harness.coordinator.commit_in_transaction(
            asked, (5, 0), lambda: NONE, lambda error, errors: found.append(error or errors["ct", partition])
        )
        return found

    assert commit_in_transaction(1) == [POLICY_VIOLATION]
    refused = direct.harness.coordinator.limits.refused
    assert refused == {"groups": 0, "offsets": 1, "pending": 0}
    monkeypatch.setattr(pending, "PENDING_OFFSETS_MAX", 0)
    assert commit_in_transaction(0) == [POLICY_VIOLATION] and refused["pending"] == 1
    monkeypatch.undo()
    assert commit_in_transaction(0) == [NONE]
    direct.end_transaction(5, committed=True)
    assert direct.offsets()["ct"][0].offset == 7 and 1 not in direct.offsets()["ct"]


# -- counting --


def test_the_memory_of_offsets_is_taken_back() -> None:
    gc.collect()
    chance, before = random.Random(3), committed_offsets.held_bytes()
    offsets, model = CommittedOffsets(), dict[tuple[str, int], int]()
    for number in range(3000):
        topic, partition, size = f"t{chance.randrange(9)}", chance.randrange(40), chance.randrange(300)
        if chance.random() < 0.4:
            offsets.remove(topic, partition)
            model.pop((topic, partition), None)
        else:
            assert offsets.has_room(topic, partition, "") == ((topic, partition) in model)
            offsets.put(topic, partition, CommittedOffset(number, -1, "m" * size, 1))
            model[topic, partition] = max(size, model.get((topic, partition), 0))
            assert offsets.has_room(topic, partition, "m" * model[topic, partition])
            assert not offsets.has_room(topic, partition, "m" * (model[topic, partition] + 1))
        assert committed_offsets.held_bytes() - before >= 88 * len(model) + sum(model.values())
    for topic, partition in model:
        offsets.remove(topic, partition)
    assert committed_offsets.held_bytes() - before < 1000, "only the places of topics are left"
    del offsets
    assert committed_offsets.held_bytes() == before


def test_an_unloaded_partition_gives_its_memory_back() -> None:
    gc.collect()
    before = committed_offsets.held_bytes()
    harness = Harness()
    for number in range(20):
        assert harness.commit(group=f"g{number}") == 0
    assert committed_offsets.held_bytes() > before
    harness.coordinator.runtime.unload_all()
    while harness.coordinator.group_count:
        harness.loop.advance(0)
    gc.collect()
    assert committed_offsets.held_bytes() == before and harness.coordinator.limits.bytes == 0
