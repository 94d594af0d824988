"""Lag of every consumer group and share group: in messages, and exactly in time.

A share group has no committed offsets: its lag is what is neither acknowledged nor given up, from its start offset on.
It is read in this process: committed offsets from the group coordinator's dictionaries (copied in one bytecode each, so
the control thread is not stopped), high watermarks from the partitions, and the time of the first uncommitted record from
the log itself (`kafka_cy.storage.record_times`), remembered by partition and committed offset. A member of a cluster adds
what the other brokers answer (`kafka_cy.server.member_lag_view`).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from kafka_cy.storage.hosted_partition import STATE_ONLINE

# Time that one scrape may spend on reading timestamps; later scrapes read the rest.
LOOK_UPS_BUDGET_S = 0.1
LOOK_UPS_AT_ONCE = 1024
# A remembered timestamp is read again after this time: compaction may have removed the record.
REMEMBERED_S = 60.0
# Clients' names may be longer: groups with longer ids are omitted and counted, other names are truncated.
GROUP_ID_CHARS_MAX = 1024
NAME_CHARS_MAX = 256

PartitionKey = tuple[str, int]


class Times(Protocol):
    """Finds timestamps: `kafka_cy.storage.record_times.RecordTimes`."""

    def find(self, wanted: Iterable[tuple[Any, int]], budget_s: float) -> list[int | None]: ...


class BrokerAddress(NamedTuple):
    """One broker, with the address of its first client listener."""

    broker_id: int
    host: str
    port: int
    rack: str


class Consumer(NamedTuple):
    """A member of a group."""

    member_id: str
    client_id: str
    host: str
    partitions: tuple[PartitionKey, ...]


class Committed(NamedTuple):
    """A committed offset and its lag; None: unknown (its leader did not answer, or the timestamp is not read yet)."""

    topic: str
    partition: int
    offset: int
    lag: int | None
    lag_ms: int | None
    consumer: Consumer | None  # the member that the partition is assigned to


class GroupLag(NamedTuple):
    """One group; `committed` is sorted by topic."""

    group_id: str
    state: str
    protocol: str
    protocol_type: str
    coordinator_id: int
    consumers: tuple[Consumer, ...]
    committed: list[Committed]


class TopicPartitions(NamedTuple):
    """A topic's partitions as parallel columns (ten thousand objects would cost more than their contents).

    Offsets are None if this broker does not know them; `size_bytes` is the size of the logs on this broker.
    """

    indexes: list[int]
    leaders: list[int]
    replicas: list[Sequence[int]]
    isrs: list[Sequence[int]]
    start_offsets: list[int | None]
    high_watermarks: list[int | None]
    size_bytes: int


class Snapshot(NamedTuple):
    """The data of one scrape. `pending`: time lags not read within the budget; `left_out`: groups with too long ids, or too many.

    `silent_brokers`: live brokers that did not answer, so that their groups are missing.
    """

    cluster_id: str
    controller_id: int
    brokers: list[BrokerAddress]
    topics: dict[str, TopicPartitions]
    cleanup_policies: dict[str, str]
    groups: list[GroupLag]
    pending: int
    left_out: int
    silent_brokers: int
    took_ms: float


class ShareOffset(NamedTuple):
    """Where a share group is in a partition. `finished`: records after the start offset that are acknowledged or given up."""

    topic_id: Any
    partition: int
    start_offset: int
    finished: int


class ClusterView(Protocol):
    """The part of the cluster that lag needs; each call is safe from any thread."""

    @property
    def cluster_id(self) -> str: ...
    @property
    def controller_id(self) -> int: ...
    @property
    def left_out(self) -> int: ...
    @property
    def silent_brokers(self) -> int: ...

    def refresh(self) -> None: ...
    def coordinator_id(self, group: Any) -> int: ...
    def times(self) -> Times: ...
    def brokers(self) -> list[BrokerAddress]: ...
    def topics(self) -> list[Any]: ...
    def cleanup_policy(self, topic: Any) -> str: ...
    def hosted(self) -> Mapping[PartitionKey, Any]: ...
    def groups(self) -> list[Any]: ...
    def share_offsets(self) -> Mapping[str, Sequence[ShareOffset]]: ...


class _GroupCopy(NamedTuple):
    """What is read of a group: (topic, partition, offset) rows, and how many records after the offset are finished."""

    group: Any
    consumers: tuple[Consumer, ...]
    offsets: list[tuple[str, int, int]]
    finished: Mapping[PartitionKey, int]


class LagCollector:
    """Owner: the thread that serves scrapes."""

    def __init__(
        self, view: ClusterView, times: Times, *, budget_s: float = LOOK_UPS_BUDGET_S,
        wall_clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:  # fmt: skip
        self._view = view
        self._times = times
        self._budget_s = budget_s
        self._wall_clock_ms = wall_clock_ms
        # (topic id, partition, offset of the record) -> (its timestamp, when it was read); only what the last scrape used
        self._remembered: dict[tuple[Any, int, int], tuple[int, float]] = {}
        self._assignments: dict[bytes, tuple[PartitionKey, ...]] = {}

    def collect(self) -> Snapshot:
        """Take one snapshot of all groups and topics."""
        begun = time.perf_counter()
        self._view.refresh()
        hosted = {key: part for key, part in dict(self._view.hosted()).items() if part.state == STATE_ONLINE}
        topics = self._view.topics()
        ids = {topic.name: topic.id for topic in topics}
        all_groups = self._view.groups()
        shown = [group for group in all_groups if len(group.group_id) <= GROUP_ID_CHARS_MAX]
        copies = self._copy_groups(shown, ids)
        times, pending = self._first_uncommitted(copies, hosted, ids)
        now_ms = self._wall_clock_ms()
        groups = [self._group(copy, hosted, times, now_ms) for copy in copies]
        return Snapshot(
            cluster_id=self._view.cluster_id,
            controller_id=self._view.controller_id,
            brokers=self._view.brokers(),
            topics={topic.name: _partitions_of(topic, hosted) for topic in topics},
            cleanup_policies={topic.name: self._view.cleanup_policy(topic) for topic in topics},
            groups=groups,
            pending=pending,
            left_out=len(all_groups) - len(shown) + self._view.left_out,
            silent_brokers=self._view.silent_brokers,
            took_ms=(time.perf_counter() - begun) * 1000,
        )

    # -- groups --

    def _copy_groups(self, groups: list[Any], topics: Mapping[str, Any]) -> list[_GroupCopy]:
        """Topics that do not exist are omitted, because clients can name any topic."""
        assignments: dict[bytes, tuple[PartitionKey, ...]] = {}
        names = {topic_id: name for name, topic_id in topics.items()}
        share_offsets = self._view.share_offsets()
        copies = []
        for group in groups:
            consumers = []
            for member in group.lag_members():
                data = member.assignment
                if isinstance(data, bytes):
                    parsed = self._assignments.get(data)
                    assignments[data] = assigned_partitions(data) if parsed is None else parsed
                    partitions = tuple(key for key in assignments[data] if key[0] in topics)
                else:
                    known = ((topic if topic in topics else names.get(topic), each) for topic, each in data.items())
                    partitions = tuple((name, index) for name, each in known if name is not None for index in each)
                member_id, client_id = member.member_id[:NAME_CHARS_MAX], member.client_id[:NAME_CHARS_MAX]
                consumers.append(Consumer(member_id, client_id, member.client_host, partitions))
            offsets = [
                (topic, index, offset)
                for topic in sorted(group.offsets)
                if topic in topics
                for index, offset in group.offsets.positions(topic)
            ]
            finished: dict[PartitionKey, int] = {}
            for each in share_offsets.get(group.group_id, ()):
                if each.topic_id in names:
                    offsets.append((names[each.topic_id], each.partition, each.start_offset))
                    finished[names[each.topic_id], each.partition] = each.finished
            copies.append(_GroupCopy(group, tuple(consumers), offsets, finished))
        self._assignments = assignments
        return copies

    def _group(
        self, copy: _GroupCopy, hosted: Mapping[PartitionKey, Any], times: Mapping[tuple[str, int, int], int], now_ms: int
    ) -> GroupLag:
        group, consumers, offsets, finished = copy
        owners = {key: consumer for consumer in consumers for key in consumer.partitions}
        committed = []
        for topic, index, offset in offsets:
            partition = hosted.get((topic, index))
            lag: int | None = None
            lag_ms: int | None = None
            if partition is not None:
                lag = max(0, partition.high_watermark - offset - finished.get((topic, index), 0))
                timestamp_ms = times.get((topic, index, offset))
                if lag == 0 or timestamp_ms == -1:
                    lag_ms = 0  # -1: only control records are left
                elif timestamp_ms is not None:
                    lag_ms = max(0, now_ms - timestamp_ms)
            committed.append(Committed(topic, index, offset, lag, lag_ms, owners.get((topic, index))))
        return GroupLag(
            group.group_id, group.state_name, group.protocol_name[:NAME_CHARS_MAX],
            group.protocol_type_name[:NAME_CHARS_MAX], self._view.coordinator_id(group), consumers, committed,
        )  # fmt: skip

    # -- time --

    def _first_uncommitted(
        self, copies: list[_GroupCopy], hosted: Mapping[PartitionKey, Any], ids: Mapping[str, Any]
    ) -> tuple[dict[tuple[str, int, int], int], int]:
        """(timestamps by (topic, partition, committed offset), how many could not be read in time)."""
        now_s = time.monotonic()
        remembered: dict[tuple[Any, int, int], tuple[int, float]] = {}
        places: dict[tuple[str, int, int], tuple[Any, int, int]] = {}
        wanted: dict[tuple[Any, int, int], Any] = {}
        for copy in copies:
            for row in copy.offsets:
                topic, index, offset = row
                partition = hosted.get((topic, index))
                if partition is None or row in places or offset >= partition.high_watermark:
                    continue
                place = (ids.get(topic), index, max(offset, partition.log_start_offset))
                places[row] = place
                known = self._remembered.get(place)
                if known is not None:
                    remembered[place] = known
                if known is None or now_s - known[1] > REMEMBERED_S:
                    wanted[place] = partition
        pending = self._read(wanted, remembered, now_s)
        self._remembered = remembered
        return {row: remembered[place][0] for row, place in places.items() if place in remembered}, pending

    def _read(
        self, wanted: Mapping[tuple[Any, int, int], Any], remembered: dict[tuple[Any, int, int], tuple[int, float]],
        now_s: float,
    ) -> int:  # fmt: skip
        """Read timestamps into `remembered` while the budget lasts; returns how many are left."""
        places = sorted(wanted, key=lambda place: place in remembered)  # unknown ones come first
        until = time.monotonic() + self._budget_s
        for first in range(0, len(places), LOOK_UPS_AT_ONCE):
            some = places[first : first + LOOK_UPS_AT_ONCE]
            left_s = until - time.monotonic()
            found = self._times.find([(wanted[place], place[2]) for place in some], left_s) if left_s > 0 else []
            for place, timestamp_ms in zip(some, found, strict=False):
                if timestamp_ms is not None:
                    remembered[place] = (timestamp_ms, now_s)
        return sum(1 for place in places if place not in remembered)


def _partitions_of(topic: Any, hosted: Mapping[PartitionKey, Any]) -> TopicPartitions:
    known = list(topic.partitions)
    here = [hosted.get((topic.name, each.index)) for each in known]
    return TopicPartitions(
        indexes=[each.index for each in known],
        leaders=[each.leader for each in known],
        replicas=[each.replicas for each in known],
        isrs=[each.isr for each in known],
        start_offsets=[None if part is None else part.log_start_offset for part in here],
        high_watermarks=[None if part is None else part.high_watermark for part in here],
        size_bytes=sum(part.log.size_bytes for part in here if part is not None and part.log is not None),
    )


def assigned_partitions(assignment: bytes) -> tuple[PartitionKey, ...]:
    """The partitions of a ConsumerProtocol assignment (int16 version, topics with partitions, ...); empty if invalid.

    Other kinds of groups (Kafka Connect) store their own format there.
    """
    found: list[PartitionKey] = []
    try:
        version, topics = struct.unpack_from(">hi", assignment)
        position = 6
        if version < 0:
            return ()
        for _ in range(topics):
            (size,) = struct.unpack_from(">h", assignment, position)
            name = assignment[position + 2 : position + 2 + size].decode()
            position += 2 + size
            (count,) = struct.unpack_from(">i", assignment, position)
            if size < 0 or not 0 <= count <= (len(assignment) - position) // 4:
                return ()
            found += [(name, index) for index in struct.unpack_from(f">{count}i", assignment, position + 4)]
            position += 4 + 4 * count
    except (struct.error, UnicodeDecodeError):
        return ()
    return tuple(found)
