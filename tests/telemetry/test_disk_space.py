"""The sizes of the log directories' file systems: correct, and a disk that hangs does not hold up the page."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from kafka_cy.telemetry import disk_space
from kafka_cy.telemetry.disk_space import DiskSpace
from tests.waiting import wait_until


def test_sizes_are_those_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimpleNamespace(f_blocks=1000, f_frsize=4096, f_bavail=250, f_bfree=300)  # 50 blocks are reserved for root
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    monkeypatch.setattr(disk_space, "WAIT_S", 60.0)
    assert DiskSpace().sizes([str(tmp_path)]) == {str(tmp_path): (4_096_000, 1_024_000)}


def test_a_directory_that_is_gone_has_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_space, "WAIT_S", 60.0)
    folder = tmp_path / "log"
    folder.mkdir()
    disks = DiskSpace()
    assert list(disks.sizes([str(folder)])) == [str(folder)]
    folder.rmdir()
    assert disks.sizes([str(folder)]) == {}


def test_without_threads_the_last_numbers_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_space, "WAIT_S", 60.0)
    disks = DiskSpace()
    before = disks.sizes([str(tmp_path)])

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert disks.sizes([str(tmp_path)]) == before != {}
    assert DiskSpace().sizes([str(tmp_path)]) == {}


def test_a_disk_that_hangs_keeps_its_last_numbers_and_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    disks = DiskSpace()
    asked: list[str] = []
    answer = threading.Event()
    answer.set()
    free = 10

    def statvfs(path: str) -> SimpleNamespace:
        asked.append(path)
        if path == "hangs":
            answer.wait()
        return SimpleNamespace(f_blocks=100, f_frsize=1, f_bavail=free)

    monkeypatch.setattr(os, "statvfs", statvfs)
    monkeypatch.setattr(disk_space, "WAIT_S", 60.0)
    assert disks.sizes(["hangs", "works"]) == {"hangs": (100, 10), "works": (100, 10)}
    free = 5
    answer.clear()
    monkeypatch.setattr(disk_space, "WAIT_S", 0.01)
    assert disks.sizes(["hangs"]) == {"hangs": (100, 10)}
    wait_until(lambda: disks.sizes(["hangs", "works"]) == {"hangs": (100, 10), "works": (100, 5)}, "the other disk")
    assert asked.count("hangs") == 2
    answer.set()
    wait_until(lambda: disks.sizes(["hangs"]) == {"hangs": (100, 5)}, "the disk's return")
