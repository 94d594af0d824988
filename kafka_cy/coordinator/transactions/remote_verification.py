"""Whether partitions that this broker leads are part of transactions that other brokers coordinate (KIP-890, verification).

A transaction that this broker coordinates is in the data plane's table from the time that its partitions were added. Of others, the
coordinator is asked, and what it confirms is put into the table. It stays there until a marker of the producer is about to be
written here, or until this broker leads one of the partitions no more. An answer counts only if neither has happened since the
question: else the batch would follow its marker, and nothing would end the transaction. Kafka: AddPartitionsToTxnManager, and
VerificationGuard in the place of what is forgotten here.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from kafka_cy.coordinator.transactions.broker_calls import UNSUPPORTED, BrokerCalls
from kafka_cy.coordinator.transactions.init_producer_id import Producer
from kafka_cy.coordinator.transactions.marker_channels import error_of
from kafka_cy.coordinator.transactions.transaction import Partition
from kafka_cy.protocol.broker_messages import add_partitions_to_txn
from kafka_cy.protocol.broker_messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    VerifiedTransaction,
)
from kafka_cy.protocol.errors import ErrorCode

PRODUCERS_MAX = 10_000  # whose confirmed partitions are remembered; of the one that was asked for first, it is asked again
TRANSACTIONS_MAX = 100  # of a request
Respond = Callable[[dict[Partition, ErrorCode]], object]


class _Question:
    """What one request of a producer wants to know."""

    __slots__ = ("partitions", "producer", "respond", "transactional_id", "void")

    def __init__(
        self, transactional_id: str, producer: Producer, partitions: Sequence[Partition], respond: Respond
    ) -> None:
        self.transactional_id = transactional_id
        self.producer = producer
        self.partitions = partitions
        self.respond = respond
        self.void = ErrorCode.NONE  # why a confirmation does not count: a marker came, or a leadership ended


class RemoteVerification:
    """Owner: the coordinator's thread. Limits: PRODUCERS_MAX; a question for each request that waits for its answer."""

    def __init__(self, cluster: Any, table: Any, calls: BrokerCalls, on_fault: Callable[[Exception], object]) -> None:
        self._cluster = cluster
        self._on_fault = on_fault
        self._table = table
        self._calls = calls
        self._confirmed: OrderedDict[int, tuple[int, set[Partition]]] = OrderedDict()  # producer id -> epoch, partitions
        self._open: dict[int, set[_Question]] = {}  # by producer id: not answered yet
        self._concerned: dict[Partition, set[int]] = {}  # producer ids with which a partition is confirmed, or asked about
        self._queues: dict[int, deque[_Question]] = {}  # by broker; of those with a request under way

    def verify(
        self, broker_id: int, transactional_id: str, producer: Producer, partitions: Sequence[Partition], respond: Respond
    ) -> None:
        """Ask the coordinator; `respond` gets the error of each partition, later or at once."""
        if all(self.holds(producer, each) for each in partitions):
            # Whoever asks did not find them: the unloading of a coordinator's partition may have removed the producer.
            shown = self._remember(producer, partitions)
            respond(dict.fromkeys(partitions, ErrorCode.NONE if shown else ErrorCode.COORDINATOR_NOT_AVAILABLE))
            return
        question = _Question(transactional_id, producer, partitions, respond)
        self._open.setdefault(producer.producer_id, set()).add(question)
        for each in partitions:
            self._concerned.setdefault(each, set()).add(producer.producer_id)
        queue = self._queues.get(broker_id)
        if queue is None:
            self._queues[broker_id] = deque((question,))
            self._send(broker_id)
        else:
            queue.append(question)

    def holds(self, producer: Producer, partition: Partition) -> bool:
        """Whether the coordinator has confirmed the partition, and no marker has come since."""
        epoch, partitions = self._confirmed.get(producer.producer_id, (-1, ()))
        return epoch == producer.epoch and partition in partitions

    # -- what makes answers void --

    def marker_comes(self, producer_id: int) -> None:
        """A marker of the producer is about to be written here: as a rule, its transaction is over, in all partitions.

        This broker may have coordinated the transaction when it began, and not have removed it from the table yet: a coordinator's
        partition that moves away is unloaded in slices. If it coordinates it still, it has removed it before its own markers.
        Another marker (of an operator who aborts a hanging transaction, a late one of a former coordinator) does not end the
        producer's open transaction: the next batch asks, and TransactionCoordinator.verify_partitions puts it into the table again.
        """
        self._table.remove(producer_id)
        self._void(producer_id, ErrorCode.INVALID_TXN_STATE)

    def leadership_lost(self, partition: Partition) -> None:
        """This broker leads the partition no more: a marker that ends what was confirmed may go elsewhere."""
        for producer_id in list(self._concerned.get(partition, ())):
            self._void(producer_id, ErrorCode.NOT_LEADER_OR_FOLLOWER)

    def _void(self, producer_id: int, error: ErrorCode) -> None:
        """Nothing that was confirmed of the producer counts any more; `error` is the answer to its open questions."""
        confirmed = self._confirmed.pop(producer_id, None)
        if confirmed is not None:
            self._table.remove(producer_id)
        for question in self._open.get(producer_id, ()):
            question.void = question.void or error
        if confirmed is not None:
            self._unconcern(producer_id, confirmed[1])

    def _unconcern(self, producer_id: int, partitions: Iterable[Partition]) -> None:
        """Forget partitions of the producer, as far as nothing of it is confirmed or asked there."""
        held: set[Partition] = set(self._confirmed.get(producer_id, (-1, set()))[1])
        held.update(*(question.partitions for question in self._open.get(producer_id, ())))
        for each in partitions:
            producers = self._concerned.get(each)
            if producers is not None and each not in held:
                producers.discard(producer_id)
                if not producers:
                    del self._concerned[each]

    def coordinated_here(self, producer_id: int) -> None:
        """This broker's coordinator has put the producer into the table, and removes it."""
        confirmed = self._confirmed.pop(producer_id, None)
        if confirmed is not None:
            self._unconcern(producer_id, confirmed[1])

    # -- requests --

    def _send(self, broker_id: int) -> None:
        queue = self._queues[broker_id]
        if not queue:
            del self._queues[broker_id]
            return
        batch: dict[str, _Question] = {}  # a response has one answer for each transactional id
        while queue and len(batch) < TRANSACTIONS_MAX and queue[0].transactional_id not in batch:
            question = queue.popleft()
            batch[question.transactional_id] = question
        request = AddPartitionsToTxnRequest(
            [VerifiedTransaction(name, *each.producer, each.partitions) for name, each in batch.items()]
        )
        answered = partial(self._answered, broker_id, batch)
        self._calls.send(broker_id, add_partitions_to_txn, None, request, AddPartitionsToTxnResponse, answered)

    def _answered(self, broker_id: int, batch: dict[str, _Question], response: Any) -> None:
        for name, question in batch.items():
            try:
                errors = self._errors(question, _answer(name, question, response))
                self._forget(question)
                question.respond(errors)
            except Exception as fault:  # noqa: BLE001 the other requests get their answers
                self._on_fault(fault)
        self._send(broker_id)

    def _forget(self, question: _Question) -> None:
        producer_id = question.producer.producer_id
        questions = self._open[producer_id]
        questions.discard(question)
        if not questions:
            del self._open[producer_id]
        self._unconcern(producer_id, question.partitions)

    def _errors(self, question: _Question, answer: Mapping[Partition, ErrorCode]) -> dict[Partition, ErrorCode]:
        """The answer, unless it comes too late; what it confirms is remembered."""
        errors = dict(answer)
        confirmed = [each for each, error in errors.items() if not error]
        if question.void:
            errors |= dict.fromkeys(confirmed, question.void)
        elif confirmed and not self._remember(question.producer, confirmed):
            errors |= dict.fromkeys(confirmed, ErrorCode.COORDINATOR_NOT_AVAILABLE)
        return errors

    def _remember(self, producer: Producer, partitions: Sequence[Partition]) -> bool:
        """False: the table is full."""
        topics = self._cluster.topics
        known = [(topics[name].id.bytes, index) for name, index in partitions if name in topics]
        if not self._table.set_partitions(producer.producer_id, producer.epoch, known):
            return False
        epoch, before = self._confirmed.pop(producer.producer_id, (producer.epoch, set()))
        self._confirmed[producer.producer_id] = (producer.epoch, (before if epoch == producer.epoch else set()) | {*partitions})
        if epoch != producer.epoch:
            self._unconcern(producer.producer_id, before)
        if len(self._confirmed) > PRODUCERS_MAX:
            oldest, (_, confirmed) = self._confirmed.popitem(last=False)
            self._table.remove(oldest)
            self._unconcern(oldest, confirmed)
        return True


def _answer(name: str, question: _Question, response: Any) -> dict[Partition, ErrorCode]:
    """What the coordinator said of each partition. A broker that cannot be asked is too old to verify: as Kafka, it need not."""
    if response is UNSUPPORTED:
        return dict.fromkeys(question.partitions, ErrorCode.NONE)
    if response is None:
        return dict.fromkeys(question.partitions, ErrorCode.NETWORK_EXCEPTION)
    if response.error_code:
        return dict.fromkeys(question.partitions, error_of(response.error_code))
    found = response.errors.get(name, {})
    return {each: error_of(found.get(each)) for each in question.partitions}
