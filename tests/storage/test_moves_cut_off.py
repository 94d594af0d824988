"""A move was cut off, one of the two directories was missing for a while, and a new leader had the log of the other one cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_cy.storage.log import PartitionLog
from kafka_cy.storage.log_dir import write_topic_id
from kafka_cy.storage.log_manager import LogManager
from kafka_cy.storage.partition_folders import MOVED_FROM
from tests.storage.batches import batch
from tests.storage.test_moves import CONFIG, TOPIC_ID, gone, opened

KEY = ("t", 0)
COPY_IS_STRAY = "a move between log directories was cut off: its copy is stray and was renamed"
SOURCE_IS_STRAY = "a move between log directories was cut off: its source is stray and was renamed"


class CutOff:
    """Source and copy have 100 records of epoch 5 and the partition's name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        opened(folder).shutdown()
        self.source, self.copy = folder / "d1/t-0", folder / "d2/t-0"
        for path in (self.source, self.copy):
            path.mkdir()
            write_topic_id(str(path), TOPIC_ID)
            self.append(path, 100, 5)
        (self.copy / MOVED_FROM).write_text(str(self.source))
        self.warnings: list[str] = []

    def append(self, path: Path, records: int, epoch: int, *, cut_to: int | None = None) -> None:
        """As a broker to which the other directory is missing."""
        log = PartitionLog(str(path), CONFIG, clean=True)
        if cut_to is not None:
            log.truncate_to(cut_to)
        for _ in range(records):
            log.append(batch(), leader_epoch=epoch)
        log.close()

    def started(self) -> LogManager:
        return opened(self.folder, self.warnings, leads=False)

    def strays(self, name: str) -> list[Path]:
        return list((self.folder / name).glob("t-0.*-stray"))


@pytest.fixture
def cut_off(tmp_path: Path) -> CutOff:
    return CutOff(tmp_path)


def ends_of(path: Path) -> tuple[int, int]:
    """Its last epoch and its end."""
    log = PartitionLog(str(path), CONFIG, clean=True)
    found = log.latest_epoch, log.log_end_offset
    log.close()
    return found


def test_the_source_was_cut_and_has_later_records(cut_off: CutOff) -> None:
    """It is the shorter one. Its records were acknowledged."""
    cut_off.append(cut_off.source, 20, 6, cut_to=70)
    logs = cut_off.started()
    log = logs.partitions[KEY].log
    assert (log.directory, log.latest_epoch, log.log_end_offset) == (str(cut_off.source), 6, 90)
    logs.shutdown()
    (stray,) = cut_off.strays("d2")
    assert COPY_IS_STRAY in cut_off.warnings and ends_of(stray) == (5, 100)


def test_the_copy_was_cut_and_has_later_records(cut_off: CutOff) -> None:
    """It is the shorter one. The source has records that it has not, so the source is not removed."""
    cut_off.append(cut_off.copy, 20, 6, cut_to=70)
    logs = cut_off.started()
    log = logs.partitions[KEY].log
    assert (log.directory, log.latest_epoch, log.log_end_offset) == (str(cut_off.copy), 6, 90)
    logs.shutdown()
    (stray,) = cut_off.strays("d1")
    assert SOURCE_IS_STRAY in cut_off.warnings and ends_of(stray) == (5, 100)


def test_the_copy_was_cut_and_has_grown_beyond_the_source(cut_off: CutOff) -> None:
    cut_off.append(cut_off.copy, 50, 6, cut_to=70)
    logs = cut_off.started()
    log = logs.partitions[KEY].log
    assert (log.directory, log.latest_epoch, log.log_end_offset) == (str(cut_off.copy), 6, 120)
    logs.shutdown()
    (stray,) = cut_off.strays("d1")
    assert ends_of(stray) == (5, 100)


def test_the_offsets_of_a_source_are_not_taken_for_a_copy_that_was_cut_below_them(cut_off: CutOff) -> None:
    """Records had been deleted from the source up to 95; the copy begins anew below that."""
    (cut_off.folder / "d1/log-start-offset-checkpoint").write_text("0\n1\nt 0 95\n")
    cut_off.append(cut_off.copy, 20, 6, cut_to=70)
    logs = cut_off.started()
    assert (logs.partitions[KEY].log_start_offset, logs.partitions[KEY].log_end_offset) == (0, 90)
    logs.shutdown()


def test_the_copy_has_all_records_of_the_source_and_later_ones(cut_off: CutOff) -> None:
    """The source is removed."""
    cut_off.append(cut_off.copy, 5, 6)
    logs = cut_off.started()
    log = logs.partitions[KEY].log
    assert (log.directory, log.latest_epoch, log.log_end_offset) == (str(cut_off.copy), 6, 105)
    gone(cut_off.source)
    logs.shutdown()
    assert not cut_off.strays("d1") and not cut_off.strays("d2")


def test_an_empty_source_tells_nothing_of_a_copy_that_was_cut(cut_off: CutOff) -> None:
    """All records had been deleted; the copy was cut below that and has other records there."""
    (cut_off.folder / "d1/log-start-offset-checkpoint").write_text("0\n1\nt 0 100\n")
    cut_off.append(cut_off.copy, 60, 6, cut_to=70)
    logs = cut_off.started()
    assert (logs.partitions[KEY].log_start_offset, logs.partitions[KEY].log_end_offset) == (0, 130)
    logs.shutdown()
    assert SOURCE_IS_STRAY in cut_off.warnings
