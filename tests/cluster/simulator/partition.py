"""A hosted partition, as replica_manager knows it, over a simulated log. The leader's rules are the broker's own.

It follows storage/partition_leader and storage/partition_follower line by line, without their mutexes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage.hosted_partition import STATE_DELETED, STATE_FOLLOWER, STATE_OFFLINE, STATE_ONLINE
from kafka_cy.storage.leader_replicas_probe import LeaderReplicasProbe
from kafka_cy.storage.log_failure import StorageFailure
from tests.cluster.simulator.log import OFFLINE, Record, SimulatedLog
from tests.cluster.simulator.process import Process
from tests.cluster.simulator.rules import Rules

LAG_MS = 3_000
JOINABLE_FETCH_AGE_MAX_MS = 1_000  # as in partition_leader
RECORDS_PER_FETCH = 5
UNKNOWN = -1


class AskedPartition(NamedTuple):
    """A partition of a follower's Fetch. `last_epoch` -1: none, or the version does not have it."""

    key: tuple[str, int]
    leader_epoch: int
    offset: int
    last_epoch: int
    broker_epoch: int


class FetchedPartition(NamedTuple):
    """The leader's answer."""

    error: int
    records: tuple[Record, ...] = ()
    high_watermark: int = UNKNOWN
    start: int = UNKNOWN
    diverging: tuple[int, int] | None = None  # epoch, its end offset


