"""The target of a move fails right at the end of the move: whichever directory the next start finds, no record is lost."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from kafka_cy.storage import checkpoints, log_loader, log_moves
from kafka_cy.storage.log import PartitionLog, StorageFailure
from kafka_cy.storage.log_manager import LogManager
from kafka_cy.storage.partition_folders import MOVED_FROM
from tests.storage.batches import batch
from tests.storage.copies import copy_unless_renamed
from tests.storage.moves import wait_for_moves
from tests.storage.test_moves import CONFIG, KNOWN, TOPIC_ID
from tests.waiting import wait_until

KEY = ("t", 0)
KEPT = "the target of a move between log directories failed at its end: the source is kept for the next start"


class Disks:
    """A broker on d1 and d2. t-0 lies in d1 and has ten records, of which three are deleted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.d1, self.d2 = (str(folder / name) for name in ("d1", "d2"))
        self.warnings: list[tuple[str, dict[str, object]]] = []
        for path in (self.d1, self.d2):
            Path(path).mkdir()
        self.logs = self.started()
        partition = self.logs.create(*KEY, TOPIC_ID, log_dir=self.d1)
        partition.append(batch(10))
        partition.delete_records(3)

    def started(self) -> LogManager:
        def warn(text: str, **details: object) -> None:
            self.warnings.append((text, details))

        self.logs = LogManager([self.d1, self.d2], 1, "cluster", CONFIG, warn=warn)
        self.logs.start(KNOWN)
        return self.logs

    def is_told(self, text: str) -> bool:
        return any(text == each for each, _ in self.warnings)

    def take_away(self, path: str) -> None:
        Path(path).rename(f"{path}-away")
        Path(path).write_text("not a directory")

    def bring_back(self, path: str) -> None:
        Path(path).unlink()
        Path(f"{path}-away").rename(path)

    def records(self) -> tuple[str, int, int]:
        """The log directory, and the first and the next offset."""
        partition = self.logs.partitions[KEY]
        return self.logs._hosted.dir_of[KEY], partition.log_start_offset, partition.log_end_offset


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    return Disks(tmp_path)


def before(monkeypatch: pytest.MonkeyPatch, step: str, act: Callable[[], None]) -> None:
    """Do this in the thread of the move, before a method of LogMoves."""
    original = getattr(log_moves.LogMoves, step)

    def acting(*arguments: Any) -> Any:
        act()
        return original(*arguments)

    monkeypatch.setattr(log_moves.LogMoves, step, acting)


