"""A second coordinator that replays a log as it grows, and is compared with the live one at every batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka_cy.coordinator.offsets.pending import PendingOffsetsHeld
from kafka_cy.coordinator.runtime.loader import replay_batch
from kafka_cy.coordinator.state_machine import GroupStateMachine
from kafka_cy.coordinator.transactions.limits import TransactionsHeld
from kafka_cy.coordinator.transactions.state_machine import TransactionStateMachine
from kafka_cy.records import iterate_batches

from .fakes import FakePartition, replicated


class Standby:
    """One partition's. Before each append, and whenever `look` is called, what the live one holds is what the log says.

    So a coordinator that is killed between any two batches comes back with the state that it had.
    """

    def __init__(
        self, hosted: FakePartition, shard: Callable[[], Any], new: Callable[[], Any], state_of: Callable[[Any], Any]
    ) -> None:
        """`shard`: the live one at this moment. `new`: an empty state machine. `state_of`: what of it can be compared."""
        self._hosted = hosted
        self._shard = shard
        self._new = new
        self._state_of = state_of
        self.is_paused = False  # the live one is being replaced
        self.begin_anew()
        for name in ("append", "append_marker"):
            append = getattr(hosted, name, None)
            if append is not None:
                setattr(hosted, name, self._looking_before(append))

    def begin_anew(self) -> None:
        """Another coordinator has loaded the log, which may have lost its end."""
        self._machine = self._new()
        self._replayed = 0  # batches
        self.is_paused = False

    def _looking_before(self, append: Callable[..., int]) -> Callable[..., int]:
        def looked(*arguments: Any, **options: Any) -> int:
            self.look()
            return append(*arguments, **options)

        return looked

    def look(self) -> None:
        """What is applied in slices is compared when it is done."""
        if self.is_paused:
            return
        shard = self._shard()
        if shard is None or shard.is_loading or shard.busy_producers:
            return
        for data in self._hosted.batches[self._replayed :]:
            for batch in iterate_batches(data):
                for _ in replay_batch(self._machine, batch):
                    pass
        self._replayed = len(self._hosted.batches)
        assert self._state_of(shard.state) == self._state_of(self._machine)


def new_groups() -> GroupStateMachine:
    """Without soft state."""
    return GroupStateMachine({}, lambda *_: None, PendingOffsetsHeld())


def new_transactions() -> TransactionStateMachine:
    """Without soft state."""
    return TransactionStateMachine(TransactionsHeld(), lambda each: None, lambda each: None)


def groups_and_pending(machine: GroupStateMachine) -> Any:
    """The stored state of each group, and the offsets of open transactions."""
    by_producer = machine.pending._by_producer
    pending = {
        (producer_id, key): (each.value, each.offset)
        for producer_id, transaction in by_producer.items()
        for by_key in transaction.by_group.values()
        for key, each in by_key.items()
    }
    producers = {
        (name, topic, partition): (frozenset(each.producers), each.committed_at)
        for name, group in machine.groups.items()
        for topic, partitions in (group.pending or {}).items()
        for partition, each in partitions.items()
    }
    counts = {producer_id: each.count for producer_id, each in by_producer.items()}
    return replicated(machine), pending, producers, counts, machine.pending.held.count


def transactions(machine: TransactionStateMachine) -> Any:
    """What is stored of each transactional id, and what follows from it."""
    return (
        {
            name: (each.stored, each.partitions, each.places, each.partition_count, each.name_chars, each.held_bytes)
            for name, each in machine.transactions.items()
        },
        {each.transactional_id for each in machine.ongoing.each()},
        {each.transactional_id for each in machine.prepared.each()},
        machine._held.transactional_ids,
        machine._held.bytes,
    )
