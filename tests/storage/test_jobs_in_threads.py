"""Opening and closing logs in several threads: no failure is lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kafka_cy.storage.log_loader import LogLoader, in_threads
from kafka_cy.storage.log_manager import LogManager


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
