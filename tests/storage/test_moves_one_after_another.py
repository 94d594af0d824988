"""A partition is moved on while the source of its first move is out of reach, and still has the partition's name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kafka_cy.storage import log_manager, log_moves
from kafka_cy.storage.log import PartitionLog, StorageFailure
from kafka_cy.storage.log_dir import LogDirError
from kafka_cy.storage.log_manager import LogManager
from kafka_cy.storage.partition_folders import MOVED_FROM
from tests.storage.batches import batch
from tests.storage.copies import copy_unless_renamed
from tests.storage.moves import wait_for_moves
from tests.storage.test_moves import CONFIG, KNOWN, TOPIC_ID
from tests.storage.test_moves_to_failing_dirs import before
from tests.waiting import wait_until

KEY = ("t", 0)


def started(folder: Path) -> LogManager:
    paths = [folder / name for name in ("d1", "d2", "d3")]
    for path in paths:
        if not path.exists():
            path.mkdir()
    logs = LogManager([str(path) for path in paths], 1, "cluster", CONFIG, warn=lambda text, **_: None)
    logs.start(KNOWN)
    return logs


class Unremovable(PartitionLog):
    """In d1, it keeps the partition's name."""

    def rename(self, directory: str) -> None:
        """See PartitionLog."""
        if "/d1/" in directory:
            raise StorageFailure(f"rename to {directory}", 12, 5)
        super().rename(directory)


def moved_to(logs: LogManager, path: Path) -> None:
    logs.move(*KEY, str(path))
    wait_for_moves(logs)
    wait_until(lambda: logs.partitions[KEY].log.directory == f"{path}/t-0", "the move")
    logs.partitions[KEY].append(batch())


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogManager:
    """With t-0 in d2; d1 is offline and has its folder, with ten of eleven records."""
    monkeypatch.setattr(log_manager, "PartitionLog", Unremovable)
    monkeypatch.setattr(log_moves, "PartitionLog", Unremovable)
    logs = started(tmp_path)
    logs.create(*KEY, TOPIC_ID, log_dir=str(tmp_path / "d1")).append(batch(10))
    moved_to(logs, tmp_path / "d2")
    assert logs.offline_dirs == {str(tmp_path / "d1")} and (tmp_path / "d1/t-0").is_dir()
    return logs


def is_served(folder: Path, name: str, end_offset: int) -> None:
    """All directories work again."""
    logs = started(folder)
    log = logs.partitions[KEY].log
    assert (log.directory, log.log_end_offset) == (f"{folder}/{name}/t-0", end_offset)
    wait_until(lambda: len(list(folder.glob("d?/t-0*"))) == 1, "removal of the others")
    logs.shutdown()


def test_a_partition_is_moved_on(tmp_path: Path, logs: LogManager) -> None:
    moved_to(logs, tmp_path / "d3")
    logs.shutdown()
    is_served(tmp_path, "d3", 12)


def test_a_partition_is_moved_on_after_a_start(tmp_path: Path, logs: LogManager) -> None:
    """The disk is missing for two starts."""
    logs.shutdown()
    (tmp_path / "d1").rename(tmp_path / "away")
    (tmp_path / "d1").write_text("not a directory")
    logs = started(tmp_path)
    moved_to(logs, tmp_path / "d3")
    logs.shutdown()
    logs = started(tmp_path)
    moved_to(logs, tmp_path / "d2")
    logs.shutdown()
    (tmp_path / "d1").unlink()
    (tmp_path / "away").rename(tmp_path / "d1")
    is_served(tmp_path, "d2", 13)


def crash(folder: Path) -> Callable[[], None]:
    """Copy the directories as kill -9 would leave them."""

    def copy() -> None:
        for name in ("d1", "d2", "d3"):
            shutil.copytree(folder / name, folder / "crash" / name, copy_function=copy_unless_renamed)
        for moved_from in (folder / "crash").rglob(MOVED_FROM):
            moved_from.write_text(moved_from.read_text().replace(str(folder), f"{folder}/crash"))

    return copy


@pytest.fixture
def crashed(tmp_path: Path, logs: LogManager, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A crash came between the two renames of the second move: all three directories have a folder with the name."""
    before(monkeypatch, "_retire_source", crash(tmp_path))
    moved_to(logs, tmp_path / "d3")
    logs.shutdown()
    assert len(list((tmp_path / "crash").glob("d?/t-0"))) == 3
    return tmp_path / "crash"


@pytest.mark.parametrize("missing", ["", "d2"])
def test_a_crash_in_the_second_move(crashed: Path, missing: str) -> None:
    if missing:
        shutil.rmtree(crashed / missing)
    is_served(crashed, "d3", 11)


def test_a_folder_that_no_move_has_left_refuses_the_start(crashed: Path) -> None:
    """Nothing is removed then, also of the other two."""
    (crashed / "d3/t-0" / MOVED_FROM).unlink()
    with pytest.raises(LogDirError, match="t-0 is in two log directories"):
        started(crashed)
    assert len(list(crashed.glob("d?/t-0"))) == 3


def test_nothing_is_remembered_of_a_directory_that_works(tmp_path: Path) -> None:
    logs = started(tmp_path)
    logs.create(*KEY, TOPIC_ID, log_dir=str(tmp_path / "d1")).append(batch(10))
    for name in ("d2", "d3", "d1"):
        moved_to(logs, tmp_path / name)
        assert not list(tmp_path.glob(f"d?/t-0/{MOVED_FROM}"))
    logs.shutdown()
