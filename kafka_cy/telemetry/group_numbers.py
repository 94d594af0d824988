"""What the coordinators of groups tell telemetry. The start path imports this module, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

NONE: Mapping[str, int] = MappingProxyType({})


class GroupNumbers(NamedTuple):
    """Counts of the group coordinator since the start: rebalances by kind of group, and offsets. What it holds now."""

    rebalances: Mapping[str, int] = NONE
    commits: int = 0
    expirations: int = 0
    deletions: int = 0
    open_groups: int = 0  # groups with a door: reactors store their commits or respond to their heartbeats
    group_bytes: int = 0
    offset_bytes: int = 0
    refused: Mapping[str, int] = NONE  # requests, by what was full: "groups", "offsets", "pending"


class ShareGroupNumbers(NamedTuple):
    """Of one share group's share partitions on this broker. Sequences: by bucket of base/histogram, since the first of them."""

    records: int = 0  # between the first that is not finished and the last that was delivered
    ranges: int = 0  # of these records
    full_looks: int = 0  # of fetches, into share partitions with as many locked records as they may have
    range_records: Sequence[int] = ()  # how many records a range had when it was made
    fetch_percent: Sequence[int] = ()  # share partitions of which a fetch could lock records, of all that it asked for
    acquire_ns: Sequence[int] = ()  # how long a fetch waited until it could lock records


NO_GROUPS: Mapping[str, ShareGroupNumbers] = MappingProxyType({})


class ShareNumbers(NamedTuple):
    """Counts of share groups' records since the start, and what is in flight now."""

    acknowledged: Mapping[str, int] = NONE  # records by Kafka's AcknowledgeType
    lock_timeouts: int = 0  # records whose lock expired
    failed_writes: int = 0  # of the state of a share partition
    refused: int = 0  # looks for records that got none, because too many ranges are in flight
    ranges: int = 0
    writes: int = 0  # of states, by the share coordinator
    write_ms: tuple[float, float] = (0.0, 0.0)  # how long they took until they were stored: mean and maximum of the last 30 seconds
    # By bucket of base/histogram, since the start:
    load_ns: Sequence[int] = ()  # how long it took to read the state of a share partition
    look_ns: Sequence[int] = ()  # how long fetches looked for records in a share partition
    look_percent: Sequence[int] = ()  # that time, of the time since the end of the look before
    groups: Mapping[str, ShareGroupNumbers] = NO_GROUPS  # up to a limit (GroupSeries)
