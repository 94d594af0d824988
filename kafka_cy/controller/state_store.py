"""Reads and conditional writes of state nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kafka_cy.cluster.store import BadVersionError, Get, Node, Set, StoreError
from kafka_cy.cluster.znodes import state_path
from kafka_cy.controller.nodes import state_data, state_of
from kafka_cy.controller.partition_state import LeaderAndIsr, TopicPartition
from kafka_cy.controller.term_store import TermEnded, TermStore, pieces

Failures = dict[TopicPartition, str]  # why a partition could not be changed


class StateStore:
    """Owner: the controller's thread. Lifetime: one term."""

    def __init__(self, store: TermStore, epoch: int) -> None:
        self._store = store
        self._epoch = epoch

    async def read(self, partitions: Sequence[TopicPartition]) -> tuple[dict[TopicPartition, LeaderAndIsr], Failures]:
        """The states as the store has them; a partition without a readable state is a failure.

        Raises TermEnded if a later controller wrote one of them.
        """
        states: dict[TopicPartition, LeaderAndIsr] = {}
        failures: Failures = {}
        for some in pieces(partitions):
            await self._read(some, states, failures)
        return states, failures

    async def _read(
        self, partitions: Sequence[TopicPartition], states: dict[TopicPartition, LeaderAndIsr], failures: Failures
    ) -> None:
        nodes: list[Node | None] = await self._store.read([Get(state_path(*each)) for each in partitions])
        for partition, node in zip(partitions, nodes, strict=True):
            if node is None:
                failures[partition] = "it has no state node"
                continue
            try:
                state = state_of(node)
            except ValueError as error:
                failures[partition] = str(error)
                continue
            if state.controller_epoch > self._epoch:
                raise TermEnded(f"a controller with epoch {state.controller_epoch} wrote the state of {partition}")
            states[partition] = state

    async def write(
        self, states: Mapping[TopicPartition, LeaderAndIsr]
    ) -> tuple[dict[TopicPartition, LeaderAndIsr], list[TopicPartition], Failures]:
        """Write states if the nodes have the versions `partition_epoch`: those written, those changed by others, failures."""
        written: dict[TopicPartition, LeaderAndIsr] = {}
        changed: list[TopicPartition] = []
        failures: Failures = {}
        for some in pieces(list(states.items())):
            await self._write(some, written, changed, failures)
        return written, changed, failures

    async def _write(
        self,
        states: Sequence[tuple[TopicPartition, LeaderAndIsr]],
        written: dict[TopicPartition, LeaderAndIsr],
        changed: list[TopicPartition],
        failures: Failures,
    ) -> None:
        stamped = [(partition, state._replace(controller_epoch=self._epoch)) for partition, state in states]
        outcomes = await self._store.write(
            [[Set(state_path(*each), state_data(state), state.partition_epoch)] for each, state in stamped]
        )
        for (partition, state), outcome in zip(stamped, outcomes, strict=True):
            if isinstance(outcome, BadVersionError):
                changed.append(partition)
            elif isinstance(outcome, StoreError):
                failures[partition] = f"{type(outcome).__name__}: {outcome}"
            else:
                assert isinstance(outcome[0], int)
                written[partition] = state._replace(partition_epoch=outcome[0])


def without(partitions: Iterable[TopicPartition], others: Mapping[TopicPartition, object]) -> list[TopicPartition]:
    """The partitions that are not among the others."""
    return [each for each in partitions if each not in others]