def moved_to_a_failing_dir(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> int:
    """d2 fails right after the swap. Returns how many records were acknowledged meanwhile."""
    acknowledged = []

    def append() -> None:
        try:
            acknowledged.append(disks.logs.partitions[KEY].append(batch()))
        except StorageFailure as error:
            assert "not the leader" in str(error)
        disks.logs._hosted.take_offline(disks.d2, "another log of it failed")

    before(monkeypatch, "_retire_source", append)
    disks.logs.move(*KEY, disks.d2)
    wait_until(lambda: disks.logs.offline_dirs == {disks.d2}, "the target directory is offline")
    wait_for_moves(disks.logs)
    disks.logs.shutdown()
    monkeypatch.undo()
    return len(acknowledged)


def test_a_start_without_the_target(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    acknowledged = moved_to_a_failing_dir(disks, monkeypatch)
    disks.take_away(disks.d2)
    disks.started()
    assert disks.records() == (disks.d1, 3, 10 + acknowledged)
    disks.logs.partitions[KEY].append(batch())
    disks.logs.shutdown()
    disks.bring_back(disks.d2)
    disks.started()
    assert disks.records() == (disks.d1, 3, 11)
    assert disks.is_told("a move between log directories was cut off: its copy is stray and was renamed")
    disks.logs.shutdown()


def test_a_start_with_the_target(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    acknowledged = moved_to_a_failing_dir(disks, monkeypatch)
    disks.started()
    assert disks.records() == (disks.d2, 3, 10 + acknowledged)
    wait_until(lambda: not list(disks.folder.glob("d1/t-0*")), "removal of the source")
    disks.logs.shutdown()


def test_the_operator_hears_of_it(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    moved_to_a_failing_dir(disks, monkeypatch)
    told = [details for text, details in disks.warnings if text == KEPT]
    assert told == [{"topic": "t", "partition": 0, "source": f"{disks.d1}/t-0", "copy": f"{disks.d2}/t-0"}]


def test_a_source_that_is_kept_is_closed(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shutdown marks its directory as clean: the next start does not look at what may not be on disk."""
    disks.logs.partitions[KEY].append(batch(producer_id=7, producer_epoch=0, base_sequence=0))
    moved_to_a_failing_dir(disks, monkeypatch)
    assert checkpoints.read_offsets(f"{disks.d1}/{checkpoints.RECOVERY_POINTS}") == {KEY: 11}
    disks.take_away(disks.d2)
    disks.started()
    assert [each[0] for each in disks.logs.partitions[KEY].log.producers()] == [7]
    disks.logs.shutdown()


def test_a_target_that_fails_after_the_move(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records were acknowledged in the copy only: the source must not be served, but it is kept."""
    write = checkpoints.write_offsets

    def append_and_fail(path: str, offsets: dict[tuple[str, int], int]) -> None:
        if path.startswith(disks.d2) and not Path(f"{disks.d1}/t-0").exists():
            assert disks.logs.partitions[KEY].append(batch()) == 10
            raise OSError(5, "Input/output error")
        write(path, offsets)

    monkeypatch.setattr(checkpoints, "write_offsets", append_and_fail)
    disks.logs.move(*KEY, disks.d2)
    wait_for_moves(disks.logs)
    assert disks.logs.offline_dirs == {disks.d2}
    disks.logs.shutdown()
    monkeypatch.undo()
    assert len(list(disks.folder.glob("d1/t-0.*-delete"))) == 1
    disks.take_away(disks.d2)
    assert KEY not in disks.started().partitions
    disks.logs.shutdown()
    disks.bring_back(disks.d2)
    disks.started()
    assert disks.records() == (disks.d2, 3, 11)
    disks.logs.shutdown()


def test_appends_go_on_after_the_source_has_lost_its_name(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between the two renames, and then a start without the target, would lose what was acknowledged in between."""
    partition, folder_aside, refused = disks.logs.partitions[KEY], log_moves.folder_aside, []

    def append_before(path: str, topic: str, index: int, suffix: Literal["delete", "future"]) -> str:
        if suffix == "delete":
            assert Path(f"{disks.d1}/t-0").is_dir() and Path(f"{disks.d2}/t-0").is_dir()
            with pytest.raises(StorageFailure, match="not the leader"):
                partition.append(batch())
            refused.append(partition.log.directory)
        return folder_aside(path, topic, index, suffix)

    monkeypatch.setattr(log_moves, "folder_aside", append_before)
    disks.logs.move(*KEY, disks.d2)
    wait_for_moves(disks.logs)
    assert refused == [f"{disks.d2}/t-0"] and not Path(f"{disks.d1}/t-0").exists()
    assert partition.append(batch()) == 10
    disks.logs.shutdown()


class Crashes:
    """Before each sync and renaming of a move, a record is appended, and the directories are copied as kill -9 would leave them."""

    def __init__(self, disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
        self.disks = disks
        self.copies: list[tuple[Path, int]] = []  # with the next offset that is acknowledged
        self.end_offset = 10
        sync_directory, crashes = checkpoints.sync_directory, self

        class Renaming(PartitionLog):
            """Both logs of the move."""

            def rename(self, directory: str) -> None:
                """See PartitionLog."""
                crashes.crash()
                super().rename(directory)

        def sync(directory: str) -> None:
            self.crash()
            sync_directory(directory)

        monkeypatch.setattr(checkpoints, "sync_directory", sync)
        for module in (log_loader, log_moves):
            monkeypatch.setattr(module, "PartitionLog", Renaming)

    def crash(self) -> None:
        if self.disks.logs._upkeep.moves._running is None:
            return
        with contextlib.suppress(StorageFailure):
            self.end_offset = self.disks.logs.partitions[KEY].append(batch()) + 1
        copy = self.disks.folder / f"crash{len(self.copies)}"
        for name in ("d1", "d2"):
            shutil.copytree(self.disks.folder / name, copy / name, copy_function=copy_unless_renamed)
        for moved_from in copy.rglob(MOVED_FROM):
            moved_from.write_text(moved_from.read_text().replace(str(self.disks.folder), str(copy)))
        self.copies.append((copy, self.end_offset))


@pytest.mark.parametrize("missing", ["", "d1", "d2"])
def test_a_crash_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Whichever directory is missing afterwards, the partition has every acknowledged record or is offline."""
    with monkeypatch.context() as patch:
        disks = Disks(tmp_path)
        disks.logs.shutdown()
        crashes = Crashes(disks, patch)
        disks.started()
        disks.logs.move(*KEY, disks.d2)
        wait_for_moves(disks.logs)
        assert disks.logs.partitions[KEY].log.directory == f"{disks.d2}/t-0"
        disks.logs.shutdown()
    served = 0
    for folder, end_offset in crashes.copies:
        if missing:
            (folder / missing).rename(folder / "away")
            (folder / missing).write_text("not a directory")
        logs = LogManager([str(folder / "d1"), str(folder / "d2")], 1, "cluster", CONFIG, warn=lambda text, **_: None)
        logs.start(KNOWN)
        partition = logs.partitions.get(KEY)
        if partition is not None:
            served += 1
            assert (partition.log_start_offset, partition.log_end_offset) == (3, end_offset), folder
        logs.shutdown()
    assert crashes.end_offset > 10 and 0 < served <= len(crashes.copies)
    assert missing or served == len(crashes.copies)
