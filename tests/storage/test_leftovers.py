"""Folders after a crash: incomplete rolls, swaps and index writes; torn checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kafka_cy.storage.checkpoints import read_offsets, write_offsets
from kafka_cy.storage.log import PartitionLog
from tests.storage.abandoned import abandon
from tests.storage.batches import base_offset, batch, last_offset, split

CONFIG = {"retention.ms": -1, "segment.bytes": 20_000, "index.interval.bytes": 400}
COUNT = 800
# No garbage in a time index, because garbage there cannot be detected.
TORN = [(suffix, how) for suffix in (".index", ".timeindex") for how in ("missing", "empty", "cut", "zeros", "garbage")][:-1]


def name(offset: int, suffix: str) -> str:
    return f"{offset:020d}{suffix}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three closed segments and an active one; two leader epochs; shut down cleanly."""
    folder = tmp_path_factory.mktemp("made") / "t-0"
    folder.mkdir()
    log = PartitionLog(str(folder), CONFIG, clean=True)
    for i in range(COUNT):
        log.append(batch(timestamp_ms=10 * i), leader_epoch=0 if i < 200 else 3)
    assert len(log.segments()) == 4
    log.close()
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "t-0"))


def reopen(folder: Path, *, clean: bool = True, recovery_point: int = COUNT) -> PartitionLog:
    return PartitionLog(str(folder), CONFIG, clean=clean, recovery_point=recovery_point)


