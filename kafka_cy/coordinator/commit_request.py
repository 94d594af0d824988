"""OffsetCommit and TxnOffsetCommit as the coordinator sees them, whatever their version."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import NamedTuple


class CommitPartition(NamedTuple):
    """The offset of one partition, which exists."""

    topic: str
    topic_id: uuid.UUID | None
    partition: int
    offset: int
    leader_epoch: int
    metadata: str | None


class CommitRequest(NamedTuple):
    """`generation` is the member epoch in a consumer or streams group.

    `retention_ms` is -1 unless OffsetCommit v2-4 gave one. `knows_unknown_groups` is OffsetCommit v9 on, which also knows
    member epochs (KIP-848). `is_transactional` is TxnOffsetCommit. `topic_ids`: the topics' ids when their partitions were found.
    """

    group_id: str
    generation: int
    member_id: str
    instance_id: str | None
    retention_ms: int
    knows_unknown_groups: bool
    partitions: list[CommitPartition]
    is_transactional: bool = False
    topic_ids: Mapping[str, uuid.UUID] = {}
