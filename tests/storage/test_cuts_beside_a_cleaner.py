"""A cut of a log while a cleaner works on it, and while files of removed segments wait for their removal."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_cy.storage.cleaner import clean
from kafka_cy.storage.log import PartitionLog, StorageFailure
from tests.storage.abandoned import abandon
from tests.storage.failing_disk import run_with_failing_disk
from tests.storage.test_cleaner import CONFIG, contents, keyed


def make(folder: Path) -> PartitionLog:
    log = PartitionLog(str(folder), CONFIG, clean=True)
    for i in range(6):
        log.append(keyed(("k", f"{i}"), (f"once{i}", "y")))
        log.roll()
    for i in range(3):
        log.append(keyed(("tail", f"{i}")))
    return log


def test_a_cut_leaves_the_files_of_others(tmp_path: Path) -> None:
    log = make(tmp_path)
    names = [f"{0:020d}{suffix}" for suffix in (".log.cleaned", ".index.swap", ".log.deleted", ".snapshot.tmp")]
    for each in names:
        (tmp_path / each).touch()
    log.truncate_to(13)
    assert [each for each in names if not (tmp_path / each).exists()] == []


@pytest.mark.parametrize("offset", [13, 6])
def test_a_cut_stops_a_round(tmp_path: Path, offset: int) -> None:
    """The cleaner is in the fsync of the new segment while the log is cut, in the active segment or in a closed one."""
    code = f"""
from kafka_cy.storage.cleaner import clean
from tests.storage.test_cleaner import CONFIG, contents, keyed
from tests.storage.test_cuts_beside_a_cleaner import Path, make
log = make(Path(folder))
log.flush()
disk.hang("fdatasync")
outcomes = []
def work():
    try:
        clean(log)
        outcomes.append("cleaned")
    except StorageFailure as failure:
        outcomes.append(failure.code)
cleaner = threading.Thread(target=work)
cleaner.start()
disk.wait_until_hanging("fdatasync")
before = log.truncations
cutter = threading.Thread(target=lambda: log.truncate_to({offset}))
cutter.start()
while log.truncations == before:
    time.sleep(0.001)
disk.heal()
cleaner.join()
cutter.join()
print(outcomes[0], log.offline, log.log_end_offset, sum(".cleaned" in each or ".swap" in each for each in os.listdir(folder)))
expected = contents(log)
print(len(expected))
log.close()
again = PartitionLog(folder, CONFIG, clean=True)
print(contents(again) == expected)
"""
    assert run_with_failing_disk(tmp_path, code) == ["12", "False", str(offset), "0", str(offset), "True"]


def test_a_swap_that_cannot_begin_leaves_no_index(tmp_path: Path) -> None:
    log = make(tmp_path)
    expected = contents(log)
    blocking = tmp_path / f"{0:020d}.log.swap"
    blocking.mkdir()
    with pytest.raises(StorageFailure, match="I/O error"):
        clean(log)
    blocking.rmdir()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith((".swap", ".cleaned"))] == []
    assert not log.offline
    assert contents(log) == expected
    clean(log)
    assert len(contents(log)) < len(expected)


def test_a_swap_that_cannot_begin_and_stays_takes_the_log_offline(tmp_path: Path) -> None:
    """The .log.cleaned tells the next start that the index is not that of the segment."""
    log = make(tmp_path)
    expected = contents(log)
    blocking = tmp_path / f"{0:020d}.index.swap"
    blocking.mkdir()
    with pytest.raises(StorageFailure, match="I/O error"):
        clean(log)
    assert log.offline
    assert (tmp_path / f"{0:020d}.log.cleaned").exists()
    abandon(log)
    blocking.rmdir()
    blocking.write_bytes(bytes(8))
    again = PartitionLog(str(tmp_path), CONFIG, recovery_point=log.log_end_offset)
    assert contents(again) == expected
    assert not blocking.exists()


def test_an_index_of_a_swap_that_cannot_begin_does_not_come_back(tmp_path: Path) -> None:
    """Its removal is on disk before the .log.cleaned goes, which tells a start that it counts for nothing."""
    code = """
from kafka_cy.storage.cleaner import clean
from tests.storage.test_cleaner import CONFIG, keyed
log = PartitionLog(folder, CONFIG, clean=True)
for i in range(6):
    log.append(keyed(("k", f"{i}"), (f"once{i}", "y")))
    log.roll()
log.flush()
os.mkdir(f"{folder}/{0:020d}.log.swap")
disk.fail("fsync", 5, 2)      # after those of the two indexes
try:
    clean(log)
except StorageFailure:
    print(log.offline, os.path.exists(f"{folder}/{0:020d}.log.cleaned"))
"""
    assert run_with_failing_disk(tmp_path, code) == ["True", "True"]


def test_a_swap_that_a_start_cannot_finish(tmp_path: Path) -> None:
    make(tmp_path).close()
    (tmp_path / f"{3:020d}.timeindex").mkdir()
    (tmp_path / f"{3:020d}.timeindex.swap").touch()
    with pytest.raises(StorageFailure, match="Is a directory"):
        PartitionLog(str(tmp_path), CONFIG, clean=True)


def test_a_log_that_begins_anew_is_durable_at_once(tmp_path: Path) -> None:
    """Its recovery point is where it begins. Of segments that a power cut brings back, a start would check the last one only."""
    code = """
log = PartitionLog(folder, clean=True)
for _ in range(3):
    log.append(batch())
log.flush()
disk.fail("fsync", 5)
try:
    log.truncate_fully(9)
    print("done")
except StorageFailure as failure:
    print(failure.error_number, log.offline)
"""
    assert run_with_failing_disk(tmp_path, code) == ["5", "True"]


@pytest.mark.parametrize(("flushed_first", "outcome"), [(True, "flushed"), (False, "5")])
def test_the_names_of_a_cut_are_durable(tmp_path: Path, flushed_first: bool, outcome: str) -> None:
    """A segment whose new name is lost in a power cut would follow what was appended after the cut."""
    code = f"""
log = PartitionLog(folder, {{"segment.bytes": 1000}}, clean=True)
for _ in range(22):
    log.append(batch(1, size=200))
log.flush()
if {flushed_first}:
    log.truncate_to(7)
    log.flush()
disk.fail("fsync", 5)
try:
    if not {flushed_first}:
        log.truncate_to(7)
    log.append(batch(1, size=200))
    log.flush()
    print("flushed")
except StorageFailure as failure:
    print(failure.error_number)
"""
    assert run_with_failing_disk(tmp_path, code) == [outcome]
