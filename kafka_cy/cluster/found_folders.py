"""Reads what another broker left in a log directory: its identity, and facts about its partitions."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from kafka_cy.storage.checkpoints import read_properties

SNAPSHOTS_READ_MAX: Final = 2  # the newest producer snapshots of each partition
_SNAPSHOT = re.compile(r"\d{20}\.snapshot")
_ENTRY_BYTES, _HEADER_BYTES = 46, 10  # in a producer snapshot (ProducerStateManager)


class Identity(NamedTuple):
    """The meta.properties of one log directory; missing entries are None."""

    cluster_id: str | None
    broker_id: int | None
    directory_id: UUID | None
    is_kraft: bool


def read_identity(log_dir: Path) -> Identity | None:
    """The identity, or None without a meta.properties. Raises OSError, ValueError (an id that is not a number)."""
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


def latest_leader_epoch(folder: str) -> int:
    """The last epoch in leader-epoch-checkpoint; 0 if it has none or cannot be read (it is then rebuilt)."""
    try:
        lines = Path(folder, "leader-epoch-checkpoint").read_text().split("\n")
        return max((int(line.split(" ")[0]) for line in lines[2:] if line), default=0)
    except (OSError, ValueError):
        return 0


def latest_producer_id(folder: str) -> int:
    """The highest producer id in the newest producer snapshots of a partition; -1 if there is none."""
    highest = -1
    snapshots = sorted(path for path in Path(folder).iterdir() if _SNAPSHOT.fullmatch(path.name))
    for path in snapshots[-SNAPSHOTS_READ_MAX:]:
        content = path.read_bytes()
        for position in range(_HEADER_BYTES, len(content) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
            highest = max(highest, int.from_bytes(content[position : position + 8], signed=True))
    return highest
