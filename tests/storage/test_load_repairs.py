"""Files of a log that a start finds broken: it makes them anew or leaves them out, and tells the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kafka_cy.storage import checkpoints
from kafka_cy.storage.load_report import CUT_LOGS_MAX
from kafka_cy.storage.log import PartitionLog, StorageFailure
from kafka_cy.storage.log_manager import LogManager
from tests.storage.batches import TRANSACTIONAL, batch, marker
from tests.storage.failing_disk import run_with_failing_disk

TOPIC_ID = bytes(range(16))
TEXT = "broken files of a log were made anew, or left out"


def opened(folder: Path, lines: list[tuple[str, dict[str, Any]]]) -> LogManager:
    def tell(text: str, **details: Any) -> None:
        lines.append((text, details))

    logs = LogManager([str(folder)], 1, "cluster", {"retention.ms": -1}, warn=tell, info=tell)
    logs.start()
    return logs


def make(folder: Path, partitions: int = 1) -> None:
    """Logs of two segments, the first one with an aborted transaction; closed cleanly."""
    logs = opened(folder, [])
    for index in range(partitions):
        partition = logs.create("t", index, TOPIC_ID)
        partition.append(batch(2, producer_id=7, producer_epoch=0, base_sequence=0, attributes=TRANSACTIONAL))
        partition.log.append(marker(7, 0, commit=False))
        partition.log.roll()
        partition.append(batch())
    logs.shutdown()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (f"{0:020d}.txnindex", "transaction_indexes"), (f"{4:020d}.snapshot", "producer_snapshots"),
        ("leader-epoch-checkpoint", "epoch_checkpoints"),
    ],
)  # fmt: skip
def test_a_broken_file_is_told(tmp_path: Path, name: str, kind: str) -> None:
    make(tmp_path)
    file = tmp_path / "t-0" / name
    file.write_bytes(file.read_bytes()[:-2])
    lines: list[tuple[str, dict[str, Any]]] = []
    opened(tmp_path, lines).shutdown()
    assert [details for text, details in lines if text == TEXT] == [{"folder": str(tmp_path / "t-0"), kind: 1}]
    (end,) = [details for text, details in lines if text == "logs are open"]
    assert end["repaired_logs"] == 1
    lines.clear()
    opened(tmp_path, lines).shutdown()
    assert [text for text, _ in lines] == ["logs are open"] and "repaired_logs" not in lines[0][1]


def test_not_every_log_has_a_line(tmp_path: Path) -> None:
    make(tmp_path, CUT_LOGS_MAX + 5)
    for file in tmp_path.glob("*/*.txnindex"):
        file.write_bytes(b"?")
    lines: list[tuple[str, dict[str, Any]]] = []
    opened(tmp_path, lines).shutdown()
    assert sum(text == TEXT for text, _ in lines) == CUT_LOGS_MAX
    assert lines[-1][1]["repaired_logs"] == CUT_LOGS_MAX + 5


def test_a_snapshot_is_not_torn_because_memory_is_short(tmp_path: Path) -> None:
    """The producers whose batches are gone are in no other file."""
    code = """
log = PartitionLog(folder, clean=True)
for producer in range(1001):
    log.append(batch(1, producer_id=producer, producer_epoch=0, base_sequence=0), origin="client")
log.close()
snapshot = f"{folder}/{1001:020d}.snapshot"
disk.library.memory_fail(1002 * 8)      # of the table by which the open transactions are sorted
try:
    PartitionLog(folder, clean=True)
except StorageFailure as failure:
    print("out of memory" in str(failure))
disk.library.memory_fail(0)
print(os.path.exists(snapshot), len(PartitionLog(folder, clean=True).producers()))
"""
    assert run_with_failing_disk(tmp_path, code) == ["True", "True", "1001"]


def test_an_epoch_checkpoint_that_cannot_be_read_is_not_broken(tmp_path: Path) -> None:
    """Its epochs without a batch would be lost. As in Kafka, the log cannot be opened."""
    log = PartitionLog(str(tmp_path), clean=True)
    log.append(batch())
    log.assign_epoch(4)
    log.close()
    checkpoint = tmp_path / "leader-epoch-checkpoint"
    checkpoint.rename(tmp_path / "kept")
    checkpoint.symlink_to(checkpoint)
    with pytest.raises(StorageFailure, match="symbolic links"):
        PartitionLog(str(tmp_path), clean=True)
    (tmp_path / "kept").rename(checkpoint)
    assert PartitionLog(str(tmp_path), clean=True).latest_epoch == 4


@pytest.mark.parametrize("text", ["", "7\n0\n", "0\n1\nt 0\n", "0\n2\nt 0 1\n"])
def test_a_damaged_checkpoint_is_told(tmp_path: Path, text: str) -> None:
    make(tmp_path)
    file = tmp_path / checkpoints.LOG_STARTS
    file.write_text(text)
    lines: list[tuple[str, dict[str, Any]]] = []
    opened(tmp_path, lines).shutdown()
    told = [details["file"] for line, details in lines if line == "a checkpoint is damaged: it counts as empty"]
    assert told == [str(file)]
    file.unlink()
    lines.clear()
    opened(tmp_path, lines).shutdown()
    assert [line for line, _ in lines] == ["logs are open"], "a missing one is none"
