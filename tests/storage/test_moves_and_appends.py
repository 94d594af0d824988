"""What goes on while a partition is moved between log directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_cy.storage import log_moves
from kafka_cy.storage.log import PartitionLog, StorageFailure
from tests.storage.batches import batch
from tests.storage.moves import wait_for_moves
from tests.storage.test_moves import written
from tests.waiting import wait_until


def test_the_copy_is_on_disk_before_appends_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush of all that was copied takes seconds."""
    flushes: list[tuple[bool, int]] = []  # whether appends are accepted, and how many records are not on disk
    logs = written(tmp_path)
    partition = logs.partitions["t", 0]

    class Flushed(PartitionLog):
        """The copy."""

        def flush(self) -> None:
            """See PartitionLog."""
            unflushed = self.log_end_offset - self.recovery_point
            try:
                partition.append(batch())
                flushes.append((True, unflushed))
            except StorageFailure:
                flushes.append((False, unflushed))
            super().flush()

    monkeypatch.setattr(log_moves, "PartitionLog", Flushed)
    logs.move("t", 0, str(tmp_path / "d2"))
    wait_for_moves(logs)
    assert flushes == [(True, 10), (False, 1)]
    assert partition.log.directory == f"{tmp_path}/d2/t-0" and partition.log_end_offset == 11
    logs.shutdown()


def test_the_file_with_which_a_copy_began_is_removed(tmp_path: Path) -> None:
    """Its log begins anew where the source does."""
    logs = written(tmp_path)
    logs.partitions["t", 0].delete_records(5)
    logs.move("t", 0, str(tmp_path / "d2"))
    wait_for_moves(logs)
    wait_until(lambda: not list((tmp_path / "d2/t-0").glob("*.deleted")), "the removal")
    assert (tmp_path / f"d2/t-0/{5:020d}.log").exists()
    logs.shutdown()
