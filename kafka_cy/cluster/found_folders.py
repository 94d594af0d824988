"""What lies in log directories that another broker has written: partitions, and whose they are. Reads only."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from kafka_cy.cluster.topic_names import METADATA_TOPIC, problem_of
from kafka_cy.storage.checkpoints import read_properties
from kafka_cy.storage.log_dir import NO_TOPIC_ID, read_topic_id

PARTITION_INDEX_MAX: Final = (1 << 31) - 1
SNAPSHOTS_READ_MAX: Final = 2  # of producer states, the newest ones of each partition
_SEGMENT = re.compile(r"\d{20}\.log")
_SNAPSHOT = re.compile(r"\d{20}\.snapshot")
_ENTRY_BYTES, _HEADER_BYTES = 46, 10  # of a producer snapshot: ProducerStateManager


class FoundPartition(NamedTuple):
    """One folder `topic-index` with at least one segment. `topic_id` is None where the folder does not say it."""

    topic: str
    number: int
    path: Path
    topic_id: UUID | None


class Identity(NamedTuple):
    """meta.properties of one log directory; None for what it does not have."""

    cluster_id: str | None
    broker_id: int | None
    directory_id: UUID | None
    is_kraft: bool


def read_identity(log_dir: Path) -> Identity | None:
    """None without a meta.properties. Raises OSError, ValueError (an id that is no number)."""
    properties = read_properties(str(log_dir / "meta.properties"))
    if properties is None:
        return None
    broker_id = properties.get("node.id", properties.get("broker.id"))
    directory = properties.get("directory.id")
    return Identity(
        properties.get("cluster.id"),
        int(broker_id) if broker_id is not None else None,
        UUID(bytes=base64.urlsafe_b64decode(directory + "==")) if directory is not None else None,
        properties.get("version") == "1",
    )


def find_partitions(log_dir: Path) -> tuple[list[FoundPartition], list[str]]:
    """Partitions in a log directory, sorted, and the names of the folders that are none. Raises OSError."""
    found, others = [], []
    for path in sorted(log_dir.iterdir()):
        if not path.is_dir():
            continue
        partition = _partition_at(path)
        if partition is not None:
            found.append(partition)
        elif not path.name.startswith(f"{METADATA_TOPIC}-"):
            others.append(path.name)
    return found, others


def _partition_at(path: Path) -> FoundPartition | None:
    topic, _, digits = path.name.rpartition("-")
    if problem_of(topic) is not None or topic == METADATA_TOPIC:
        return None
    if not (digits.isascii() and digits.isdecimal()) or str(int(digits)) != digits or int(digits) > PARTITION_INDEX_MAX:
        return None
    if not any(_SEGMENT.fullmatch(entry.name) for entry in path.iterdir()):
        return None
    raw = read_topic_id(str(path))
    return FoundPartition(topic, int(digits), path, UUID(bytes=raw) if raw != NO_TOPIC_ID else None)


def latest_leader_epoch(folder: Path) -> int:
    """The last epoch of leader-epoch-checkpoint; 0 where it has none or cannot be read (it is rebuilt then)."""
    try:
        lines = (folder / "leader-epoch-checkpoint").read_text().split("\n")
        return max((int(line.split(" ")[0]) for line in lines[2:] if line), default=0)
    except (OSError, ValueError):
        return 0


def latest_producer_id(folder: Path) -> int:
    """The highest producer id in the newest producer snapshots of a partition; -1 where there is none."""
    highest = -1
    snapshots = sorted(path for path in folder.iterdir() if _SNAPSHOT.fullmatch(path.name))
    for path in snapshots[-SNAPSHOTS_READ_MAX:]:
        content = path.read_bytes()
        for position in range(_HEADER_BYTES, len(content) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
            highest = max(highest, int.from_bytes(content[position : position + 8], signed=True))
    return highest
