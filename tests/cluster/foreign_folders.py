"""Log directories like those of another Kafka broker: partitions with one segment of old records."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from kafka_cy.records import Record, build_batch

CLUSTER_ID = "kafkaCyDifferentialAAA"


def write_identity(log_dir: Path, *, kraft: bool = True, broker_id: int = 1, directory: UUID | None = None) -> Path:
    log_dir.mkdir(parents=True, exist_ok=True)
    lines = [f"cluster.id={CLUSTER_ID}", f"{'node' if kraft else 'broker'}.id={broker_id}", f"version={int(kraft)}"]
    if directory is not None:
        lines.append("directory.id=" + base64.urlsafe_b64encode(directory.bytes).decode().rstrip("="))
    (log_dir / "meta.properties").write_text("#\n" + "\n".join(lines) + "\n")
    return log_dir


def write_partition(log_dir: Path, topic: str, index: int, topic_id: UUID | None, *, leader_epoch: int = 0) -> Path:
    """Ten records of 1970."""
    folder = log_dir / f"{topic}-{index}"
    folder.mkdir(parents=True)
    records = [Record(b"k%d" % (i % 3), b"v%d" % i, 1000 + i) for i in range(10)]
    (folder / f"{0:020d}.log").write_bytes(build_batch(records, leader_epoch=leader_epoch))
    (folder / "leader-epoch-checkpoint").write_text(f"0\n1\n{leader_epoch} 0\n")
    if topic_id is not None:
        text = base64.urlsafe_b64encode(topic_id.bytes).decode().rstrip("=")
        (folder / "partition.metadata").write_text(f"version: 0\ntopic_id: {text}")
    return folder


def contents(folder: Path) -> Mapping[str, bytes]:
    """All files below a folder except those that adoption may write."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock" and not path.name.startswith("kafka-cy-metadata")
    }
