"""What goes wrong with a log directory at the start: it is left out, or the start is refused, and nothing in it changes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kafka_cy.storage import checkpoints, log_dir
from kafka_cy.storage.log_manager import LogDirError, LogManager
from tests.storage.batches import batch

TOPIC_ID = bytes(15) + b"t"
CONFIG = {"retention.ms": -1}


@pytest.fixture
def dirs(tmp_path: Path) -> list[str]:
    """Two log directories with a partition each, whose first records were deleted."""
    made = [str(tmp_path / "d1"), str(tmp_path / "d2")]
    logs = LogManager(made, 1, "cluster", CONFIG)
    logs.start()
    for index, path in enumerate(made):
        partition = logs.create("t", index, TOPIC_ID, log_dir=path)
        partition.append(batch(10))
        partition.delete_records(7)
    logs.shutdown()
    return made


def start(logs: LogManager) -> LogManager:
    logs.start({"t": (TOPIC_ID, 2)})
    return logs


def opened(dirs: list[str], lines: list[str] | None = None) -> LogManager:
    told = [] if lines is None else lines
    return start(LogManager(dirs, 1, "cluster", CONFIG, warn=lambda text, **_: told.append(text)))


@pytest.mark.parametrize("name", [checkpoints.LOG_STARTS, checkpoints.RECOVERY_POINTS])
def test_a_checkpoint_that_cannot_be_read(dirs: list[str], name: str) -> None:
    """It is not empty: without the start offset, deleted records would come back."""
    path = Path(dirs[0], name)
    kept = path.rename(path.with_suffix(".kept"))
    path.symlink_to(path)  # ELOOP; as EIO
    with pytest.raises(LogDirError, match=r"checkpoints of log directory .* cannot be read"):
        opened(dirs[:1])
    lines: list[str] = []
    logs = opened(dirs, lines)
    assert logs.offline_dirs == {dirs[0]} and list(logs.partitions) == [("t", 1)]
    assert any("cannot be read" in line for line in lines)
    logs.shutdown()
    path.unlink()
    kept.rename(path)
    logs = opened(dirs)
    assert [logs.partitions["t", index].log_start_offset for index in (0, 1)] == [7, 7]
    logs.shutdown()


def test_without_descriptors_for_a_checkpoint_the_start_is_refused(
    dirs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str, damaged: object) -> dict[tuple[str, int], int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "read_offsets", fail)
        with pytest.raises(LogDirError, match="Too many open files"):
            opened(dirs)
    logs = opened(dirs)
    assert logs.partitions["t", 0].log_start_offset == 7
    logs.shutdown()


@pytest.mark.parametrize("failing", [1, 2])
def test_a_directory_that_cannot_be_synced(
    dirs: list[str], monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Its stray folders were renamed, and the fsync fails."""
    for index, path in enumerate(dirs):
        Path(path, f"unknown-{index}").mkdir()
        Path(path, f"unknown-{index}", "00000000000000000000.log").touch()
    synced = checkpoints.sync_directory

    def fail(path: str) -> None:
        if path in dirs[:failing]:
            raise OSError(errno.EIO, "a fault")
        synced(path)

    monkeypatch.setattr(checkpoints, "sync_directory", fail)
    logs = LogManager(dirs, 1, "cluster", CONFIG, warn=lambda text, **_: None)
    if failing == 2:
        with pytest.raises(LogDirError, match="none of the log directories"):
            start(logs)
    else:
        assert list(start(logs).partitions) == [("t", 1)] and logs.offline_dirs == {dirs[0]}
    logs.shutdown()


def test_a_lock_without_descriptors_refuses_the_start(dirs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is as good as before: it is not left out."""

    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(log_dir.os, "open", fail)
        with pytest.raises(LogDirError, match="Too many open files"):
            opened(dirs)
    logs = opened(dirs)
    assert not logs.offline_dirs
    logs.shutdown()


def test_why_a_directory_is_left_out(dirs: list[str]) -> None:
    first = Path(dirs[0])
    first.rename(first.with_name("kept"))
    first.touch()  # no directory
    lines: list[str] = []
    logs = opened(dirs, lines)
    assert logs.offline_dirs == {dirs[0]}
    assert any(dirs[0] in line and "offline" in line for line in lines)
    logs.shutdown()


def test_a_file_that_looks_like_a_segment_fails_no_directory(dirs: list[str]) -> None:
    """After an unclean stop, the sizes of segments are compared."""
    Path(dirs[0], "t-0", "5.log").write_text("somebody else's")
    for path in dirs:
        Path(path, log_dir.CLEAN_SHUTDOWN).unlink()
    logs = opened(dirs[:1])
    assert logs.partitions["t", 0].log_end_offset == 10
    logs.shutdown()
