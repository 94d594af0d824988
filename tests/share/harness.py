"""A share partition over a real log and a share coordinator in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kafka_cy.coordinator.share.state_machine import SharePartition as PartitionKey
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import build_batch
from kafka_cy.share.acknowledgements import Acknowledgements
from kafka_cy.share.beginnings import Beginnings
from kafka_cy.share.in_flight_values import Acknowledgement, Acquired, Limits
from kafka_cy.share.share_partition import GroupSettings, SharePartition, Wanted
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog
from tests.coordinator.share_state import TOPIC_ID, ShareHarness

KEY = PartitionKey("g", TOPIC_ID, 0)
LIMITS = Limits(delivery_count=5, records_in_flight=2000, lock_s=30.0)
WANTED = Wanted(bytes_max=1 << 20, records_max=500, batch_size=500, strict=False)


class Bench:
    """The share partition with its surroundings."""

    def __init__(self, folder: Path, *, committed: bool = False) -> None:
        folder.mkdir()
        self.states = ShareHarness()
        self.hosted = HostedPartition(PartitionLog(str(folder)), "st", TOPIC_ID.bytes, 0)
        self.settings = GroupSettings(LIMITS, committed, lambda hosted: int(hosted.log_start_offset))
        self.changes: list[SharePartition] = []
        self.lines: list[str] = []
        self.states.initialize(KEY, 2)
        self.partition = self.new()

    def new(self) -> SharePartition:
        """The partition after a restart of the broker."""
        loop = self.states.loop
        beginnings = Beginnings(loop, lambda what, **details: self.lines.append(details["error"]))
        return SharePartition(
            KEY, self.hosted, self.states.coordinator, loop, lambda: self.settings, self.changes.append, beginnings=beginnings
        )

    def ready(self) -> ErrorCode:
        found: list[ErrorCode] = []
        self.partition.when_ready(found.append)
        return found[0]

    def append(self, count: int, **options: Any) -> None:
        self.hosted.append(build_batch([(None, b"v", 1, (), -1)] * count, **options))

    def fetch(self, member: str = "m", **changes: Any) -> list[Acquired]:
        self.delivered = self.partition.fetch(member, WANTED._replace(**changes))
        return self.delivered.acquired

    def settle(self, first: int, last: int, kind: int, member: str = "m") -> ErrorCode:
        found: list[ErrorCode] = []
        self.partition.acknowledge(member, Acknowledgements([Acknowledgement(first, last, [kind])]), found.append)
        return found[0]
