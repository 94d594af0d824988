"""A segment's files that cannot be renamed to .deleted: the log goes offline, as a directory does in Kafka, because the next start
finds the segment again. A folder in the way of the new name stands in for the failing disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_cy.storage.cleaner import clean
from kafka_cy.storage.log import PartitionLog, StorageFailure
from tests.storage.abandoned import abandon
from tests.storage.batches import base_offset, batch, marker, split
from tests.storage.test_cleaner import CONFIG as COMPACTED
from tests.storage.test_cleaner import contents, keyed

CONFIG = {"segment.bytes": 1000, "index.interval.bytes": 1}


def name(offset: int, suffix: str) -> str:
    return f"{offset:020d}{suffix}"


def numbers(log: PartitionLog) -> list[int]:
    found, offset = [], log.log_start_offset
    while data := log.read(offset):
        found += [base_offset(one) for one in split(data)]
        offset = found[-1] + 1
    return found


def make(folder: Path, config: dict[str, int] = CONFIG) -> PartitionLog:
    log = PartitionLog(str(folder), config, clean=True)
    for _ in range(22):
        log.append(batch(1, size=200))
    log.flush()
    return log


def bases(log: PartitionLog) -> list[int]:
    return [base for base, _ in log.segments()]


def refuses_appends(log: PartitionLog) -> bool:
    with pytest.raises(StorageFailure, match="offline"):
        log.append(batch())
    return log.offline


@pytest.mark.parametrize("suffix", [".log", ".index", ".timeindex"])
@pytest.mark.parametrize(("offset", "blocked"), [(0, 0), (0, 1), (7, 3), (7, -2)])
def test_a_cut_that_cannot_rename_a_segment(tmp_path: Path, suffix: str, offset: int, blocked: int) -> None:
    log = make(tmp_path)
    blocking = tmp_path / name(bases(log)[blocked], f"{suffix}.deleted")
    blocking.mkdir()
    with pytest.raises(StorageFailure, match="Is a directory"):
        log.truncate_to(offset)
    assert refuses_appends(log)
    abandon(log)
    blocking.rmdir()
    again = PartitionLog(str(tmp_path), CONFIG, recovery_point=0)
    assert numbers(again) == list(range(again.log_end_offset))
    again.truncate_to(offset)
    assert numbers(again) == list(range(offset))


def test_retention_that_cannot_rename_a_segment(tmp_path: Path) -> None:
    config = {**CONFIG, "retention.bytes": 2000}
    log = make(tmp_path, config)
    kept = bases(log)[1]
    (tmp_path / name(kept, ".log.deleted")).mkdir()
    with pytest.raises(StorageFailure, match="Is a directory"):
        log.delete_old_segments(high_watermark=22)
    assert refuses_appends(log)
    abandon(log)
    again = PartitionLog(str(tmp_path), config, recovery_point=0)
    assert numbers(again) == list(range(kept, 22))


def test_a_cleaner_that_cannot_rename_a_segment(tmp_path: Path) -> None:
    """The first original is gone, the second one is there. The next start puts the cleaned segment in the place of both."""
    log = PartitionLog(str(tmp_path), COMPACTED, clean=True)
    for i in range(6):
        log.append(keyed(("k", f"{i}"), (f"once{i}", "y")))
        log.roll()
    expected = {key: value for _, key, value in contents(log)}
    (tmp_path / name(bases(log)[1], ".log.deleted")).mkdir()
    with pytest.raises(StorageFailure, match="I/O error"):
        clean(log)
    assert refuses_appends(log)
    abandon(log)
    again = PartitionLog(str(tmp_path), COMPACTED, recovery_point=0)
    assert {key: value for _, key, value in contents(again)} == expected
    assert len({key for _, key, _ in contents(again)}) == len(contents(again)) == 7


def test_a_recovery_that_cannot_rename_a_segment(tmp_path: Path) -> None:
    """The segment after a torn one would be there again at the next start, with offsets that were given to others meanwhile: the
    log does not start."""
    log = make(tmp_path)
    torn, last = bases(log)[1], bases(log)[-1]
    abandon(log)
    path = tmp_path / name(torn, ".log")
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / name(last, ".log.deleted")).mkdir()
    with pytest.raises(StorageFailure, match="Is a directory"):
        PartitionLog(str(tmp_path), CONFIG, recovery_point=0)


def test_a_segment_that_stays_keeps_its_aborted_transactions(tmp_path: Path) -> None:
    log = PartitionLog(str(tmp_path), CONFIG, clean=True)
    log.append(batch(1, attributes=0x10, producer_id=7, producer_epoch=0, base_sequence=0), origin="client")
    log.append(marker(7, 0, commit=False), origin="coordinator")
    log.roll()
    log.append(batch())
    log.flush()
    before = log.aborted_transactions(0, 3)
    assert before
    (tmp_path / name(0, ".log.deleted")).mkdir()
    with pytest.raises(StorageFailure, match="Is a directory"):
        log.truncate_fully(500)
    abandon(log)
    again = PartitionLog(str(tmp_path), CONFIG, recovery_point=2)
    assert again.aborted_transactions(0, 3) == before


def test_a_transaction_index_without_its_segment_is_removed(tmp_path: Path) -> None:
    """A crash came after the .log had its new name."""
    log = make(tmp_path)
    log.close()
    orphan = tmp_path / name(22, ".txnindex")
    orphan.write_bytes(bytes(34))
    again = PartitionLog(str(tmp_path), CONFIG, clean=True)
    assert not orphan.exists()
    assert again.aborted_transactions(0, 22) == []


def test_a_file_that_is_in_the_way_of_a_new_segment_is_emptied(tmp_path: Path) -> None:
    log = PartitionLog(str(tmp_path), CONFIG, clean=True)
    for _ in range(3):
        log.append(batch())
    first = (tmp_path / name(0, ".log")).read_bytes()
    (tmp_path / name(3, ".log")).write_bytes(first * 2)
    log.roll()
    assert log.append(batch()) == 3
    abandon(log)
    again = PartitionLog(str(tmp_path), CONFIG, recovery_point=0)
    assert numbers(again) == [0, 1, 2, 3]
