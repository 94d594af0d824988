"""Moves between log directories that come to nothing: a directory fails, the partition is deleted, the move is cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.storage import checkpoints, log_copy, log_moves, log_upkeep
from kafka_cy.storage.hosted_logs import HostedLogs
from kafka_cy.storage.log import PartitionLog, StorageFailure
from kafka_cy.storage.log_dir import NO_TOPIC_ID, read_topic_id
from kafka_cy.storage.log_manager import LogManager
from kafka_cy.storage.log_upkeep import LogUpkeep
from tests.storage.batches import batch
from tests.storage.moves import wait_for_moves
from tests.storage.test_moves import CONFIG, TOPIC_ID
from tests.waiting import wait_until


class Pace:
    """The quota is used up until `enough`."""

    def __init__(self) -> None:
        self.waits = 0
        self.enough = False

    def record(self, kind: str, size: int) -> None:
        pass

    def wait_ms(self, kind: str) -> int:
        self.waits += 1
        return 0 if self.enough else 1


class Moving:
    """Two partitions in d1. The move of t-0 to d2 waits for its quota, that of t-1 waits for the first one."""

    def __init__(self, folder: Path, topic_id: bytes = TOPIC_ID) -> None:
        self.folder, self.pace = folder, Pace()
        self.warnings: list[str] = []
        self.lines: list[str] = []
        self.d1, self.d2, self.d3 = self.dirs = [str(folder / name) for name in ("d1", "d2", "d3")]
        for path in self.dirs:
            Path(path).mkdir()
        self.logs = LogManager(
            self.dirs, 1, "cluster", CONFIG, copy_pace=self.pace, warn=self._warn, info=lambda text, **_: self.lines.append(text)
        )
        self.logs.start({})
        for index in range(2):
            partition = self.logs.create("t", index, topic_id, log_dir=self.d1)
            for _ in range(10):
                partition.append(batch())
        self.logs.move("t", 0, self.d2)
        self.wait_for_the_quota()
        self.logs.move("t", 1, self.d2)

    def _warn(self, text: str, **details: object) -> None:
        self.warnings.append(f"{text} {details}")

    def wait_for_the_quota(self) -> None:
        waits = self.pace.waits
        wait_until(lambda: self.pace.waits > waits + 2, "the copy waits for its quota")

    def place_of(self, index: int) -> str:
        return self.logs._hosted.dir_of["t", index]

    def wait_for_the_end(self) -> None:
        wait_for_moves(self.logs)

    def copies(self) -> list[Path]:
        return list(self.folder.glob("d?/*-future"))


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[Moving]:
    moving = Moving(tmp_path)
    yield moving
    moving.pace.enough = True
    moving.logs.shutdown()


def test_a_directory_that_failed_gets_no_partition(moving: Moving) -> None:
    """Acknowledged records would lie where the next start does not look: it would go on with the old folder, in silence."""
    moving.logs._hosted.take_offline(moving.d2, "another log of it failed")
    moving.wait_for_the_end()  # while the quota is still used up
    assert len(moving.warnings) == 1 and f"log directory {moving.d2} does not exist or has failed" in moving.warnings[0]
    for index in range(2):
        partition = moving.logs.partitions["t", index]
        assert moving.place_of(index) == moving.d1 and partition.log.directory == f"{moving.d1}/t-{index}"
        assert partition.append(batch()) == 10
    assert not list(moving.folder.glob("d2/t-*"))


def test_a_directory_that_fails_right_before_the_swap_gets_no_partition(moving: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place = log_moves.LogMoves._put_in_place

    def fail_before(moves: Any, *arguments: Any) -> None:
        moving.logs._hosted.take_offline(moving.d2, "another log of it failed")
        put_in_place(moves, *arguments)

    monkeypatch.setattr(log_moves.LogMoves, "_put_in_place", fail_before)
    moving.pace.enough = True
    wait_until(lambda: moving.warnings, "the move has failed")
    assert moving.place_of(0) == moving.d1 and moving.logs.partitions["t", 0].append(batch()) == 10
    assert not list(moving.folder.glob("d2/t-0*"))


def test_a_partition_in_a_directory_that_failed_is_not_moved(moving: Moving) -> None:
    """It is offline until the next start, which finds it where it was."""
    moving.logs._hosted.take_offline(moving.d1, "another log of it failed")
    moving.wait_for_the_end()  # while the quota is still used up
    assert len(moving.warnings) == 1 and f"log directory {moving.d1} does not exist or has failed" in moving.warnings[0]
    assert [moving.place_of(index) for index in range(2)] == [moving.d1] * 2
    assert not moving.copies()
    assert (moving.folder / "d1/t-0").is_dir()


def copied_now(logs: LogManager) -> list[tuple[str, int]]:
    """The log directories and partitions of the copies that DescribeLogDirs tells of."""
    return [(path, index) for path, _, index, _, _, is_copy in logs.describe() if is_copy]


def test_a_move_is_cancelled(moving: Moving) -> None:
    """By a request for the directory where the partition lies, as in Kafka (Partition.futureReplicaDirChanged)."""
    assert copied_now(moving.logs) == [(moving.d2, 0)]
    moving.logs.move("t", 0, moving.d1)
    assert (moving.d2, 0) not in copied_now(moving.logs)  # at once
    wait_until(lambda: copied_now(moving.logs) == [(moving.d2, 1)], "the next move has begun, although the quota is used up")
    assert len(moving.copies()) == 1 and moving.place_of(0) == moving.d1
    assert moving.logs.partitions["t", 0].append(batch()) == 10
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert [moving.place_of(index) for index in range(2)] == [moving.d1, moving.d2]
    assert moving.warnings == [] and moving.lines.count("a move between log directories was abandoned") == 1


def test_a_move_gets_another_target(moving: Moving) -> None:
    moving.logs.move("t", 0, moving.d3)
    wait_until(lambda: copied_now(moving.logs) == [(moving.d2, 1)], "the next move has begun")
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert [moving.place_of(index) for index in range(2)] == [moving.d3, moving.d2]
    assert moving.logs.partitions["t", 0].log_end_offset == 10 and moving.warnings == []


def test_a_move_is_cancelled_and_wanted_again(moving: Moving) -> None:
    moving.logs.move("t", 0, moving.d1)
    moving.logs.move("t", 0, moving.d2)
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert [moving.place_of(index) for index in range(2)] == [moving.d2] * 2 and moving.warnings == []


def test_a_move_that_is_wanted_again_goes_on(moving: Moving) -> None:
    moving.logs.move("t", 0, moving.d2)
    assert copied_now(moving.logs) == [(moving.d2, 0)]
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert [moving.place_of(index) for index in range(2)] == [moving.d2] * 2
    assert "a move between log directories was abandoned" not in moving.lines


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_move_is_cancelled_right_before_the_swap(
    moving: Moving, monkeypatch: pytest.MonkeyPatch, is_cut: bool
) -> None:
    """A log that was cut meanwhile is copied anew, but not against a later request."""
    put_in_place = log_moves.LogMoves._put_in_place

    def cancel_before(moves: Any, partition: Any, key: Any, path: str, *arguments: Any) -> None:
        if key == ("t", 0):
            moving.logs.move("t", 0, moving.d1)
            if is_cut:
                moving.logs.cut([(key, 5, False)])
        put_in_place(moves, partition, key, path, *arguments)

    monkeypatch.setattr(log_moves.LogMoves, "_put_in_place", cancel_before)
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert [moving.place_of(index) for index in range(2)] == [moving.d1, moving.d2]
    assert moving.logs.partitions["t", 0].append(batch()) == (5 if is_cut else 10)
    assert moving.warnings == []


def test_a_partition_that_is_deleted_ends_its_move(moving: Moving) -> None:
    moving.logs.delete("t", 0)
    wait_until(lambda: copied_now(moving.logs) == [(moving.d2, 1)], "the next move has begun, although the quota is used up")
    assert len(moving.copies()) == 1
    anew = moving.logs.create("t", 0, bytes(range(16, 32)), log_dir=moving.d1)
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert anew.append(batch()) == 0 and moving.place_of(0) == moving.d1
    assert moving.warnings == [] and moving.lines.count("a move between log directories was abandoned") == 1


def test_a_partition_that_is_deleted_while_its_folder_is_looked_at(moving: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    """That its folder is gone is no failure of the move."""
    forget = log_moves._forget_earlier_move

    def delete_before(folder: str, *more: Any) -> list[str]:
        if folder == f"{moving.d1}/t-0":
            moving.logs.delete("t", 0)
        return forget(folder, *more)

    monkeypatch.setattr(log_moves, "_forget_earlier_move", delete_before)
    moving.logs.move("t", 0, moving.d3)
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert moving.warnings == [] and moving.lines.count("a move between log directories was abandoned") == 2
    assert not moving.copies()


def in_the_way(moving: Moving) -> Path:
    """Somebody's folder with the name of the partition, in the target directory."""
    folder = Path(moving.d2, "t-0")
    folder.mkdir()
    (folder / "notes").write_text("kept")
    return folder


