"""Moves between log directories that are interrupted, fail or meet a shutdown: no record is lost, whichever folder remains."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.storage import log_copy, log_moves
from kafka_cy.storage.log import PartitionLog, StorageFailure
from kafka_cy.storage.log_dir import LogDirError, remove_tree
from kafka_cy.storage.log_manager import LogManager
from kafka_cy.storage.log_upkeep import LogUpkeep
from kafka_cy.storage.partition_folders import MOVED_FROM, parse_name
from tests.storage.batches import batch
from tests.storage.copies import copy_unless_renamed
from tests.storage.moves import wait_for_moves
from tests.waiting import wait_until

TOPIC_ID = bytes(range(16))
KNOWN = {"t": (TOPIC_ID, 1)}
CONFIG = {"retention.ms": -1, "file.delete.delay.ms": 0}


def opened(folder: Path, lines: list[str] | None = None, **more: Any) -> LogManager:
    def warn(text: str, **details: object) -> None:
        if lines is not None:
            lines.append(text)

    for name in ("d1", "d2"):
        if not (folder / name).exists():
            (folder / name).mkdir()
    logs = LogManager([str(folder / "d1"), str(folder / "d2")], 1, "cluster", CONFIG, warn=warn, **more)
    logs.start(KNOWN)
    return logs


def written(folder: Path, records: int = 10) -> LogManager:
    """t-0 in d1."""
    logs = opened(folder)
    logs.create("t", 0, TOPIC_ID, log_dir=str(folder / "d1"))
    for _ in range(records):
        logs.partitions["t", 0].append(batch())
    return logs


def aside(folder: Path, suffix: str) -> Path:
    return folder.rename(folder.with_name(f"{folder.name}.{uuid.uuid4().hex}-{suffix}"))


def gone(path: Path) -> None:
    wait_until(lambda: not path.exists(), f"removal of {path}")


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("t-0", ("t", 0, "")), ("a-b-12", ("a-b", 12, "")), ("t-2147483647", ("t", 2147483647, "")), ("t-2147483648", None),
        ("t-007", None), ("t-", None), ("-0", None), ("t", None), ("t-٣", None), ("t--1", ("t-", 1, "")), ("t-20261128x", None),
        (f"t-0.{'0a' * 16}-delete", ("t", 0, "delete")), (f"t-0.{'0a' * 16}-future", ("t", 0, "future")),
        (f"t.u-0.{'0a' * 16}-stray", ("t.u", 0, "stray")), (f"t-0.{'0A' * 16}-delete", None), ("t-0.0a-delete", None),
        ("to-delete", None), ("my-future", None), (f"t.{'0a' * 16}-delete", None), (f"t-0.{'0a' * 16}-other", None),
    ],
)  # fmt: skip
def test_names(name: str, parsed: tuple[str, int, str] | None) -> None:
    assert parse_name(name) == parsed


def test_only_a_delete_and_a_future_folder_are_left(tmp_path: Path) -> None:
    """The state after a crash of an earlier version, which renamed the source first."""
    written(tmp_path).shutdown()
    copy = aside(Path(shutil.copytree(tmp_path / "d1/t-0", tmp_path / "d2/t-0")), "future")
    source = aside(tmp_path / "d1/t-0", "delete")
    lines: list[str] = []
    logs = opened(tmp_path, lines)
    assert logs.partitions["t", 0].log_end_offset == 10 and (tmp_path / "d1/t-0").is_dir() and not source.exists()
    gone(copy)
    assert any("an interrupted move between log directories" in line for line in lines)
    logs.shutdown()


@pytest.mark.parametrize("suffix", ["delete", "future"])
def test_one_such_folder_is_all_that_is_left(tmp_path: Path, suffix: str) -> None:
    written(tmp_path).shutdown()
    aside(tmp_path / "d1/t-0", suffix)
    logs = opened(tmp_path)
    assert logs.partitions["t", 0].log_end_offset == 10
    logs.shutdown()


def test_two_such_folders_are_left(tmp_path: Path) -> None:
    written(tmp_path).shutdown()
    aside(Path(shutil.copytree(tmp_path / "d1/t-0", tmp_path / "d2/t-0")), "delete")
    aside(tmp_path / "d1/t-0", "delete")
    with pytest.raises(LogDirError, match="t-0 has no folder, but"):
        opened(tmp_path)


@pytest.mark.parametrize("suffix", ["delete", "future"])
def test_leftovers_go_when_the_partition_lies_elsewhere(tmp_path: Path, suffix: str) -> None:
    written(tmp_path).shutdown()
    left = aside(Path(shutil.copytree(tmp_path / "d1/t-0", tmp_path / "d2/t-0")), suffix)
    logs = opened(tmp_path)
    gone(left)
    assert logs.partitions["t", 0].log_end_offset == 10 and (tmp_path / "d1/t-0").is_dir()
    logs.shutdown()


def test_leftovers_stay_while_a_directory_cannot_be_read(tmp_path: Path) -> None:
    written(tmp_path).shutdown()
    left = aside(Path(shutil.copytree(tmp_path / "d1/t-0", tmp_path / "d2/t-0")), "delete")
    (tmp_path / "d1").rename(tmp_path / "away")
    (tmp_path / "d1").write_text("")
    lines: list[str] = []
    logs = opened(tmp_path, lines)
    assert not logs.partitions and any("kept" in line for line in lines)
    logs.shutdown()
    assert left.is_dir()


@pytest.mark.parametrize("records_after", [0, 3])
def test_two_folders_with_the_name(tmp_path: Path, records_after: int) -> None:
    """A crash after the first rename; and a source that was used again because the other disk was missing."""
    logs = written(tmp_path)
    logs.shutdown()
    copy = Path(shutil.copytree(tmp_path / "d1/t-0", tmp_path / "d2/t-0"))
    (copy / MOVED_FROM).write_text(f"{tmp_path}/d1/t-0")
    if records_after:
        log = PartitionLog(str(tmp_path / "d1/t-0"), CONFIG, clean=True)
        for _ in range(records_after):
            log.append(batch())
        log.close()
    logs = opened(tmp_path)
    partition = logs.partitions["t", 0]
    assert partition.log_end_offset == 10 + records_after
    if records_after:
        assert partition.log.directory == f"{tmp_path}/d1/t-0" and len(list(tmp_path.glob("d2/*-stray"))) == 1
    else:
        assert partition.log.directory == f"{tmp_path}/d2/t-0"
        wait_until(lambda: not list(tmp_path.glob("d1/t-0*")), "removal of the source")
    logs.shutdown()


def test_two_folders_that_no_move_has_left_refuse_the_start(tmp_path: Path) -> None:
    written(tmp_path).shutdown()
    shutil.copytree(tmp_path / "d1/t-0", tmp_path / "d2/t-0")
    with pytest.raises(LogDirError, match="t-0 is in two log directories"):
        opened(tmp_path)
    assert len(list(tmp_path.glob("d?/t-0"))) == 2


def test_a_shutdown_in_the_middle_of_a_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is incomplete, so it does not replace the log."""
    import kafka_cy.storage.log_copy as log_copy

    logs = written(tmp_path)
    copying = []

    def copy_nothing(source: PartitionLog, target: PartitionLog, stopping: Any, copied: Any = None) -> None:
        copying.append(target)
        wait_until(stopping, "the shutdown")

    monkeypatch.setattr(log_copy, "copy_log", copy_nothing)
    logs.move("t", 0, str(tmp_path / "d2"))
    wait_until(lambda: copying, "the move")
    logs.shutdown()
    assert not list(tmp_path.glob("d2/t-0*"))
    logs = opened(tmp_path)
    assert logs.partitions["t", 0].log_end_offset == 10
    logs.shutdown()


