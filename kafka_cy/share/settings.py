"""The settings of share groups: those of the broker, and those of a group (its `share.*` keys)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kafka_cy.coordinator.modern.settings import OwnSettings
from kafka_cy.share.in_flight_values import Limits
from kafka_cy.share.share_partition import GroupSettings

# A duration as Java reads it, PnDTnHnMn.nS.
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.IGNORECASE)
_UNITS_S = (86400, 3600, 60, 1)


class ShareSettings:
    """Read at each use, because most are dynamic. Owner: the coordinator's thread."""

    def __init__(self, config: Mapping[str, Any], cluster: Any, loop: Any) -> None:
        self._own = OwnSettings("share", "group.share.min.", "group.share.max.", config, cluster)
        self._cluster = cluster
        self._loop = loop

    def of_group(self, group_id: str) -> GroupSettings:
        """What the share partitions of a group go by."""
        own = self._cluster.find_config("groups", group_id) or {}
        reset = own.get("share.auto.offset.reset", "latest")
        return GroupSettings(
            Limits(
                self._own.number(group_id, "delivery.count.limit"),
                self._own.number(group_id, "partition.max.record.locks"),
                self._own.number(group_id, "record.lock.duration.ms") / 1000,
            ),
            own.get("share.isolation.level", "read_uncommitted").lower() == "read_committed",
            partial(self._first_offset, reset.lower()),
            own.get("share.renew.acknowledge.enable", "true").lower() == "true",
        )

    def lock_ms(self, group_id: str) -> int:
        """How long members of the group lock records."""
        return self._own.number(group_id, "record.lock.duration.ms")

    def _first_offset(self, reset: str, hosted: Any) -> int | Callable[[], int]:
        """Where a group begins to read a partition. A time is looked up in the log."""
        if reset == "earliest":
            return int(hosted.log_start_offset)
        if reset.startswith("by_duration:"):
            since_ms = self._loop.wall_clock_ms() - duration_ms(reset.removeprefix("by_duration:"))
            return partial(_offset_since, hosted, hosted.log, max(0, since_ms))
        return int(hosted.high_watermark)


def _offset_since(hosted: Any, log: Any, since_ms: int) -> int:
    """The first record at or after the time, or the next one that comes. Any thread."""
    found = log.offset_for_timestamp(since_ms)
    return int(hosted.high_watermark if found is None else found[0])


def duration_ms(text: str) -> int:
    """Milliseconds of an ISO 8601 duration in days and below. Raises ValueError."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        raise ValueError(f"{text} is not a duration")
    return round(1000 * sum(float(each or 0) * unit for each, unit in zip(found.groups(), _UNITS_S, strict=True)))
