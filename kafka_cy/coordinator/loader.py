"""Replays a partition of `__consumer_offsets` into groups, in slices, so that loading holds up nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.records import (
    BadRecord,
    GroupKey,
    OffsetKey,
    read_group_value,
    read_key,
    read_offset_value,
)

SLICE_S = 0.02
READ_BYTES = 1 << 16

Pair = tuple[bytes | None, bytes | None]


class Replay:
    """Turns records, oldest first, into groups. A compacted log may begin with tombstones of what it never showed."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}
        self.skipped = 0  # records of other kinds of groups, or unreadable
        self._recorded: set[str] = set()  # groups that have a group record
        self._open: dict[int, list[Pair]] = {}  # offsets of open transactions, by producer id

    def apply_batch(self, batch: Any) -> None:
        pairs = [(record.key, record.value) for record in batch.records()]
        if batch.is_control:
            # Key: int16 version, int16 type (0 abort, 1 commit).
            pending = self._open.pop(batch.producer_id, [])
            committed = bool(pairs) and pairs[0][0] is not None and pairs[0][0][2:4] == b"\x00\x01"
            pairs = pending if committed else []
        elif batch.is_transactional:
            self._open.setdefault(batch.producer_id, []).extend(pairs)
            return
        self.apply(pairs)

    def apply(self, pairs: Iterable[Pair]) -> None:
        for key, value in pairs:
            try:
                if key is not None:
                    self._apply_one(key, value)
            except BadRecord:
                self.skipped += 1

    def _apply_one(self, key_bytes: bytes, value: bytes | None) -> None:
        key = read_key(key_bytes)
        if isinstance(key, OffsetKey):
            if value is not None:
                committed = read_offset_value(value)
                self._group(key.group_id).offsets.setdefault(key.topic, {})[key.partition] = committed
                return
            known = self.groups.get(key.group_id)
            partitions = known.offsets.get(key.topic) if known is not None else None
            if known is not None and partitions is not None:
                partitions.pop(key.partition, None)
                if not partitions:
                    del known.offsets[key.topic]
        elif isinstance(key, GroupKey):
            if value is not None:
                self._group(key.group_id).restore(read_group_value(value))
                self._recorded.add(key.group_id)
            else:
                self._recorded.discard(key.group_id)
                gone = self.groups.pop(key.group_id, None)
                if gone is not None and gone.offsets:
                    self._group(key.group_id).offsets = gone.offsets
        else:
            self.skipped += 1

    def _group(self, group_id: str) -> Group:
        group = self.groups.get(group_id)
        if group is None:
            group = self.groups[group_id] = Group(group_id)
        return group

    def finish(self, now_s: float) -> dict[str, Group]:
        """The groups that exist: those with a group record or an offset. The sessions of their members begin now."""
        for group in self.groups.values():
            for member in group.members.values():
                member.last_heartbeat_s = now_s
        return {name: group for name, group in self.groups.items() if name in self._recorded or group.offsets}


class PartitionLoader:
    """Reads a HostedPartition up to its high watermark, then calls `done(replay)`, or `failed(error)`."""

    def __init__(
        self, hosted: Any, loop: Any, done: Callable[[Replay], None], failed: Callable[[Exception], None]
    ) -> None:
        self.hosted = hosted
        self.loop = loop
        self.done = done
        self.failed = failed
        self.offset: int = hosted.log_start_offset
        self.replay = Replay()
        self.cancelled = False

    def run(self) -> None:
        """Work for one slice; goes on by a timer when there is more."""
        from kafka_cy.records import InvalidBatch, iterate_batches
        from kafka_cy.storage.log import StorageFailure

        deadline = time.monotonic() + SLICE_S
        while not self.cancelled:
            if self.offset >= self.hosted.high_watermark:
                return self.done(self.replay)
            before = self.offset
            try:
                self._replay(iterate_batches(self.hosted.read(self.offset, READ_BYTES)))
            except (StorageFailure, InvalidBatch) as error:
                return self.failed(error)
            if self.offset == before:
                return self.done(self.replay)
            if time.monotonic() >= deadline:
                self.loop.call_later(0, self.run)
                return

    def _replay(self, batches: Iterable[Any]) -> None:
        for batch in batches:
            if batch.last_offset >= self.offset:
                self.replay.apply_batch(batch)
                self.offset = batch.last_offset + 1