class UnableToRename(PartitionLog):
    """Renaming to the partition's name fails, or renaming away from it fails."""

    failing = ""

    def rename(self, directory: str) -> None:
        """See PartitionLog."""
        if directory.endswith(self.failing):
            raise StorageFailure(f"rename to {directory}", 12, 5)
        super().rename(directory)


@pytest.mark.parametrize("failing", ["t-0", "-delete"])
def test_a_rename_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """The partition is still served, from a folder with its name."""
    import kafka_cy.storage.log_manager as log_manager

    monkeypatch.setattr(UnableToRename, "failing", failing)
    monkeypatch.setattr(log_manager, "PartitionLog", UnableToRename)
    monkeypatch.setattr(log_moves, "PartitionLog", UnableToRename)
    lines: list[str] = []
    logs = opened(tmp_path, lines)
    partition = logs.create("t", 0, TOPIC_ID, log_dir=str(tmp_path / "d1"))
    for _ in range(10):
        partition.append(batch())
    logs.move("t", 0, str(tmp_path / "d2"))
    wait_until(lambda: any("a task of the log manager failed" in line for line in lines), "the failure")
    wait_until(lambda: partition.state == 0, "the partition serves")
    assert partition.append(batch()) == 10
    assert partition.log.directory == f"{tmp_path}/{'d1' if failing == 't-0' else 'd2'}/t-0"
    logs.shutdown()
    monkeypatch.undo()
    logs = opened(tmp_path)
    assert logs.partitions["t", 0].log_end_offset == 11
    logs.shutdown()