def segment_offsets(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.log"))


def check(log: PartitionLog, end: int = COUNT) -> None:
    assert log.log_end_offset == end
    found, offset = [], 0
    while offset < end:
        found += split(log.read(offset, 5000))
        offset = last_offset(found[-1]) + 1
    assert [base_offset(data) for data in found] == list(range(end))
    for i in range(0, end, 7):
        assert base_offset(log.read(i, 1)) == i
        assert log.offset_for_timestamp(10 * i)[0] == i
    assert log.max_timestamp()[0] == end - 1


def tear(path: Path, how: str) -> None:
    data = path.read_bytes()
    changed = {"cut": data[:-3], "empty": b"", "zeros": bytes(len(data)), "garbage": b"\x7f" * len(data)}
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(changed[how])


@pytest.mark.parametrize(("suffix", "how"), TORN)
def test_a_closed_segments_index_is_made_anew_once(folder: Path, suffix: str, how: str) -> None:
    second = folder / name(segment_offsets(folder)[1], suffix)
    whole = second.stat().st_size
    tear(second, how)
    check(reopen(folder))
    assert whole / 12 < second.stat().st_size <= whole
    again = second.stat().st_mtime_ns
    check(reopen(folder))
    assert second.stat().st_mtime_ns == again


@pytest.mark.parametrize(("suffix", "how"), TORN)
def test_the_active_segments_index_is_completed_at_a_clean_start(folder: Path, suffix: str, how: str) -> None:
    last = folder / name(segment_offsets(folder)[-1], suffix)
    whole = last.read_bytes()
    tear(last, how)
    log = reopen(folder)
    check(log)
    log.close()
    assert abs(len(last.read_bytes()) - len(whole)) <= 12 if how == "cut" else last.read_bytes() == whole


def test_an_index_that_cannot_be_written_is_made_in_memory(folder: Path) -> None:
    second = folder / name(segment_offsets(folder)[1], ".index")
    second.unlink()
    second.symlink_to("/nowhere/at/all")
    check(reopen(folder))


def test_roll_stopped_before_the_new_segment(folder: Path) -> None:
    """The index and the snapshot of the roll exist, but the new segment does not."""
    last = segment_offsets(folder)[-1]
    for suffix in (".log", ".index", ".timeindex"):
        (folder / name(last, suffix)).unlink()
    log = reopen(folder, clean=False, recovery_point=0)
    check(log, last)
    assert log.append(batch(timestamp_ms=10 * last)) == last
    check(log, last + 1)


def test_roll_stopped_after_the_new_segment(folder: Path) -> None:
    """The new segment is empty, and the indexes of the old one were not written."""
    (folder / name(COUNT, ".log")).write_bytes(b"")
    last = segment_offsets(folder)[-2]
    (folder / name(last, ".index")).write_bytes(b"\x01")
    (folder / name(last, ".timeindex")).unlink()
    log = reopen(folder, clean=False, recovery_point=last)
    check(log)
    assert log.append(batch()) == COUNT


def test_torn_snapshot_is_not_used(tmp_path: Path) -> None:
    log = PartitionLog(str(tmp_path), CONFIG, clean=True)
    for i in range(4):
        log.append(batch(producer_id=5, producer_epoch=0, base_sequence=i), origin="client")
        log.roll()
    producers = log.producers()
    log.close()
    for offset in (2, 3, 4):
        path = tmp_path / name(offset, ".snapshot")
        path.write_bytes(path.read_bytes()[:-1])
    again = PartitionLog(str(tmp_path), CONFIG, clean=True)
    assert again.producers() == producers
    assert not (tmp_path / name(4, ".snapshot")).exists()


def swap_segments(folder: Path, suffix: str) -> tuple[list[int], bytes]:
    """The first two segments are merged, as by the cleaner; every second batch is removed."""
    offsets = segment_offsets(folder)
    kept = b"".join(
        data for i in (0, 1) for data in split((folder / name(offsets[i], ".log")).read_bytes()) if base_offset(data) % 2
    )
    (folder / name(offsets[0], ".log" + suffix)).write_bytes(kept)
    (folder / name(offsets[0], ".index" + suffix)).write_bytes(b"")
    (folder / name(offsets[0], ".timeindex" + suffix)).write_bytes(b"")
    return offsets, kept


def test_swap_takes_the_place_of_all_that_it_replaces(folder: Path) -> None:
    offsets, kept = swap_segments(folder, ".swap")
    log = reopen(folder, clean=False)
    assert segment_offsets(folder) == [offsets[0], *offsets[2:]]
    assert not list(folder.glob("*.swap"))
    assert log.read(0, len(kept)) == kept
    assert base_offset(log.read(offsets[2] - 1, 1)) in (offsets[2] - 1, offsets[2])
    assert log.offset_for_timestamp(20)[0] == 3
    check_end = split(log.read(offsets[2], 1 << 20))
    assert base_offset(check_end[0]) == offsets[2]


def test_swap_stopped_again_after_its_log_was_renamed(folder: Path) -> None:
    offsets, kept = swap_segments(folder, ".swap")
    for suffix in (".log", ".index", ".timeindex"):
        (folder / name(offsets[1], suffix)).unlink()
    (folder / name(offsets[0], ".log.swap")).rename(folder / name(offsets[0], ".log"))
    log = reopen(folder, clean=False)
    assert not list(folder.glob("*.swap"))
    assert log.read(0, len(kept)) == kept


def test_unfinished_cleaning_counts_for_nothing(folder: Path) -> None:
    swap_segments(folder, ".cleaned")
    check(reopen(folder, clean=False))
    assert not list(folder.glob("*.cleaned"))
    offsets, _ = swap_segments(folder, ".swap")
    (folder / name(offsets[0], ".log.cleaned")).write_bytes(b"")
    check(reopen(folder, clean=False))
    assert not [*folder.glob("*.swap"), *folder.glob("*.cleaned")]


EPOCHS = "leader-epoch-checkpoint"


@pytest.mark.parametrize("text", ["", "0\n", "0\n2\n0 0\n3", "0\n2\n0 0\nx y\n", "9\n0\n", "\0" * 14, "0\n-1\n"])
def test_torn_epochs_are_told_by_the_batches(folder: Path, text: str) -> None:
    (folder / EPOCHS).write_text(text)
    log = reopen(folder)
    assert (log.epoch_of(0), log.epoch_of(199), log.epoch_of(200)) == (0, 0, 3)
    assert log.end_offset_for_epoch(2) == (0, 200)
    assert (folder / EPOCHS).read_text() == "0\n2\n0 0\n3 200\n"


def test_epochs_are_in_the_file_when_anything_of_them_is_flushed(tmp_path: Path) -> None:
    log = PartitionLog(str(tmp_path), CONFIG, clean=True)
    log.append(batch(), leader_epoch=0)
    log.flush()
    assert (tmp_path / EPOCHS).read_text() == "0\n1\n0 0\n"  # as Kafka writes it
    log.assign_epoch(4)
    log.append(batch(), leader_epoch=4)
    assert (tmp_path / EPOCHS).read_text() == "0\n1\n0 0\n"  # an append, which runs on a reactor, writes no file
    log.flush()
    assert (tmp_path / EPOCHS).read_text() == "0\n2\n0 0\n4 1\n"
    (tmp_path / f"{EPOCHS}.tmp").write_text("0\n7\n")  # stopped while the next one was written
    again = PartitionLog(str(tmp_path), CONFIG, recovery_point=0)
    assert again.end_offset_for_epoch(0) == (0, 1)
    assert not list(tmp_path.glob("*.tmp"))


def test_epochs_that_were_not_flushed_are_found_in_the_batches(tmp_path: Path) -> None:
    log = PartitionLog(str(tmp_path), CONFIG, clean=True)
    log.append(batch(), leader_epoch=0)
    log.append(batch(), leader_epoch=4)
    abandon(log)
    again = PartitionLog(str(tmp_path), CONFIG, recovery_point=0)
    assert [again.epoch_of(offset) for offset in (0, 1)] == [0, 4]
    assert (tmp_path / EPOCHS).read_text() == "0\n2\n0 0\n4 1\n"


def test_retention_writes_the_epochs(tmp_path: Path) -> None:
    """As Kafka does. A start also drops the epochs below the log start offset, if the file is older."""
    log = PartitionLog(str(tmp_path), CONFIG, clean=True)
    for epoch in (0, 4):
        log.append(batch(), leader_epoch=epoch)
        log.roll()
    log.append(batch(), leader_epoch=6)
    log.flush()
    log.delete_records(1)
    assert log.delete_old_segments() == 1
    assert (tmp_path / EPOCHS).read_text() == "0\n2\n4 1\n6 2\n"
    log.delete_records(2)
    abandon(log)
    again = PartitionLog(str(tmp_path), CONFIG, start_offset=2, recovery_point=2)
    assert (again.epoch_of(1), again.epoch_of(2)) == (-1, 6)


def test_offset_checkpoints(tmp_path: Path) -> None:
    path = str(tmp_path / "cleaner-offset-checkpoint")
    golden = "0\n6\ncl1 0 8\nclg3 0 12\nclg4 0 17\nclg1 0 12\ncl2 0 19\nclg2 0 17\n"  # of a Kafka 4.3.1
    Path(path).write_text(golden)
    offsets = read_offsets(path)
    assert offsets["clg4", 0] == 17
    write_offsets(path, offsets)
    assert Path(path).read_text() == golden
    for torn in ("", "0\n", "0\n2\na 0 1\n", "1\n0\n", "0\n1\na b 0 1\n", json.dumps({})):
        Path(path).write_text(torn)
        assert read_offsets(path) in ({}, {("a", 0): 1})


@pytest.mark.parametrize("where", ["closed", "active"])
@pytest.mark.parametrize("change", [-1, 1, 40, 1 << 20, 1 << 40, -(1 << 40), 1 << 62])
def test_a_damaged_base_offset_ends_the_log(folder: Path, where: str, change: int) -> None:
    """The checksum of the batch does not cover it, so the neighbours are used to check it."""
    first = segment_offsets(folder)[-1 if where == "active" else 1]
    path = folder / name(first, ".log")
    batches = split(path.read_bytes())
    damaged = base_offset(batches[50])
    batches[50] = ((damaged + change) % (1 << 64)).to_bytes(8, "big") + batches[50][8:]
    path.write_bytes(b"".join(batches))
    check(reopen(folder, clean=False, recovery_point=0), damaged)


def test_a_raised_base_offset_at_the_end_of_a_closed_segment(folder: Path) -> None:
    first, following = segment_offsets(folder)[1:3]
    path = folder / name(first, ".log")
    batches = split(path.read_bytes())
    batches[-1] = (following + 5).to_bytes(8, "big") + batches[-1][8:]
    path.write_bytes(b"".join(batches))
    check(reopen(folder, clean=False, recovery_point=0), following - 1)


def test_holes_are_no_damage(folder: Path) -> None:
    """Every third batch, as after cleaning, followed by a torn batch that would start lower."""
    last = segment_offsets(folder)[-1]
    path = folder / name(last, ".log")
    kept = split(path.read_bytes())[::3]
    path.write_bytes(b"".join(kept) + kept[0][:8] + kept[1][8:-1] + b"?")
    log = reopen(folder, clean=False, recovery_point=0)
    assert log.log_end_offset == last_offset(kept[-1]) + 1
    assert log.read(last, 1 << 20) == b"".join(kept)


def test_a_damaged_magic_is_no_message_of_an_old_format(folder: Path) -> None:
    path = folder / name(segment_offsets(folder)[-1], ".log")
    batches = split(path.read_bytes())
    for magic in (0, 1, 3, 255):
        damaged = [*batches[:20], batches[20][:16] + bytes([magic]) + batches[20][17:], *batches[21:]]
        path.write_bytes(b"".join(damaged))
        assert reopen(folder, clean=False, recovery_point=0).log_end_offset == base_offset(batches[20])


def test_a_truncated_log_ends_where_it_was_told_to(folder: Path) -> None:
    """Like UnifiedLog.truncateTo: also in the middle of a batch, or in a hole that the cleaner has left."""
    log = reopen(folder)
    log.append(batch(5))
    log.truncate_to(COUNT + 3)
    assert log.log_end_offset == COUNT + 3
    assert log.read(COUNT) == b""
    assert log.append(batch()) == COUNT + 3
    assert base_offset(log.read(COUNT)) == COUNT + 3