class SimulatedPartition:
    """`process` has the clock. `live` are the brokers that it believes to be alive."""

    def __init__(
        self,
        key: tuple[str, int],
        broker_id: int,
        log: SimulatedLog,
        rules: Rules,
        min_isr: int,
        process: Process,
        live: Collection[int],
    ) -> None:
        self.key = key
        self.topic, self.index = key
        self.broker_id = broker_id
        self.log = log
        self.topic_id = log.topic_id
        self.rules = rules
        self.min_isr = min_isr
        self.state = STATE_FOLLOWER
        self.leader_epoch = -1
        self.high_watermark = log.stored_high_watermark
        self.isr: frozenset[int] = frozenset()  # that is stored, of a leader
        self.joining: int | None = None
        self.is_retired = False
        self.assigned: tuple[int, ...] = ()
        self._process = process
        self._probe = LeaderReplicasProbe(LAG_MS, min_isr)
        self._live: Collection[int] = live
        self._probe.set_alive(live)
        self._broker_epochs: dict[int, int] = {}  # of the last fetches
        self._fetched_ms: dict[int, int] = {}

    # -- what is asked of a HostedPartition --

    @property
    def log_end_offset(self) -> int:
        return self.log.end

    @property
    def is_leader(self) -> bool:
        return self.state == STATE_ONLINE

    @property
    def maximal_isr(self) -> frozenset[int]:
        return self.isr if self.joining is None else self.isr | {self.joining}

    def lead(
        self,
        leader_epoch: int,
        replicas: Sequence[int],
        isr: Collection[int],
        broker_id: int,
        *,
        proposed: bool = False,
        joining: int | None = None,
    ) -> None:
        self._check_role()
        self.log.begin_epoch(leader_epoch)
        anew = self.state != STATE_ONLINE or leader_epoch > self.leader_epoch + 1
        is_new_epoch = leader_epoch != self.leader_epoch
        self._assign(replicas, isr)
        if proposed and self._probe.propose(joining):
            self.joining = joining
        if anew or is_new_epoch:
            self._probe.lead(self.log.end, self._now(), anew)
            if anew:
                self._broker_epochs.clear()
        self.leader_epoch, self.state = leader_epoch, STATE_ONLINE
        self._changed()
        self._advance()

    def follow(self, leader_epoch: int) -> None:
        self._check_role()
        self._probe.resign()
        self.isr, self.joining = frozenset(), None
        self.leader_epoch, self.state = leader_epoch, STATE_FOLLOWER
        self._changed()

    def _check_role(self) -> None:
        """partition_role_error"""
        assert self.state != STATE_DELETED
        if self.state == STATE_OFFLINE:
            raise StorageFailure("the log directory is offline", OFFLINE)

    def retire(self, state: str) -> None:
        """It serves nobody any more."""
        if state == "deleted":
            self.state = STATE_DELETED
        elif self.rules.offline_partitions_stop:
            self.state = STATE_OFFLINE
        self.is_retired = True
        self._changed()

    def set_throttled(self, leader: bool, follower: bool) -> None:
        """Nothing is throttled."""

    def set_adding(self, replicas: Sequence[int], broker_id: int) -> None:
        """Only for metrics."""

    def set_replicas(self, replicas: Sequence[int], isr: Collection[int], broker_id: int) -> None:
        self._assign(replicas, isr)
        self._advance()

    def propose_isr(self, leader_epoch: int, joining: int | None = None) -> bool:
        done = self.is_leader and self.leader_epoch == leader_epoch and self._probe.propose(joining)
        if done:
            self.joining = joining
            self._changed()
        return done

    def withdraw_isr(self, leader_epoch: int) -> None:
        if self.leader_epoch == leader_epoch:
            self._probe.withdraw()
            self.joining = None
            self._changed()
            self._advance()

    def joinable(self) -> list[tuple[int, int]]:
        since_ms = self._now() - JOINABLE_FETCH_AGE_MAX_MS
        fetched = [each for each in self._others() if self._fetched_ms.get(each, -1) >= since_ms]
        found = [each for each in fetched if self.is_leader and self._may_join(each)]
        return [(each, self._broker_epochs.get(each, -1)) for each in found]

    def lagging(self) -> list[int]:
        self._advance()
        return self._probe.lagging(self.log.end, self._now()) if self.is_leader and self._others() else []

    # -- the rules --

    def set_alive(self, broker_ids: Collection[int]) -> None:
        self._live = broker_ids
        self._probe.set_alive(broker_ids)

    def _changed(self) -> None:
        self._process.simulation.changes += 1

    def _now(self) -> int:
        return int(self._process.clock_ms())

    def _others(self) -> list[int]:
        return [each for each in self.assigned if each != self.broker_id]

    def _assign(self, replicas: Sequence[int], isr: Collection[int]) -> None:
        self.assigned = tuple(replicas)
        self._probe.assign(self._others(), [each for each in isr if each != self.broker_id])
        self.isr, self.joining = frozenset(isr), None
        self._changed()

    def _may_join(self, broker_id: int) -> bool:
        if self.rules.expansion_waits_for_epoch_start:
            return self._probe.may_join(broker_id, self.high_watermark)
        return broker_id not in self.maximal_isr and self.joining is None

    def _advance(self) -> None:
        offset = self.log.end
        if self._others():
            offset = self._probe.high_watermark(offset, self.log.end, self._now())
            if not self.rules.high_watermark_over_maximal_isr and self.joining is not None:
                offset = self._watermark_over_stored_isr()
        if offset > self.high_watermark and self.is_leader:
            self.high_watermark = offset
            self._changed()

    def _watermark_over_stored_isr(self) -> int:
        """Broken: neither the joining replica counts, nor one that is caught up."""
        self._probe.withdraw()
        self._probe.set_alive(())
        offset = self._probe.high_watermark(self.log.end, self.log.end, self._now())
        self._probe.set_alive(self._live)
        self._probe.propose(self.joining)
        return offset

    # -- the leader's side of requests --

    def check_leader(self, leader_epoch: int) -> int:
        """partition_check_leader"""
        if self.state == STATE_OFFLINE:
            return int(ErrorCode.KAFKA_STORAGE_ERROR)
        if leader_epoch != self.leader_epoch:
            return int(ErrorCode.FENCED_LEADER_EPOCH if leader_epoch < self.leader_epoch else ErrorCode.UNKNOWN_LEADER_EPOCH)
        if not self.is_leader:
            return int(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return int(ErrorCode.KAFKA_STORAGE_ERROR) if self.log.offline and self.rules.offline_partitions_stop else 0

    def append(self, value: int) -> bool:
        """A client's record with acks=all. False: it is refused."""
        if not self.is_leader or len(self.isr) < min(self.min_isr, len(self.assigned)):
            return False
        try:
            self.log.append((self.leader_epoch, value))
        except StorageFailure:
            return False
        self._advance()
        return True

    def serve(self, broker_id: int, asked: AskedPartition) -> tuple[FetchedPartition, bool]:
        """A follower's fetch (api/fetch), and whether the follower may join the ISR."""
        error = self.check_leader(asked.leader_epoch)
        if not error and broker_id not in self._others():
            error = int(ErrorCode.UNKNOWN_LEADER_EPOCH)
        if not error and asked.offset < self.log.start:
            error = int(ErrorCode.OFFSET_OUT_OF_RANGE)
        if error:
            return FetchedPartition(error), False
        if asked.last_epoch >= 0 and self.rules.truncate_by_epoch:
            epoch, end = self.log.end_offset_for_epoch(asked.last_epoch)
            if epoch < 0 or end < 0:
                return FetchedPartition(int(ErrorCode.OFFSET_OUT_OF_RANGE)), False
            if epoch < asked.last_epoch or end < asked.offset:
                return FetchedPartition(0, (), self.high_watermark, self.log.start, (epoch, end)), False
        if asked.offset > self.log.end:
            return FetchedPartition(int(ErrorCode.OFFSET_OUT_OF_RANGE)), False
        if self.rules.joins_with_broker_epoch:
            self._broker_epochs[broker_id] = asked.broker_epoch
        self._fetched_ms[broker_id] = self._now()
        self._probe.fetched(broker_id, asked.offset, self.log.end, self._now())
        self._advance()
        first = asked.offset - self.log.start
        records = tuple(self.log.records[first : first + RECORDS_PER_FETCH])
        return FetchedPartition(0, records, self.high_watermark, self.log.start), self._may_join(broker_id)

    # -- following --

    def append_received(self, leader_epoch: int, offset: int, fetched: FetchedPartition) -> str:
        """What a fetcher has got: "", "not leader", "offline", or "out of range" (partition_append_received)."""
        if self.state != STATE_FOLLOWER or self.leader_epoch != leader_epoch:
            return "not leader"
        if fetched.records and offset != self.log.end:
            return "out of range"
        try:
            for record in fetched.records:
                self.log.append(record)
        except StorageFailure:
            return "offline"
        high_watermark = max(min(fetched.high_watermark, self.log.end), self.log.start)
        if self.high_watermark != high_watermark:
            self.high_watermark = high_watermark
            self._changed()
        if self.log.start < min(fetched.start, high_watermark):
            self._raise_start(min(fetched.start, high_watermark))
        return ""

    def _raise_start(self, offset: int) -> None:
        with suppress(StorageFailure):
            self.log.raise_start(offset)

    def truncate_to(self, offset: int) -> None:
        self.high_watermark = min(self.high_watermark, offset)
        self.log.truncate(offset)

    def truncate_fully(self, offset: int) -> None:
        self.log.begin_at(offset)
        self.high_watermark = offset

    def delete_records(self, offset: int) -> None:
        """DeleteRecords at the leader."""
        if self.is_leader:
            self._raise_start(min(offset, self.high_watermark))