def test_a_move_is_begun_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A move may be requested repeatedly, and again after it is complete."""
    logs = written(tmp_path)
    moved: list[str] = []
    move = log_moves.LogMoves._move

    def counted(moves: Any, partition: Any, key: Any, path: str) -> None:
        moved.append(path)
        move(moves, partition, key, path)

    monkeypatch.setattr(log_moves.LogMoves, "_move", counted)
    with logs._hosted.mutex:
        for _ in range(3):
            logs.move("t", 0, str(tmp_path / "d2"))
    wait_for_moves(logs)
    assert (tmp_path / "d2/t-0").is_dir()
    logs.move("t", 0, str(tmp_path / "d2"))
    logs.shutdown()
    assert moved == [str(tmp_path / "d2")]


NEW_ID = b"new-new-new-new-"


def stopped_at(logs: LogManager, monkeypatch: pytest.MonkeyPatch, step: str) -> threading.Event:
    """Move t-0 to d2 up to the given method of LogMoves; return the event that lets the move continue."""
    reached, go_on = threading.Event(), threading.Event()
    original = getattr(log_moves.LogMoves, step)

    def stop(*arguments: Any) -> None:
        reached.set()
        go_on.wait(30)
        original(*arguments)

    monkeypatch.setattr(log_moves.LogMoves, step, stop)
    logs.move("t", 0, logs.log_dirs[1])
    assert reached.wait(30)
    return go_on


@pytest.mark.parametrize("created", ["before", "after"])
def test_a_topic_that_is_made_anew_at_the_end_of_a_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, created: str
) -> None:
    """The new topic is empty, and its folder stays."""
    logs = written(tmp_path)
    go_on = stopped_at(logs, monkeypatch, "_retire_source")
    logs.delete("t", 0)
    if created == "before":
        partition = logs.create("t", 0, NEW_ID, log_dir=str(tmp_path / "d1"))
    go_on.set()
    wait_until(lambda: not logs._upkeep.moves.copies and not list(tmp_path.glob("d?/*-delete")), "the end of the move")
    if created == "after":
        partition = logs.create("t", 0, NEW_ID, log_dir=str(tmp_path / "d1"))
    assert partition.log_end_offset == 0 and partition.append(batch()) == 0
    assert partition.log.directory == f"{tmp_path}/d1/t-0" and (tmp_path / "d1/t-0").is_dir()
    logs.shutdown()


def test_a_topic_that_is_made_anew_after_its_new_directory_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = written(tmp_path)
    go_on = stopped_at(logs, monkeypatch, "_retire_source")
    logs._hosted.take_offline(str(tmp_path / "d2"), "a failed disk")
    go_on.set()
    wait_until(lambda: not logs._upkeep.moves._waiting, "the move")
    logs.delete("t", 0)
    partition = logs.create("t", 0, NEW_ID)
    assert partition.log.directory == f"{tmp_path}/d1/t-0" and partition.log_end_offset == 0
    logs.shutdown()


def test_a_new_partition_does_not_take_over_a_folder(tmp_path: Path) -> None:
    lines: list[str] = []
    logs = opened(tmp_path, lines)
    logs.create("t", 0, TOPIC_ID, log_dir=str(tmp_path / "d1")).append(batch())
    shutil.copytree(tmp_path / "d1/t-0", tmp_path / "d2/t-0")
    logs.delete("t", 0)
    assert logs.create("t", 0, NEW_ID, log_dir=str(tmp_path / "d2")).log_end_offset == 0
    assert len(list(tmp_path.glob("d2/t-0.*-stray"))) == 1 and any("stray" in line for line in lines)
    logs.shutdown()


def test_a_deletion_that_cannot_rename_takes_the_directory_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kafka_cy.storage.log_manager as log_manager

    monkeypatch.setattr(UnableToRename, "failing", "-delete")
    monkeypatch.setattr(log_manager, "PartitionLog", UnableToRename)
    logs = written(tmp_path)
    with pytest.raises(StorageFailure):
        logs.delete("t", 0)
    assert logs.offline_dirs == {str(tmp_path / "d1")}
    assert logs.create("t", 0, NEW_ID).log.directory == f"{tmp_path}/d2/t-0"
    logs.shutdown()


@pytest.mark.parametrize("metadata", [None, ""])
@pytest.mark.parametrize("suffix", ["delete", "future"])
def test_the_only_folder_tells_no_topic_id(tmp_path: Path, suffix: str, metadata: str | None) -> None:
    """The folder may be a half-removed leftover or the only copy: it is kept, but not opened."""
    written(tmp_path).shutdown()
    left = aside(tmp_path / "d1/t-0", suffix)
    (left / "partition.metadata").unlink()
    if metadata is not None:
        (left / "partition.metadata").write_text(metadata)
    lines: list[str] = []
    logs = opened(tmp_path, lines)
    assert not logs.partitions and len(logs.strays) == 1 and any("no topic id" in line for line in lines)
    logs.shutdown()
    (stray,) = tmp_path.glob("d1/t-0.*-stray")
    assert any(path.suffix == ".log" and path.stat().st_size for path in stray.iterdir())


def test_a_setting_that_is_changed_during_a_move_is_in_force_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = written(tmp_path)
    go_on = stopped_at(logs, monkeypatch, "_put_in_place")
    logs.set_config("t", {**CONFIG, "segment.bytes": len(batch())})
    go_on.set()
    partition = logs.partitions["t", 0]
    wait_for_moves(logs)
    assert partition.log.directory.startswith(f"{tmp_path}/d2")
    before = len(partition.log.segments())
    for _ in range(3):
        partition.append(batch())
    assert len(partition.log.segments()) == before + 3
    logs.shutdown()


def test_memory_runs_out_in_a_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source accepts records again."""
    lines: list[str] = []
    logs = opened(tmp_path, lines)
    partition = logs.create("t", 0, TOPIC_ID, log_dir=str(tmp_path / "d1"))

    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(log_moves.LogMoves, "_put_in_place", fail)
    logs.move("t", 0, str(tmp_path / "d2"))
    wait_until(lambda: any("a task of the log manager failed" in line for line in lines), "the failure")
    assert partition.append(batch()) == 0 and not list(tmp_path.glob("d2/t-0*"))
    logs.shutdown()


