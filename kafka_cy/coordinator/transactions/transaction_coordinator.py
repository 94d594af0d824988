"""The transaction coordinator: what the APIs of transactions ask for, in terms of operations on a transactional id.

The way of a request: `kafka_cy.api.end_txn` -> `TransactionCoordinator.end` -> `CoordinatorRuntime.write` -> an operation
(`end_transaction`), which returns a record and a response -> append, replay, response. Everything runs on the coordinator's
thread. Kafka: TransactionCoordinator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from kafka_cy.coordinator.records import partition_of
from kafka_cy.coordinator.runtime.reads import read_each
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.coordinator.transactions import add_partitions, end_transaction, init_producer_id
from kafka_cy.coordinator.transactions.completion import Completion
from kafka_cy.coordinator.transactions.expiry import Expiry
from kafka_cy.coordinator.transactions.init_producer_id import NO_PRODUCER, InitRequest, Producer
from kafka_cy.coordinator.transactions.limits import FullLine, TransactionsHeld
from kafka_cy.coordinator.transactions.listing import ListFilter, TooSlow, listed
from kafka_cy.coordinator.transactions.markers import EndOffsetTransaction, MarkerWriter
from kafka_cy.coordinator.transactions.records import (
    NO_PRODUCER_ID,
    TRANSACTIONS_TOPIC,
    StoredTransaction,
    TransactionKey,
)
from kafka_cy.coordinator.transactions.state_machine import TransactionStateMachine
from kafka_cy.coordinator.transactions.transaction import Partition, Transaction, named
from kafka_cy.coordinator.transactions.verification import Verification
from kafka_cy.protocol.errors import NONE, ErrorCode
from kafka_cy.protocol.inter_broker_version import InterBrokerVersion

if TYPE_CHECKING:
    from kafka_cy.coordinator.transactions.broker_calls import BrokerCalls
    from kafka_cy.coordinator.transactions.interfaces import PartitionTable, ProducerIds
    from kafka_cy.coordinator.transactions.marker_channels import MarkerRouter
    from kafka_cy.coordinator.transactions.remote_verification import RemoteVerification

R = TypeVar("R")
RespondProducer = Callable[[ErrorCode, Producer], object]
VERSION_FEATURE = "transaction.version"


class TransactionCoordinator:
    """Owner: the coordinator's thread."""

    def __init__(
        self,
        config: Mapping[str, Any],
        cluster: Any,
        loop: Any,
        producer_ids: ProducerIds,
        table: PartitionTable,
        end_offset_transaction: EndOffsetTransaction,
        log: Callable[..., object] | None = None,  # (what happened, field=value, ...): writes a warning line
        info: Callable[..., object] | None = None,
        calls: BrokerCalls | None = None,  # to other brokers, in a cluster
    ) -> None:
        self.config = config
        self.cluster = cluster
        self.loop = loop
        self.producer_ids = producer_ids
        self.table = table
        self.held = TransactionsHeld()
        self.log = log or (lambda *_, **__: None)
        self.info = info or (lambda *_, **__: None)
        self.runtime: CoordinatorRuntime[TransactionStateMachine] = CoordinatorRuntime(
            TRANSACTIONS_TOPIC, partition_of, cluster, loop, self._new_state, lambda: int(config["message.max.bytes"]),
            "none", self.log, base_sequence=-1,
        )  # fmt: skip
        self.markers = MarkerWriter(cluster, self.runtime.slices, end_offset_transaction, self.log)
        writer: MarkerWriter | MarkerRouter = self.markers
        remote: RemoteVerification | None = None
        if calls is not None:
            protocol = InterBrokerVersion.parse(str(config["inter.broker.protocol.version"]))
            writer, remote = self._with_others(calls, protocol.write_txn_markers)
        self.verification = Verification(self, remote)
        self.completion = Completion(self.runtime, cluster, writer, self.log)
        self._full_line = FullLine(self.log, loop.now)
        self.expiry = Expiry(self)

    def _with_others(self, calls: BrokerCalls, version: int) -> tuple[MarkerRouter, RemoteVerification]:
        """What asks the other brokers of a cluster."""
        from kafka_cy.coordinator.transactions.marker_channels import MarkerChannels, MarkerRouter
        from kafka_cy.coordinator.transactions.remote_verification import RemoteVerification

        slices, on_fault = self.runtime.slices, self.runtime.on_fault
        remote = RemoteVerification(self.cluster, self.table, calls, on_fault)
        self.markers.before_marker = remote.marker_comes
        channels = MarkerChannels(calls, slices, on_fault, version)
        return MarkerRouter(self.cluster, slices, self.markers, channels), remote

    def _new_state(self, hosted: Any) -> TransactionStateMachine:
        return TransactionStateMachine(self.held, self._begin, self._end)

    # -- life --

    def start(self) -> None:
        """Begin to load every hosted partition, and to look for transactions and transactional ids whose time is over."""
        self.table.clear()
        self.runtime.start()
        self.expiry.start()

    def stop(self) -> None:
        """Respond to what waits and stop all timers."""
        self.expiry.stop()
        self.runtime.stop()

    def look(self) -> None:
        """Send the responses whose records have been stored; called in every round of the loop."""
        self.runtime.look()
        self.markers.look()

    def on_change(self, change: Any) -> None:
        """Listener of the cluster's metadata (the one who makes the coordinator adds it)."""
        if any(topic.name == TRANSACTIONS_TOPIC for topic in getattr(change, "removed", ())):
            self.runtime.unload_all()

    def _begin(self, transaction: Transaction) -> None:
        """The transaction was loaded: open ones are published, and prepared ones are finished."""
        if transaction.is_ongoing:
            self._publish(transaction, _producer_of(transaction), transaction.all_partitions())
        elif transaction.is_prepared:
            self.runtime.when_stored(
                transaction.transactional_id, partial(self._finish_loaded, transaction.transactional_id)
            )

    def _finish_loaded(self, transactional_id: str, error: ErrorCode) -> None:
        if not error:
            self.completion.begin(transactional_id)

    def _end(self, transaction: Transaction) -> None:
        transaction.markers_under_way = False
        self.table.remove(transaction.stored.producer_id)

    def is_coordinator_of(self, transactional_id: str) -> bool:
        """Whether this broker leads the partition that the transactional id belongs to."""
        index = self.runtime.partition_index(transactional_id)
        return index is not None and self.runtime.shard(index) is not None

    def write(
        self,
        transactional_id: str,
        operation: Callable[[Transaction | None, int | None], CoordinatorResult[R] | None],
        respond: Callable[[ErrorCode, R | None], object],
        new_producer_id: int | None = None,
    ) -> None:
        """Run an operation. It gets a new producer id, and runs again, when it returns None the first time."""

        def run(state: TransactionStateMachine) -> CoordinatorResult[R]:
            result = operation(state.transactions.get(transactional_id), new_producer_id)
            if result is None:
                return CoordinatorResult(apply=partial(self._write_with_new_id, transactional_id, operation, respond))
            return result

        self.runtime.write(transactional_id, run, respond)

    def _write_with_new_id(
        self,
        transactional_id: str,
        operation: Callable[[Transaction | None, int | None], CoordinatorResult[R] | None],
        respond: Callable[[ErrorCode, R | None], object],
    ) -> None:
        def taken(producer_id: int | None, error: Exception | None) -> None:
            if producer_id is None:
                respond(ErrorCode.COORDINATOR_NOT_AVAILABLE, None)
            else:
                self.write(transactional_id, operation, respond, producer_id)

        self.producer_ids.take(taken)

    # -- InitProducerId --

    def init_producer_id(self, request: InitRequest, respond: RespondProducer) -> None:
        """InitProducerId with a transactional id; an open transaction is aborted first (CONCURRENT_TRANSACTIONS)."""
        transactional_id = request.transactional_id
        if not transactional_id:
            respond(ErrorCode.INVALID_REQUEST, NO_PRODUCER)
            return
        timeout_ms_max = int(self.config["transaction.max.timeout.ms"])
        if not request.two_phase and not 0 < request.timeout_ms <= timeout_ms_max:
            respond(ErrorCode.INVALID_TRANSACTION_TIMEOUT, NO_PRODUCER)
            return
        now_ms = self.loop.wall_clock_ms

        def operation(
            transaction: Transaction | None, new_id: int | None
        ) -> CoordinatorResult[init_producer_id.Response] | None:
            if transaction is None and not self.held.has_room_for_id(transactional_id):
                self._full_line.write(transactional_id, self.held)
                return CoordinatorResult(response=(ErrorCode.POLICY_VIOLATION, NO_PRODUCER))
            error = init_producer_id.refusal(transaction, request.expected) if transaction is not None else ErrorCode.NONE
            if error:
                return CoordinatorResult(response=(error, NO_PRODUCER))
            if new_id is None and init_producer_id.needs_producer_id(transaction, request):
                return None
            if transaction is None:
                assert new_id is not None
                return init_producer_id.create(request, new_id, now_ms())
            if not transaction.is_ongoing:
                return init_producer_id.next_epoch(transaction, request, new_id, now_ms())
            response = (ErrorCode.CONCURRENT_TRANSACTIONS, NO_PRODUCER)
            return self.fence(transaction, new_id, "a new producer has its transactional id", response)

        self.write(transactional_id, operation, partial(self.ended, transactional_id, respond))

    # -- partitions of transactions --

    def add_partitions(
        self,
        transactional_id: str,
        producer: Producer,
        partitions: Sequence[Partition],
        client_version: int,
        respond: Callable[[ErrorCode], object],
    ) -> None:
        """AddPartitionsToTxn and AddOffsetsToTxn; `client_version` is 0, or 2 with KIP-890."""
        if not transactional_id:
            respond(ErrorCode.INVALID_REQUEST)
            return
        added: list[Transaction] = []

        def operation(transaction: Transaction | None, new_id: int | None) -> CoordinatorResult[ErrorCode]:
            error = add_partitions.refusal(transaction, producer)
            if error or transaction is None:
                return CoordinatorResult(response=error)
            result = add_partitions.add_partitions(
                transaction, partitions, client_version, self.held, self.loop.wall_clock_ms()
            )
            if not result.records and result.response is ErrorCode.POLICY_VIOLATION:
                self._full_line.write(transactional_id, self.held)
            added.append(transaction)
            return result

        def done(error: ErrorCode, response: ErrorCode | None) -> None:
            error = error if response is None else response
            for each in added if not error else ():
                if not self._publish(each, producer, partitions):
                    error = ErrorCode.COORDINATOR_NOT_AVAILABLE
            respond(error)

        self.write(transactional_id, operation, done)

    def verify_partitions(
        self,
        transactional_id: str,
        producer: Producer,
        partitions: Sequence[Partition],
        respond: Callable[[dict[Partition, ErrorCode]], object],
    ) -> None:
        """AddPartitionsToTxn with VerifyOnly: whether the partitions are part of the producer's transaction. The data plane is told
        of those again: a marker may have removed them from its table (RemoteVerification.marker_comes)."""
        if not transactional_id:
            respond(dict.fromkeys(partitions, ErrorCode.INVALID_REQUEST))
            return
        found: list[Transaction] = []

        def operation(state: TransactionStateMachine) -> dict[Partition, ErrorCode]:
            found.extend(filter(None, [state.transactions.get(transactional_id)]))
            return add_partitions.verify_partitions(found[0] if found else None, producer, partitions)

        def done(error: ErrorCode, errors: dict[Partition, ErrorCode] | None) -> None:
            errors = dict.fromkeys(partitions, error) if errors is None else errors
            confirmed = [each for each, refusal in errors.items() if not refusal]
            if confirmed and not self._publish(found[0], producer, confirmed):
                errors |= dict.fromkeys(confirmed, ErrorCode.COORDINATOR_NOT_AVAILABLE)
            respond(errors)

        self.runtime.read(transactional_id, operation, done)

    def add_for_produce(
        self,
        transactional_id: str,
        producer_id: int,
        epoch: int,
        partitions: Sequence[Partition],
        implicit: bool,
        respond: Callable[[dict[Partition, ErrorCode]], object],
    ) -> None:
        """Before a transactional write to partitions that the table does not show: add them (KIP-890) or verify them.

        A fenced producer gets INVALID_PRODUCER_EPOCH, as from the partition itself (Kafka: AddPartitionsToTxnManager).
        """
        self.verification.add_for_produce(transactional_id, Producer(producer_id, epoch), partitions, implicit, respond)

    def check_open(self, transactional_id: str, producer: Producer, partition: Partition) -> ErrorCode:
        """Whether the partition is part of the producer's open transaction at this moment; NONE if it is."""
        return self.verification.check_open(transactional_id, producer, partition)

    def _publish(self, transaction: Transaction, producer: Producer, partitions: Sequence[Partition]) -> bool:
        """Let the data plane accept writes to partitions whose addition is stored, while the transaction is open.

        False if the table is full: the producer tries again.
        """
        stored = transaction.stored
        if not transaction.is_ongoing or producer != (stored.producer_id, stored.producer_epoch):
            return True
        self.verification.coordinated_here(stored.producer_id)
        topics = self.cluster.topics
        found = {name: topics.get(name) for name in {name for name, _ in partitions}}
        ids = {name: topic.id.bytes for name, topic in found.items() if topic is not None}
        known = [(ids[name], index) for name, index in partitions if name in ids]
        if self.table.set_partitions(stored.producer_id, stored.producer_epoch, known):
            return True
        self.log("there are too many partitions in open transactions", **named(transaction))
        return False

    # -- the end of transactions --

    def end(
        self, transactional_id: str, producer: Producer, committed: bool, client_version: int, respond: RespondProducer
    ) -> None:
        """EndTxn; `client_version` 2 (EndTxn v5) raises the epoch: `respond` gets what the producer continues with."""
        if not transactional_id:
            respond(ErrorCode.INVALID_REQUEST, NO_PRODUCER)
            return

        def operation(
            transaction: Transaction | None, new_id: int | None
        ) -> CoordinatorResult[end_transaction.Response] | None:
            response = end_transaction.decide(transaction, producer, committed, client_version)
            if response is not None or transaction is None:
                return CoordinatorResult(response=response)
            raises = client_version >= end_transaction.VERSION_WITH_EPOCH_BUMP
            if raises and transaction.is_epoch_exhausted and new_id is None:
                return None
            next_id = new_id if new_id is not None and raises else NO_PRODUCER_ID
            prepare = end_transaction.prepared(
                transaction.stored, committed, client_version, next_id, self.loop.wall_clock_ms()
            )
            next_producer = end_transaction.producer_after(prepare) if raises else NO_PRODUCER
            return self._prepare(transaction, prepare, (NONE, next_producer))

        self.write(transactional_id, operation, partial(self.ended, transactional_id, respond))

    def fence(self, transaction: Transaction, new_id: int | None, why: str, response: R) -> CoordinatorResult[R]:
        """Abort the open transaction; the epoch of its producer is over."""
        version = int(self.cluster.features.levels.get(VERSION_FEATURE, 0))
        raises = version >= end_transaction.VERSION_WITH_EPOCH_BUMP
        next_id = new_id if new_id is not None and raises and transaction.is_epoch_exhausted else NO_PRODUCER_ID
        prepare = end_transaction.fenced(transaction.stored, version, next_id, self.loop.wall_clock_ms())
        return self._prepare(transaction, prepare, response, why)

    def _prepare(
        self, transaction: Transaction, prepare: StoredTransaction, response: R, why: str = ""
    ) -> CoordinatorResult[R]:
        """Store the outcome. `why` the coordinator fences the producer; empty if the producer asked for it."""
        before = transaction.stored
        name = named(transaction) if why else {}

        def apply() -> None:
            last_epoch = transaction.last_epoch
            transaction.last_epoch = end_transaction.last_epoch_after(before, prepare, last_epoch, fences=bool(why))
            self.table.remove(before.producer_id)  # before any marker: nothing may be written behind it
            if why:
                self.info(f"a transaction was aborted: {why}", **name)

        return CoordinatorResult([(TransactionKey(transaction.transactional_id), prepare)], response, apply)

    def ended(
        self,
        transactional_id: str,
        respond: RespondProducer,
        error: ErrorCode,
        response: end_transaction.Response | None,
    ) -> None:
        """The response is stored: if the transaction is prepared, its markers can be written.

        They are written first, if there are few: the producer's next request does not find the transaction unfinished.
        """
        try:
            if not error:
                self.completion.begin(transactional_id)
        finally:
            respond(*(response if response is not None else (error, NO_PRODUCER)))

    # -- administration --

    def describe(
        self, transactional_ids: Sequence[str], respond: Callable[[list[tuple[ErrorCode, StoredTransaction | None]]], object]
    ) -> None:
        """What is stored of each transactional id, in the same order; None if there is nothing."""

        def look(place: int, state: TransactionStateMachine) -> StoredTransaction | None:
            transaction = state.transactions.get(transactional_ids[place])
            return transaction.stored if transaction is not None else None

        read_each(self.runtime, transactional_ids, look, respond)

    def list_transactions(self, wanted: ListFilter) -> tuple[ErrorCode, list[dict[str, Any]]]:
        """What ListTransactions shows; any thread may call it."""
        if any(shard.is_loading for shard in list(self.runtime.shards.values())):
            return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, []
        try:
            return ErrorCode.NONE, listed(self.all_transactions(), wanted, self.loop.wall_clock_ms())
        except TooSlow:
            return ErrorCode.POLICY_VIOLATION, []

    def all_transactions(self) -> Iterator[Transaction]:
        """Those of all loaded partitions, one after the other; one may come twice. Any thread."""
        for shard in self.runtime.loaded_shards():
            yield from shard.state.all.each()

    def counts(self) -> tuple[int, int, int, int]:
        """(transactional ids, open transactions, prepared ones, ms since the oldest open one began); any thread may call it."""
        states = [shard.state for shard in self.runtime.loaded_shards()]
        now_ms = self.loop.wall_clock_ms()
        oldest_ms = min((each.stored.start_ms for state in states for each in state.ongoing.each()), default=now_ms)
        return (
            sum(len(state.all) for state in states),
            sum(len(state.ongoing) for state in states),
            sum(len(state.prepared) for state in states),
            max(0, now_ms - oldest_ms),
        )


def _producer_of(transaction: Transaction) -> Producer:
    return Producer(transaction.stored.producer_id, transaction.stored.producer_epoch)
