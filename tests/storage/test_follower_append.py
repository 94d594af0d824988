"""A follower's log: the leader's bytes, the same files, and errors that say what and where."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog, StorageFailure
from tests.storage.abandoned import abandon
from tests.storage.batches import TRANSACTIONAL, base_offset, batch, marker, split

CONFIG = {"segment.bytes": 3000, "index.interval.bytes": 200, "retention.ms": -1, "segment.jitter.ms": 0}
LEADER_EPOCH = 3
NOT_LEADER, CORRUPT, OUT_OF_RANGE = 11, 4, 1


def leading(folder: Path, config: dict[str, Any] | None = None) -> HostedPartition:
    folder.mkdir(exist_ok=True)
    return HostedPartition(PartitionLog(str(folder), config or CONFIG, clean=True), "t", bytes(16), 0)


def following(folder: Path, config: dict[str, Any] | None = None, *, start_offset: int = -1) -> HostedPartition:
    folder.mkdir(exist_ok=True)
    log = PartitionLog(str(folder), config or CONFIG, clean=True, start_offset=start_offset)
    return HostedPartition(log, "t", bytes(16), 0, LEADER_EPOCH, leads=False)


def everything(leader: HostedPartition, offset: int = 0) -> bytes:
    found = b""
    while offset < leader.log_end_offset:
        found += leader.read(offset, 1 << 20, leader.log_end_offset)
        last = split(found)[-1]
        offset = base_offset(last) + int.from_bytes(last[23:27], "big") + 1
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def random_history(leader: HostedPartition, source: random.Random, count: int) -> None:
    """Plain, idempotent and transactional batches, markers, and new leader epochs."""
    sequences: dict[int, int] = {}
    opened: set[int] = set()
    epoch = 0
    for number in range(count):
        time_ms = 1000 + number * source.randrange(5)
        kind = source.randrange(8)
        producer = source.randrange(4)
        if kind == 0:
            epoch += source.randrange(1, 3)
            leader.become_leader(epoch)
        elif kind <= 2 and producer in opened:
            opened.remove(producer)
            leader.append(marker(producer, 0, commit=source.random() < 0.5, timestamp_ms=time_ms))
        elif kind <= 5:
            records = source.randrange(1, 4)
            attributes = TRANSACTIONAL if producer in opened or kind == 5 else 0
            if attributes:
                opened.add(producer)
            leader.append(
                batch(records, size=source.randrange(300), timestamp_ms=time_ms, producer_id=producer, producer_epoch=0,
                      base_sequence=sequences.get(producer, 0), attributes=attributes)
            )  # fmt: skip
            sequences[producer] = sequences.get(producer, 0) + records
        else:
            leader.append(batch(source.randrange(1, 6), size=source.randrange(400), timestamp_ms=time_ms))
    leader.append(batch())  # a follower does not hear of an epoch without records


@pytest.mark.parametrize("seed", range(12))
def test_the_follower_writes_the_files_of_the_leader(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    leader, follower = leading(tmp_path / "leader"), following(tmp_path / "follower")
    random_history(leader, source, 120)
    batches = split(everything(leader))
    while batches:
        count = source.choice([1, 2, 7, 40])
        chunk, batches = batches[:count], batches[count:]
        cut = batches[0][: source.randrange(len(batches[0]))] if batches else b""  # as a leader cuts a response
        end = follower.append_received(b"".join(chunk) + cut, LEADER_EPOCH, leader.high_watermark)
        assert end == follower.high_watermark == base_offset(batches[0]) if batches else True
    assert follower.log_end_offset == follower.high_watermark == leader.log_end_offset
    assert follower.last_stable_offset == leader.last_stable_offset
    assert follower.log.producers() == leader.log.producers()
    for each in (leader, follower):
        each.log.close()
    assert files(tmp_path / "follower") == files(tmp_path / "leader")
    again = PartitionLog(str(tmp_path / "follower"), CONFIG, recovery_point=0)
    assert again.log_end_offset == leader.log_end_offset


def test_what_a_crash_leaves_is_recovered(tmp_path: Path) -> None:
    leader, follower = leading(tmp_path / "leader"), following(tmp_path / "follower")
    random_history(leader, random.Random(99), 100)
    follower.append_received(everything(leader), LEADER_EPOCH, 0)
    producers = follower.log.producers()
    abandon(follower.log)
    again = PartitionLog(str(tmp_path / "follower"), CONFIG, recovery_point=0)
    assert (again.log_end_offset, again.producers()) == (leader.log_end_offset, producers)
    assert [again.epoch_of(offset) for offset in range(leader.log_end_offset)] == [
        leader.log.epoch_of(offset) for offset in range(leader.log_end_offset)
    ]


def test_one_write_for_many_batches(tmp_path: Path) -> None:
    """The batches of a response that go into one segment are written at once."""
    leader = leading(tmp_path / "leader", {"segment.bytes": 1 << 20})
    follower = following(tmp_path / "follower", {"segment.bytes": 1 << 20})
    for _ in range(50):
        leader.append(batch(3))
    data = everything(leader)
    follower.append_received(data, LEADER_EPOCH, 0)
    assert follower.log.size_bytes == len(data)
    assert everything(follower) == data


def test_the_offsets_of_the_leader(tmp_path: Path) -> None:
    leader, follower = leading(tmp_path / "leader"), following(tmp_path / "follower")
    for _ in range(4):
        leader.append(batch(10))
    data = split(everything(leader))
    follower.append_received(b"".join(data[:2]), LEADER_EPOCH, 35)
    assert (follower.log_end_offset, follower.high_watermark) == (20, 20)  # not beyond its own end
    follower.append_received(b"", LEADER_EPOCH, 15)
    assert follower.high_watermark == 15  # a new leader knows less at first
    follower.append_received(data[2], LEADER_EPOCH, 25, 12)
    assert (follower.high_watermark, follower.log_start_offset) == (25, 12)
    follower.append_received(b"", LEADER_EPOCH, 25, 28)
    assert follower.log_start_offset == 25  # the start does not pass the high watermark
    follower.append_received(b"", LEADER_EPOCH, 30, 5)
    assert follower.log_start_offset == 25


def test_another_epoch_or_role_is_refused(tmp_path: Path) -> None:
    leader, follower = leading(tmp_path / "leader"), following(tmp_path / "follower")
    leader.append(batch())
    data = everything(leader)
    with pytest.raises(StorageFailure, match="not the leader"):
        follower.append_received(data, LEADER_EPOCH - 1, 0)
    follower.follow(LEADER_EPOCH + 1)
    with pytest.raises(StorageFailure, match="not the leader"):
        follower.append_received(data, LEADER_EPOCH, 0)
    follower.lead(LEADER_EPOCH + 2, [1], [1], 1)
    with pytest.raises(StorageFailure, match="not the leader"):
        follower.append_received(data, LEADER_EPOCH + 2, 0)
    assert follower.log_end_offset == 0


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (40, 0xFF, "wrong checksum at byte {second} of the response, base offset 3"),
        (16, 9, "unknown format at byte {second} of the response, base offset 3"),
        (11, 3, "wrong length at byte {second} of the response, base offset 3"),
        (7, 1, "offsets go back at byte {second} of the response, base offset 1"),
    ],
)
def test_a_corrupt_batch_is_named(tmp_path: Path, at: int, value: int, why: str) -> None:
    leader, follower = leading(tmp_path / "leader"), following(tmp_path / "follower")
    for _ in range(3):
        leader.append(batch(3))
    batches = split(everything(leader))
    second = len(batches[0])
    data = bytearray(b"".join(batches))
    data[second + at] = value
    with pytest.raises(StorageFailure, match=why.format(second=second)) as failure:
        follower.append_received(bytes(data), LEADER_EPOCH, 9)
    assert failure.value.code == CORRUPT
    assert (follower.log_end_offset, follower.high_watermark) == (0, 0)  # nothing of that response


def test_batches_below_the_end_are_refused(tmp_path: Path) -> None:
    leader, follower = leading(tmp_path / "leader"), following(tmp_path / "follower")
    for _ in range(2):
        leader.append(batch(5))
    data = everything(leader)
    follower.append_received(data, LEADER_EPOCH, 10)
    with pytest.raises(StorageFailure, match="offsets 0 to 4, below the log's end") as failure:
        follower.append_received(data, LEADER_EPOCH, 10)
    assert failure.value.code == OUT_OF_RANGE
    assert everything(follower) == data


def test_a_first_batch_that_begins_below_the_start(tmp_path: Path) -> None:
    """DeleteRecords left the leader's start inside a batch: the follower's log begins with that batch, and its start follows."""
    leader, follower = leading(tmp_path / "leader"), following(tmp_path / "follower")
    for _ in range(2):
        leader.append(batch(10))
    leader.delete_records(4)
    data = everything(leader, 4)
    follower.log.truncate_fully(4)
    with pytest.raises(StorageFailure, match="offsets 0 to 9"):
        follower.append_received(data, LEADER_EPOCH, 20, 4)
    follower.log.truncate_fully(base_offset(data))
    follower.append_received(data, LEADER_EPOCH, 20, 4)
    assert (follower.log_start_offset, follower.log_end_offset) == (4, 20)


def test_gaps_of_a_compacted_leader(tmp_path: Path) -> None:
    leader, follower = leading(tmp_path / "leader"), following(tmp_path / "follower")
    for _ in range(4):
        leader.append(batch(5))
    first, _, third, _ = split(everything(leader))
    follower.append_received(first + third, LEADER_EPOCH, 20)
    assert (follower.log_end_offset, everything(follower)) == (15, first + third)
    assert follower.log.read(7, 1 << 20) == third


def test_truncation_and_a_new_leader(tmp_path: Path) -> None:
    """KIP-101: what the old leader wrote alone is cut, with its epochs, producers and transactions; the rest comes again."""
    old, new = leading(tmp_path / "old"), leading(tmp_path / "new")
    follower = following(tmp_path / "follower")
    old.append(batch(10, producer_id=1, producer_epoch=0, base_sequence=0))
    shared = everything(old)
    new.follow(LEADER_EPOCH)
    for each in (new, follower):
        each.append_received(shared, LEADER_EPOCH, 10)
    old.become_leader(1)
    old.append(batch(5, producer_id=1, producer_epoch=0, base_sequence=10, attributes=TRANSACTIONAL))
    follower.append_received(everything(old, 10), LEADER_EPOCH, 15)
    new.become_leader(4)
    new.append(batch(3, producer_id=1, producer_epoch=0, base_sequence=10))
    assert new.log.end_offset_for_epoch(1) == (0, 10)
    follower.follow(4)
    follower.truncate_to(10)
    assert (follower.high_watermark, follower.log.latest_epoch, follower.last_stable_offset) == (10, 0, 10)
    follower.append_received(everything(new, 10), 4, 13)
    assert follower.log.producers() == new.log.producers()
    for each in (new, follower):
        each.log.close()
    assert files(tmp_path / "follower") == files(tmp_path / "new")


def test_flush_messages_holds_for_followers(tmp_path: Path) -> None:
    leader = leading(tmp_path / "leader")
    follower = following(tmp_path / "follower", {**CONFIG, "flush.messages": 1})
    leader.append(batch(5))
    follower.append_received(everything(leader), LEADER_EPOCH, 5)
    assert follower.log.recovery_point == 5


@pytest.mark.parametrize("seed", range(6))
def test_the_leaders_answers_are_where_logs_part(tmp_path: Path, seed: int) -> None:
    """Two logs with a common beginning, in different epochs after it: truncation by epoch finds the longest common prefix."""
    source = random.Random(seed)
    logs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        logs.append(PartitionLog(str(tmp_path / name), CONFIG, clean=True))
    history: list[tuple[int, int]] = []  # (epoch, records) that both have
    epoch = 0
    for _ in range(source.randrange(1, 6)):
        epoch += source.randrange(1, 3)
        history.append((epoch, source.randrange(1, 4)))
    for log in logs:
        for its_epoch, count in history:
            for _ in range(count):
                log.append(batch(2), leader_epoch=its_epoch)
    common = logs[0].log_end_offset
    for number, log in enumerate(logs):  # from here on each has epochs of its own
        for step in range(source.randrange(4)):
            log.append(batch(2), leader_epoch=epoch + 1 + 2 * step + number)
    leader, follower = logs
    leader.assign_epoch(epoch + 20)  # the controller gives a leader a larger epoch than all before
    for _ in range(20):
        asked = follower.latest_epoch
        found, end = leader.end_offset_for_epoch(asked)
        if found == asked and end >= follower.log_end_offset:
            break
        mine, my_end = follower.end_offset_for_epoch(found) if found >= 0 else (-1, -1)
        if found < 0:
            follower.truncate_to(0)
        else:
            follower.truncate_to(min(my_end if mine == found else min(my_end, end), end, follower.log_end_offset))
    assert follower.log_end_offset >= min(common, leader.log_end_offset) or leader.log_end_offset < common
    shared = min(follower.log_end_offset, leader.log_end_offset)
    assert follower.read(0, 1 << 20, shared) == leader.read(0, 1 << 20, shared)
