"""The data plane of the simulator: fetchers without threads, over the simulated network. See replication/data_plane."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.replication.fetcher_events import FetcherEvent
from kafka_cy.replication.fetchers import Endpoint
from kafka_cy.replication.follower_decisions import Answer, Question
from tests.cluster.simulator.log import OFFLINE
from tests.cluster.simulator.partition import AskedPartition, FetchedPartition, SimulatedPartition

if TYPE_CHECKING:
    from tests.cluster.simulator.broker import SimulatedBroker

Key = tuple[str, int]
ROUND_MS = 40.0
BACKOFF_MS = 200.0


class Followed:
    """A partition of a fetcher, as followed.pyx has it."""

    def __init__(self, partition: SimulatedPartition, leader_epoch: int) -> None:
        self.partition = partition
        self.leader_epoch = leader_epoch
        self.offset = partition.log_end_offset
        self.last_epoch = partition.log.latest_epoch
        self.held = False
        self.due_ms = 0.0


class SimulatedFetcher:
    """One request at a time; commands are obeyed between two (fetcher.pyx)."""

    def __init__(self, plane: SimulatedDataPlane, leader: int, number: int) -> None:
        self._plane, self._leader, self._number = plane, leader, number
        self._table: dict[Key, Followed] = {}
        self._commands: list[tuple[bool, SimulatedPartition, int]] = []
        self._stopped = False
        self._broker_epoch = -1
        plane.later(0.1, self._round)

    # -- what is asked of a ReplicaFetcher --

    def stop(self) -> None:
        self._stopped = True

    def follow(self, partition: SimulatedPartition, leader_epoch: int) -> None:
        self._commands.append((True, partition, leader_epoch))

    def leave(self, partition: SimulatedPartition) -> None:
        self._commands.append((False, partition, -1))

    def set_broker_epoch(self, broker_epoch: int) -> None:
        self._broker_epoch = broker_epoch

    failure = ""

    def counts(self) -> tuple[int, int, int, int]:
        return 0, 0, 0, len(self._table)

    # -- rounds --

    def _obey(self, follows: bool, partition: SimulatedPartition, leader_epoch: int) -> None:
        known = self._table.get(partition.key)
        if not follows:
            if known is not None and known.partition is partition:
                del self._table[partition.key]
            return
        begins = known is None or known.leader_epoch != leader_epoch
        followed = self._table[partition.key] = Followed(partition, leader_epoch)
        if self._plane.truncates_first and begins:
            self._hold(followed, "begin", epoch=followed.last_epoch)

    def _round(self) -> None:
        if self._stopped:
            return
        commands, self._commands = self._commands, []
        for command in commands:
            self._obey(*command)
        now_ms = self._plane.broker.simulation.now_ms
        sent = {key: each for key, each in self._table.items() if not each.held and each.due_ms <= now_ms}
        if not sent:
            self._plane.later(ROUND_MS, self._round)
            return
        asked = [
            AskedPartition(
                key,
                each.leader_epoch,
                each.offset,
                -1 if self._plane.truncates_first else each.last_epoch,
                self._broker_epoch,
            )
            for key, each in sent.items()
        ]
        self._plane.fetch(self._leader, asked, lambda answers: self._answered(sent, answers))

    def _answered(self, sent: dict[Key, Followed], answers: dict[Key, FetchedPartition] | None) -> None:
        if self._stopped:
            return
        for key, fetched in (answers or {}).items():
            followed = sent[key]
            if self._table.get(key) is followed and not followed.held:
                self._fetched(followed, fetched)
        self._plane.later(ROUND_MS if answers else BACKOFF_MS, self._round)

    def _fetched(self, followed: Followed, fetched: FetchedPartition) -> None:
        if fetched.error == 0 and fetched.diverging is not None:
            self._hold(followed, "diverged", epoch=fetched.diverging[0], offset=fetched.diverging[1])
        elif fetched.error == 0:
            self._append(followed, fetched)
        elif fetched.error == ErrorCode.OFFSET_OUT_OF_RANGE:
            self._hold(followed, "out of range", code=fetched.error, offset=followed.offset)
        elif fetched.error == ErrorCode.FENCED_LEADER_EPOCH:
            self._hold(followed, "fenced", code=fetched.error)
        else:
            followed.due_ms = self._plane.broker.simulation.now_ms + BACKOFF_MS

    def _append(self, followed: Followed, fetched: FetchedPartition) -> None:
        error = followed.partition.append_received(followed.leader_epoch, followed.offset, fetched)
        if error == "not leader":
            followed.held = True  # its role has changed; a command follows
        elif error == "offline":
            self._hold(followed, "failed", code=OFFLINE, offset=followed.offset)
        elif error:
            self._plane.broker.faults.append(f"fetched records do not fit: {error}")
        elif fetched.records:
            followed.offset += len(fetched.records)
            followed.last_epoch = fetched.records[-1][0]

    def _hold(self, followed: Followed, kind: str, *, code: int = 0, epoch: int = -1, offset: int = -1) -> None:
        followed.held = True
        topic, index = followed.partition.key
        self._plane.tell(FetcherEvent(kind, self._number, topic, index, followed.leader_epoch, code, epoch, offset))


class SimulatedDataPlane:
    """`truncates_first`: as with inter.broker.protocol.version below 2.7."""

    def __init__(self, broker: SimulatedBroker, post: Callable[..., None], *, truncates_first: bool) -> None:
        self.broker = broker
        self.truncates_first = truncates_first
        self.stopper = Stopper()
        self.later = broker.process.later
        self._post = post
        self._on_events: Any = None
        self._on_candidates: Any = None
        self._ticks = 0.0

    def clock(self) -> float:
        """A slice has a few steps, so that other things happen between those of a request."""
        self._ticks += self.broker.simulation.random.choice([0.0, 0.0001, 0.0005])
        return self._ticks

    def start(self, on_events: Any, on_candidates: Any) -> None:
        self._on_events, self._on_candidates = on_events, on_candidates

    def stop_telling(self) -> None:
        """Nothing is told any more: the process has ended."""

    def stop_asking(self) -> None:
        """See stop_telling."""

    def start_fetcher(self, leader: int, fetcher_id: int, number: int, endpoint: Endpoint, by_name: bool) -> SimulatedFetcher:
        return SimulatedFetcher(self, leader, number)

    def set_live_brokers(self, broker_ids: Iterable[int]) -> None:
        self.broker.live = set(broker_ids)
        self.broker.logs.set_alive(broker_ids)

    def tell(self, event: FetcherEvent) -> None:
        self._post(self._on_events, [event], lambda: None)

    def tell_candidate(self, key: Key) -> None:
        """A follower may join the ISR."""
        self._post(self._on_candidates, [key], lambda: None)

    def ask(self, leader: int, questions: list[Question], done: Callable[[list[Answer] | None], None]) -> None:
        peer = self.broker.peers[leader]
        self.broker.network.call(
            self.broker.id,
            leader,
            lambda respond: peer.serve_questions(questions, respond),
            lambda answers: self._post(done, answers),
        )

    def fetch(
        self, leader: int, asked: list[AskedPartition], done: Callable[[dict[Key, FetchedPartition] | None], None]
    ) -> None:
        peer = self.broker.peers[leader]
        broker_id, truncates_first = self.broker.id, self.truncates_first
        self.broker.network.call(
            broker_id, leader, lambda respond: peer.serve_fetch(broker_id, asked, respond, truncates_first), done
        )


class Stopper:
    """Fetchers end at once."""

    def stop(self, fetcher: Any) -> None:
        fetcher.stop()

    def join(self) -> None:
        """They have ended."""
