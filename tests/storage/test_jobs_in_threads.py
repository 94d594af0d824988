"""Opening and closing logs in several threads: no failure is lost."""

from __future__ import annotations

import errno
import shutil
import threading
import uuid
from pathlib import Path

import pytest

from kafka_cy.storage.log import StorageFailure
from kafka_cy.storage.log_loader import LogLoader, in_threads
from kafka_cy.storage.log_manager import LogDirError, LogManager
from kafka_cy.storage.partition_folders import PartitionFolder
from tests.waiting import wait_until

IO_ERROR, NO_MEMORY = 2, 3  # StorageError


def test_the_failure_of_another_thread_is_raised_after_the_other_jobs() -> None:
    failed = threading.Event()
    done: list[int] = []

    def work(job: int) -> None:
        if threading.current_thread() is threading.main_thread():
            assert failed.wait(60)
        elif not failed.is_set():
            failed.set()
            raise MemoryError
        done.append(job)

    with pytest.raises(MemoryError):
        in_threads(work, list(range(8)), 2)
    assert len(done) == 7


@pytest.mark.parametrize(
    ("fault", "is_refused"),
    [
        (OSError(errno.EROFS, "a fault"), False),
        (StorageFailure("open", IO_ERROR, errno.EIO), False),
        (OSError(errno.EMFILE, "a fault"), True),
        (StorageFailure("open", IO_ERROR, errno.EMFILE), True),
        (StorageFailure("open", NO_MEMORY), True),
    ],
)
def test_a_directory_that_fails_while_its_logs_are_opened_is_left_out(
    fault: OSError, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lack of descriptors or memory is no fault of the directory: the start is refused."""
    topic_id = bytes(15) + b"t"
    dirs = [str(tmp_path / "d1"), str(tmp_path / "d2")]
    logs = LogManager(dirs, 1, "cluster", {"retention.ms": -1})
    logs.start()
    for index, log_dir in enumerate(dirs):
        logs.create("t", index, topic_id, log_dir=log_dir)
    logs.shutdown()
    opened = LogLoader._open

    def fail_in_first(loader: LogLoader, key: tuple[str, int], folder: PartitionFolder) -> None:
        if folder.log_dir == dirs[0]:
            raise fault
        opened(loader, key, folder)

    monkeypatch.setattr(LogLoader, "_open", fail_in_first)
    again = LogManager(dirs, 1, "cluster", {"retention.ms": -1}, warn=lambda text, **_: None)
    again.open()
    if is_refused:
        with pytest.raises(LogDirError):
            again.start({"t": (topic_id, 2)})
    else:
        again.start({"t": (topic_id, 2)})
        assert again.offline_dirs == {dirs[0]}
        assert list(again.partitions) == [("t", 1)]
    again.shutdown()


def test_the_source_of_a_move_stays_while_the_copy_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic_id = bytes(15) + b"t"
    dirs = [str(tmp_path / "d1"), str(tmp_path / "d2")]
    logs = LogManager(dirs, 1, "cluster", {"retention.ms": -1})
    logs.start()
    logs.create("t", 0, topic_id, log_dir=dirs[0])
    logs.create("t", 1, topic_id, log_dir=dirs[1])
    logs.shutdown()
    source = tmp_path / "d2" / f"t-0.{uuid.uuid4().hex}-delete"
    shutil.copytree(tmp_path / "d1" / "t-0", source)
    opened, fails = LogLoader._open, [True]

    def fail_in_first(loader: LogLoader, key: tuple[str, int], folder: PartitionFolder) -> None:
        if folder.log_dir == dirs[0] and fails:
            raise OSError(errno.EIO, "a fault")
        opened(loader, key, folder)

    monkeypatch.setattr(LogLoader, "_open", fail_in_first)
    for _ in range(2):
        lines: list[str] = []
        again = LogManager(dirs, 1, "cluster", {"retention.ms": -1}, warn=lambda text, lines=lines, **_: lines.append(text))
        again.start({"t": (topic_id, 2)})
        if fails:
            assert "a folder is kept until all log directories can be read" in lines
            assert str(source) not in again._hosted.removals
        else:
            wait_until(lambda: not source.exists(), "the removal of the source")
        again.shutdown()
        assert source.exists() == bool(fails)
        fails.clear()


def test_a_start_that_lacks_memory_for_one_log_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder would be served as an empty log otherwise."""
    topic_id = bytes(15) + b"t"
    logs = LogManager([str(tmp_path)], 1, "cluster", {"retention.ms": -1})
    logs.start()
    for index in range(8):
        logs.create("t", index, topic_id)
    logs.shutdown()
    failed = threading.Event()
    opened = LogLoader._open

    def fail_elsewhere(loader: LogLoader, *job: object) -> None:
        if threading.current_thread() is threading.main_thread():
            assert failed.wait(60)
        elif not failed.is_set():
            failed.set()
            raise MemoryError
        opened(loader, *job)  # type: ignore[arg-type]

    monkeypatch.setattr(LogLoader, "_open", fail_elsewhere)
    again = LogManager([str(tmp_path)], 1, "cluster", {"retention.ms": -1}, recovery_threads=2)
    again.open()
    with pytest.raises(MemoryError):
        again.start({"t": (topic_id, 8)})
    again.shutdown()