def test_a_new_name_that_is_not_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is renamed away from the partition's name before any of its files are removed."""
    removed: list[str] = []
    monkeypatch.setattr(log_moves, "remove_tree", removed.append)
    lines: list[str] = []
    logs = opened(tmp_path, lines)
    logs.create("t", 0, TOPIC_ID, log_dir=str(tmp_path / "d1")).append(batch())
    synced = iter([False])  # and then it works
    monkeypatch.setattr(logs._hosted, "sync_directory", lambda path: next(synced, True))
    logs.move("t", 0, str(tmp_path / "d2"))
    wait_until(lambda: any("a task of the log manager failed" in line for line in lines), "the failure")
    assert len(removed) == 1 and removed[0].endswith("-future") and not (tmp_path / "d2/t-0").exists()
    assert logs.partitions["t", 0].append(batch()) == 1
    logs.shutdown()


def test_a_copy_that_keeps_the_name_takes_its_directory_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays whole, and the source serves."""
    monkeypatch.setattr(UnableToRename, "failing", "-future")
    monkeypatch.setattr(log_moves, "PartitionLog", UnableToRename)
    lines: list[str] = []
    logs = opened(tmp_path, lines)
    logs.create("t", 0, TOPIC_ID, log_dir=str(tmp_path / "d1")).append(batch())
    monkeypatch.setattr(logs._hosted, "sync_directory", lambda path: False)
    logs.move("t", 0, str(tmp_path / "d2"))
    wait_for_moves(logs)
    assert logs.offline_dirs == {str(tmp_path / "d2")} and (tmp_path / "d2/t-0/partition.metadata").exists()
    assert logs.partitions["t", 0].append(batch()) == 1
    logs.shutdown()


def test_a_folder_with_a_partitions_name_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "t-0").mkdir()
    with pytest.raises(ValueError, match="renamed for removal"):
        remove_tree(str(tmp_path / "t-0"))
    assert (tmp_path / "t-0").is_dir()


def test_deleted_records_stay_deleted_when_a_move_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power fails after the copy gets its name and before the checkpoints of its directory are written."""
    (tmp_path / "running").mkdir()
    logs = written(tmp_path / "running", records=0)
    logs.partitions["t", 0].append(batch(10))  # the copy has the complete batch
    logs.partitions["t", 0].delete_records(7)
    go_on = stopped_at(logs, monkeypatch, "_retire_source")
    crashed = Path(shutil.copytree(tmp_path / "running", tmp_path / "crashed", copy_function=copy_unless_renamed))
    go_on.set()
    logs.shutdown()
    monkeypatch.undo()
    (crashed / "d2/t-0" / MOVED_FROM).write_text(f"{crashed}/d1/t-0")
    logs = opened(crashed)
    partition = logs.partitions["t", 0]
    assert partition.log.directory == f"{crashed}/d2/t-0"
    assert (partition.log_start_offset, partition.log_end_offset) == (7, 10)
    logs.shutdown()


