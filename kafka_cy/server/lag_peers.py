"""The other brokers of a cluster, as consumer lag asks them: all at once, a thread for each, until a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.network.broker_connection import BrokerConnection, BrokerConnectionError
from kafka_cy.protocol.decoder import MalformedRequest
from kafka_cy.records.errors import InvalidBatch
from kafka_cy.server.lag_requests import LagRequests, PartitionKey, PeerAnswer, PeerGroup, PeerPartition, PeerRefused

ASK_S = 4.0  # for all requests of one scrape; Prometheus waits for ten seconds
FAILURES = (BrokerConnectionError, MalformedRequest, PeerRefused, MemoryError)

Address = tuple[str, int]
Connect = Callable[[Address], BrokerConnection]


class Peers:
    """Owner: the thread that serves scrapes. Limits: one connection and at most one thread for each live broker."""

    def __init__(self, connect: Connect, silent: Callable[[int, str], object], answers: Callable[[int], object]) -> None:
        """`silent(broker id, reason)`: a broker has stopped answering; `answers(broker id)`: it answers again."""
        self._connect, self._silent, self._answers = connect, silent, answers
        self._peers: dict[int, _Peer] = {}
        self._failing: set[int] = set()

    def ask(self, addresses: Mapping[int, Address], wanted: Mapping[int, Sequence[PartitionKey]]) -> PeersAnswer:
        """Ask these brokers for their groups, and for the offsets of partitions that they lead, by broker id."""
        deadline = time.monotonic() + ASK_S
        self._keep(addresses)
        for broker_id, peer in self._peers.items():
            peer.begin(wanted.get(broker_id, ()), deadline)
        groups: dict[str, PeerGroup] = {}  # a group that moves may be at two brokers
        partitions: dict[PartitionKey, PeerPartition] = {}
        left_out = silent = 0
        for broker_id, peer in self._peers.items():
            answer, failure = peer.end(deadline)
            self._tell(broker_id, failure)
            if answer is None:
                silent += 1
                continue
            left_out += answer.left_out
            for group in answer.groups:
                groups.setdefault(group.group_id, group)
            partitions.update((each.key, each) for each in answer.partitions)
        return PeersAnswer(list(groups.values()), partitions, left_out, silent)

    def timestamp_ms(self, partition: PeerPartition, offset: int, deadline: float) -> int | None:
        """See LagRequests.timestamp_ms; no request begins after the deadline. None: the leader did not answer."""
        peer = self._peers.get(partition.leader)
        return None if peer is None else peer.timestamp_ms(partition, offset, deadline)

    def _keep(self, addresses: Mapping[int, Address]) -> None:
        """Forget brokers that have gone or moved; begin with those that are new."""
        for broker_id, peer in list(self._peers.items()):
            if addresses.get(broker_id) != peer.address:
                del self._peers[broker_id]
                self._failing.discard(broker_id)
                peer.close()
        for broker_id, address in addresses.items():
            if broker_id not in self._peers:
                self._peers[broker_id] = _Peer(broker_id, address, self._connect(address))

    def _tell(self, broker_id: int, failure: str) -> None:
        if failure and broker_id not in self._failing:
            self._failing.add(broker_id)
            self._silent(broker_id, failure)
        elif not failure and broker_id in self._failing:
            self._failing.remove(broker_id)
            self._answers(broker_id)


class PeersAnswer(NamedTuple):
    """What all brokers answered. `silent`: how many did not; `left_out`: groups, see PeerAnswer."""

    groups: list[PeerGroup]
    partitions: dict[PartitionKey, PeerPartition]
    left_out: int
    silent: int


class _Peer:
    """One broker. Its thread owns the connection while it runs; otherwise the thread that serves scrapes does."""

    def __init__(self, broker_id: int, address: Address, connection: BrokerConnection) -> None:
        self.address = address
        self._requests = LagRequests(broker_id, connection)
        self._thread: NamedThread | None = None
        self._result: tuple[PeerAnswer | None, str] = (None, "")  # of the thread that ended last

    def begin(self, wanted: Sequence[PartitionKey], deadline: float) -> None:
        """Ask on a thread, unless that of an earlier scrape still waits."""
        if self._is_busy():
            return
        self._result = (None, "it did not answer in time")
        self._requests.deadline = deadline
        self._thread = NamedThread(target=self._run, args=(wanted,), name=f"lag-{self._requests.broker_id}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the process may have no more threads
            self._thread = None
            self._result = (None, "no thread could be started")

    def end(self, deadline: float) -> tuple[PeerAnswer | None, str]:
        """Wait until the deadline. Returns the answer, or why there is none."""
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._is_busy():
            return None, "it did not answer in time"
        return self._result

    def timestamp_ms(self, partition: PeerPartition, offset: int, deadline: float) -> int | None:
        """See Peers.timestamp_ms."""
        if self._is_busy() or self._result[0] is None:
            return None
        self._requests.deadline = deadline
        try:
            return self._requests.timestamp_ms(partition.key, offset, partition.high_watermark)
        except (PeerRefused, InvalidBatch):  # of this partition
            return None
        except FAILURES as error:
            self._result = (None, str(error))  # not asked again in this scrape
            return None

    def close(self) -> None:
        """End the connection, and the thread."""
        self._requests.connection.interrupt()
        if not self._is_busy():
            self._requests.connection.close()

    def _is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self, wanted: Sequence[PartitionKey]) -> None:
        try:
            self._result = (self._requests.ask(wanted), "")
        except FAILURES as error:
            self._result = (None, str(error) or type(error).__name__)
        except Exception as error:  # noqa: BLE001 what a broker answers may end its part of one page at most
            self._result = (None, repr(error))