def is_left_where_it_was(moving: Moving, folder: Path) -> None:
    moving.wait_for_the_end()
    wait_until(lambda: moving.warnings, "the line")
    assert len(moving.warnings) == 1 and f"{folder} is in the way of a move" in moving.warnings[0]
    assert not moving.logs.offline_dirs and (folder / "notes").read_text() == "kept"
    assert [moving.place_of(index) for index in range(2)] == [moving.d1, moving.d2]
    assert moving.logs.partitions["t", 0].append(batch()) == 10 and not moving.copies()


def test_a_folder_is_in_the_way(moving: Moving) -> None:
    """Nothing is copied, and the directory stays online."""
    moving.logs.move("t", 0, moving.d1)
    wait_until(lambda: copied_now(moving.logs) == [(moving.d2, 1)], "the next move has begun")
    folder = in_the_way(moving)
    moving.logs.move("t", 0, moving.d2)
    moving.pace.enough = True
    is_left_where_it_was(moving, folder)


def test_a_folder_is_in_the_way_at_the_end_of_a_move(moving: Moving) -> None:
    folder = in_the_way(moving)
    moving.pace.enough = True
    is_left_where_it_was(moving, folder)


def test_an_empty_folder_is_not_in_the_way(moving: Moving) -> None:
    Path(moving.d2, "t-0").mkdir()
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert moving.place_of(0) == moving.d2 and moving.warnings == []