def test_a_second_crash_does_not_bring_deleted_records_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start after the first one completes the move, and ends before it writes checkpoints."""
    logs = written(tmp_path)
    logs.partitions["t", 0].delete_records(7)
    logs.shutdown()
    copy = Path(shutil.copytree(tmp_path / "d1/t-0", tmp_path / "d2/t-0"))
    (copy / MOVED_FROM).write_text(f"{tmp_path}/d1/t-0")
    monkeypatch.setattr(LogUpkeep, "start", lambda upkeep, recovered: None)
    logs = opened(tmp_path)
    assert logs.partitions["t", 0].log_start_offset == 7 and not (tmp_path / "d1/t-0").exists()
    logs._unlock_all()  # all that is left of a process that was killed
    logs = opened(tmp_path)
    assert logs.partitions["t", 0].log.directory == f"{tmp_path}/d2/t-0" and logs.partitions["t", 0].log_start_offset == 7
    logs._unlock_all()


def test_a_log_that_is_cut_meanwhile_is_copied_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a follower's new leader has it done: the copy must not keep what is gone, below records of the new leader."""
    logs = written(tmp_path)
    partition, expected, copy_log = logs.partitions["t", 0], [], log_copy.copy_log

    def copy_and_cut(source: PartitionLog, target: PartitionLog, stopping: Callable[[], bool], copied: Any = None) -> None:
        copy_log(source, target, stopping)
        if not expected:
            partition.truncate_to(5)
            for _ in range(10):
                partition.append(batch(size=30))
            expected.append(partition.log.read(0, 1 << 20))

    monkeypatch.setattr(log_copy, "copy_log", copy_and_cut)
    logs.move("t", 0, str(tmp_path / "d2"))
    wait_until(lambda: partition.log.directory == str(tmp_path / "d2/t-0"), "the partition has moved")
    assert [partition.log.read(0, 1 << 20)] == expected
    assert partition.log_end_offset == 15
    logs.shutdown()


def test_a_log_that_is_cut_at_the_end_of_its_move_is_copied_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower that goes on from the cut would find a longer log."""
    logs = written(tmp_path)
    partition = logs.partitions["t", 0]
    go_on = stopped_at(logs, monkeypatch, "_put_in_place")
    assert logs.cut([(("t", 0), 5, False)]) == set()
    go_on.set()
    wait_for_moves(logs)
    assert partition.log.directory == str(tmp_path / "d2/t-0") and partition.log_end_offset == 5
    assert partition.append(batch()) == 5
    logs.shutdown()


def test_a_cut_that_waited_for_a_move_writes_where_the_log_is_now(tmp_path: Path) -> None:
    """A recovery point above the cut would keep the next start from the end of the log."""
    logs = written(tmp_path)
    hosted, partition, cutting = logs._hosted, logs.partitions["t", 0], threading.Lock()
    recovery_points = tmp_path / "d2/recovery-point-offset-checkpoint"

    class Cutting:
        """The thread that cuts gets the lock after the move."""

        def __enter__(self) -> None:
            if threading.current_thread() is threading.main_thread():
                logs.move("t", 0, str(tmp_path / "d2"))
                wait_until(lambda: recovery_points.exists() and "t 0 10" in recovery_points.read_text(), "the move is made")
                gone(tmp_path / "d1/t-0")
            cutting.acquire()

        def __exit__(self, *_: object) -> None:
            cutting.release()

    hosted.cutting = Cutting()  # type: ignore[assignment]
    assert logs.cut([(("t", 0), 5, False)]) == set()
    assert partition.log_end_offset == 5
    assert recovery_points.read_text().splitlines()[2:] == ["t 0 5"]
    logs.shutdown()


def test_moves_wait_in_the_order_of_their_last_request(tmp_path: Path) -> None:
    """Each is added and taken without a look at the others."""
    hosted: Any = SimpleNamespace(mutex=threading.RLock(), wake=threading.Event(), dirs=["a", "b", "c"], dir_of={}, partitions={})
    moves = log_moves.LogMoves(hosted, lambda: False, lambda size: None)
    for index in range(3):
        hosted.dir_of["t", index] = "a"
        moves.add(("t", index), "b")
    moves.add(("t", 0), "c")
    moves.add(("t", 1), "a")
    asked: list[object] = []
    hosted.partitions = SimpleNamespace(get=asked.append)
    moves.run()
    assert asked == [("t", 2), ("t", 0)]
