"""The state machine of replicas: what brokers are told when a replica comes, goes or is deleted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from kafka_cy.controller import elections
from kafka_cy.controller.context import ControllerContext, Replica, ReplicaStatus
from kafka_cy.controller.pace import Pace
from kafka_cy.controller.partition_state import LeaderAndIsr, ReplicaAssignment, TopicPartition
from kafka_cy.controller.request_batch import RequestBatch
from kafka_cy.controller.state_store import StateStore
from kafka_cy.controller.term_store import pieces

_STATUS = ReplicaStatus
_LIVE = (_STATUS.NEW, _STATUS.ONLINE, _STATUS.OFFLINE, _STATUS.DELETION_INELIGIBLE)  # may go online and offline


class ReplicaMachine:
    """Owner: the controller's thread. Lifetime: one term.

    A transition that is not allowed (Kafka's table of previous states) is a warning and leaves the replica as it is.
    """

    def __init__(
        self,
        context: ControllerContext,
        states: StateStore,
        batch: RequestBatch,
        pace: Pace,
        warning: Callable[[str], object],
    ) -> None:
        self._context = context
        self._pace = pace
        self._states = states
        self._batch = batch
        self._warning = warning

    async def start(self) -> list[Replica]:
        """Status of all replicas at the begin of a term; live ones hear their state. Returns dead ones, which are to go offline."""
        online: list[Replica] = []
        offline: list[Replica] = []
        for partition in self._context.partitions():
            for replica in self._context.replicas([partition]):
                if self._context.is_online(replica.broker_id, partition):
                    self._context.replica_status[replica] = _STATUS.ONLINE
                    online.append(replica)
                else:
                    self._context.replica_status[replica] = _STATUS.DELETION_INELIGIBLE
                    offline.append(replica)
                await self._pace.looked()
        await self.to_online(online)
        return offline

    async def to_new(self, replicas: Iterable[Replica]) -> None:
        """Replicas are created: their brokers hear it if there is a leader to follow already."""
        for replica in replicas:
            await self._pace.done()
            if not self._is_allowed(replica, _STATUS.NEW, {None}):
                continue
            state = self._context.states.get(replica.partition)
            if state is not None and state.leader == replica.broker_id:
                self._warning(f"broker {replica.broker_id} leads {replica.partition} and cannot be added to it")
                continue
            if state is not None:
                self._tell(replica, state, is_new=True)
            self._context.replica_status[replica] = _STATUS.NEW
        await self._batch.send()

    async def to_online(self, replicas: Iterable[Replica]) -> None:
        """Replicas work: their brokers hear the state of the partitions, unless they are new and heard it already."""
        for replica in replicas:
            await self._pace.done()
            if not self._is_allowed(replica, _STATUS.ONLINE, _LIVE):
                continue
            if self._context.replica_status[replica] is _STATUS.NEW:
                assignment = self._context.assignment(replica.partition)
                if replica.broker_id not in assignment.replicas:
                    added = assignment._replace(replicas=(*assignment.replicas, replica.broker_id))
                    self._context.assign(replica.partition, added)
            else:
                state = self._context.states.get(replica.partition)
                if state is not None:
                    self._tell(replica, state, is_new=False)
            self._context.replica_status[replica] = _STATUS.ONLINE
        await self._batch.send()

    def _tell(self, replica: Replica, state: LeaderAndIsr, is_new: bool) -> None:
        assignment = self._context.assignment(replica.partition)
        self._batch.add_leader_and_isr([replica.broker_id], replica.partition, state, assignment, is_new)

    async def to_offline(self, replicas: Iterable[Replica]) -> None:
        """Replicas stop: they leave the ISR, and their partitions' other replicas hear it."""
        by_broker: dict[int, list[TopicPartition]] = {}
        for replica in replicas:
            if self._is_allowed(replica, _STATUS.OFFLINE, _LIVE):
                by_broker.setdefault(replica.broker_id, []).append(replica.partition)
            await self._pace.looked()
        try:
            for broker_id, partitions in sorted(by_broker.items()):
                for partition in partitions:
                    self._batch.add_stop_replica(broker_id, partition, delete=False)
                    await self._pace.looked()
                await self._remove_from_isr(broker_id, partitions)
                for partition in partitions:
                    self._context.replica_status[Replica(partition, broker_id)] = _STATUS.OFFLINE
                    await self._pace.looked()
        except BaseException:
            self._batch.clear()
            raise
        await self._batch.send()

    async def _remove_from_isr(self, broker_id: int, partitions: Sequence[TopicPartition]) -> None:
        for some in pieces([each for each in partitions if each in self._context.states]):
            await self._remove_some_from_isr(broker_id, some)
        without_leader = [each for each in partitions if each not in self._context.states]
        if without_leader:
            self._batch.add_update_metadata(self._context.registered_ids(), without_leader)

    async def _remove_some_from_isr(self, broker_id: int, partitions: Sequence[TopicPartition]) -> None:
        removed: dict[TopicPartition, LeaderAndIsr] = {}
        left = partitions
        while left:
            states, failures = await self._states.read(left)
            member = {each: state for each, state in states.items() if broker_id in state.isr}
            for partition, state in states.items():
                if partition not in member:
                    removed[partition] = state
            written, left, failed = await self._states.write(
                {
                    each: elections.without_replica(state, broker_id, self._context.assignment(each).replicas)
                    for each, state in member.items()
                }
            )
            removed.update(written)
            for partition, reason in {**failures, **failed}.items():
                if partition.topic not in self._context.deleting:
                    self._warning(f"broker {broker_id} cannot leave the ISR of {partition}: {reason}")
        for partition, state in removed.items():
            self._context.states[partition] = state
            if partition.topic in self._context.deleting:
                continue
            assignment = self._context.assignment(partition)
            others = [each for each in assignment.replicas if each != broker_id]
            self._batch.add_leader_and_isr(others, partition, state, assignment, is_new=False)

    async def start_deletion(self, replicas: Iterable[Replica]) -> None:
        """Stopped replicas are to be deleted."""
        for replica in replicas:
            if self._is_allowed(replica, _STATUS.DELETION_STARTED, {_STATUS.OFFLINE}):
                self._context.replica_status[replica] = _STATUS.DELETION_STARTED
                self._batch.add_stop_replica(replica.broker_id, replica.partition, delete=True)
            await self._pace.looked()
        await self._batch.send()

    async def deletion_failed(self, replicas: Iterable[Replica]) -> None:
        """Replicas could not be deleted (now)."""
        before = {_STATUS.OFFLINE, _STATUS.DELETION_STARTED, _STATUS.DELETION_INELIGIBLE}
        for replica in replicas:
            if self._is_allowed(replica, _STATUS.DELETION_INELIGIBLE, before):
                self._context.replica_status[replica] = _STATUS.DELETION_INELIGIBLE
            await self._pace.looked()

    async def deletion_successful(self, replicas: Iterable[Replica]) -> None:
        """Replicas were deleted."""
        for replica in replicas:
            if self._is_allowed(replica, _STATUS.DELETION_SUCCESSFUL, {_STATUS.DELETION_STARTED}):
                self._context.replica_status[replica] = _STATUS.DELETION_SUCCESSFUL
            await self._pace.looked()

    async def remove(self, replicas: Sequence[Replica]) -> None:
        """Replicas that a reassignment removed: stop, delete, forget."""
        await self.to_offline(replicas)
        await self.start_deletion(replicas)
        await self.deletion_successful(replicas)
        for replica in replicas:
            assignment = self._context.assignment(replica.partition)
            left = tuple([each for each in assignment.replicas if each != replica.broker_id])
            removing = tuple([each for each in assignment.removing if each != replica.broker_id])
            adding = tuple([each for each in assignment.adding if each != replica.broker_id])
            self._context.assign(replica.partition, ReplicaAssignment(left, adding, removing))
            self._context.replica_status.pop(replica, None)

    def _is_allowed(self, replica: Replica, target: ReplicaStatus, before: Collection[ReplicaStatus | None]) -> bool:
        status = self._context.replica_status.get(replica)
        if status in before:
            return True
        was = status.name if status is not None else "NONE"
        self._warning(f"replica {replica.broker_id} of {replica.partition} cannot go from {was} to {target.name}")
        return False