def test_a_partition_that_is_made_anew_while_its_copy_arrives(moving: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoints of the copy's directory get nothing of it: its offsets would be those of another log there."""
    hosted, write, written = moving.logs._hosted, moving.logs._hosted.write_checkpoints, []

    def make_anew() -> None:
        if hosted.arriving and hosted.arriving.keys() == {("t", 0)} and not written:
            written.append({})
            moving.logs.delete("t", 0)
            moving.logs.create("t", 0, bytes(range(16, 32)), log_dir=moving.d3)
            write()
            written.append(checkpoints.read_offsets(f"{moving.d2}/{checkpoints.RECOVERY_POINTS}"))
        else:
            write()

    monkeypatch.setattr(hosted, "write_checkpoints", make_anew)
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert written == [{}, {}]
    assert moving.place_of(0) == moving.d3 and moving.logs.partitions["t", 0].append(batch()) == 0


AGAIN = "a move between log directories begins again"


def test_a_cut_in_the_middle_of_a_copy_begins_it_again(moving: Moving) -> None:
    """The log that grows again has batches where the copy ends, which is no failure of the copy."""
    assert moving.logs.cut([(("t", 0), 5, False)]) == set()
    moving.logs.partitions["t", 0].append(batch(10))
    wait_until(lambda: AGAIN in moving.lines, "the move begins again, although the quota is used up")
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert [moving.place_of(index) for index in range(2)] == [moving.d2] * 2
    assert moving.logs.partitions["t", 0].append(batch()) == 15
    assert moving.warnings == [] and not moving.copies()


def test_a_cut_while_the_copy_is_appended(moving: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read then fits nothing."""
    append, partition = PartitionLog.append, moving.logs.partitions["t", 0]

    class Cutting(PartitionLog):
        """The source is cut before the first batch of t-0's copy."""

        def append(self, data: bytes, **more: Any) -> int:
            if "/t-0." in self.directory and partition.log_end_offset == 10:
                moving.logs.cut([(("t", 0), 5, False)])
                raise StorageFailure("a torn batch", 4)
            return append(self, data, **more)

    monkeypatch.setattr(log_moves, "PartitionLog", Cutting)
    moving.logs.move("t", 0, moving.d3)
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert moving.place_of(0) == moving.d3 and moving.logs.partitions["t", 0].append(batch()) == 5
    assert AGAIN in moving.lines and moving.warnings == []


def test_a_cut_at_the_beginning_of_a_copy(moving: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy begins above the end that the log has from then on: nothing is copied, and the copy must not be served."""
    first_offset, partition = log_copy.first_offset, moving.logs.partitions["t", 0]
    partition.delete_records(5)

    def cut_after(log: PartitionLog) -> int:
        offset = first_offset(log)
        if offset == 5:
            moving.logs.cut([(("t", 0), 2, True)])
        return offset

    monkeypatch.setattr(log_copy, "first_offset", cut_after)
    moving.logs.move("t", 0, moving.d3)
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert moving.place_of(0) == moving.d3 and partition.append(batch()) == 2
    assert AGAIN in moving.lines and moving.warnings == []


def test_a_partition_that_gets_its_topic_id_is_moved(tmp_path: Path) -> None:
    """It has a new handle over the same log."""
    moving = Moving(tmp_path, NO_TOPIC_ID)
    partition = moving.logs.assign_topic_id("t", 0, TOPIC_ID)
    wait_until(lambda: AGAIN in moving.lines, "the move begins again, although the quota is used up")
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert moving.place_of(0) == moving.d2 and partition.log.directory == f"{moving.d2}/t-0"
    assert read_topic_id(f"{moving.d2}/t-0") == TOPIC_ID and partition.log_end_offset == 10
    assert "a move between log directories was abandoned" not in moving.lines
    moving.logs.shutdown()


def test_a_partition_without_topic_id_is_moved(tmp_path: Path) -> None:
    """Its new folder has no partition.metadata: Apache Kafka does not start with one that has a zero id."""
    moving = Moving(tmp_path, NO_TOPIC_ID)
    moving.pace.enough = True
    moving.wait_for_the_end()
    assert moving.place_of(0) == moving.d2 and Path(f"{moving.d2}/t-0").is_dir()
    assert not Path(f"{moving.d2}/t-0/partition.metadata").exists()
    moving.logs.shutdown()
    logs = LogManager(moving.dirs, 1, "cluster", CONFIG)
    logs.start({"t": (NO_TOPIC_ID, 2)})
    assert logs.partitions["t", 0].log_end_offset == 10
    logs.shutdown()


class Clock:
    """Of log_upkeep."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    time = monotonic

    def wait(self, _: float) -> None:
        self.now_s += 0.1


@pytest.mark.parametrize("waits", [1, 7])
def test_a_move_does_the_other_work_now_and_then(monkeypatch: pytest.MonkeyPatch, waits: int) -> None:
    """That work looks at all partitions, which is too much for each piece that is copied, and for each wait of a millisecond."""
    clock, pace = Clock(), Pace()
    upkeep = LogUpkeep(HostedLogs(1, {}, None, None, None, None), 300, 600, 60, None, copy_pace=pace)
    rounds: list[float] = []
    monkeypatch.setattr(log_upkeep, "time", clock)
    monkeypatch.setattr(upkeep._stopped, "wait", clock.wait)
    monkeypatch.setattr(upkeep._hosted, "check_directories", lambda: rounds.append(round(clock.now_s, 1)))
    for piece in range(1, 1 + 7 // waits):
        monkeypatch.setattr(pace, "wait_ms", lambda _, until=100.0 + 0.1 * waits * piece: int(clock.now_s < until - 0.05))
        upkeep._copied(4 << 20)
    assert rounds == [100.0, 100.3, 100.6]
