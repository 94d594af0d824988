"""Reassignment of partitions (KIP-455): the assignment in the topic's node tells which replicas are added and removed.

1. The topic's node gets target and old replicas; a new leader epoch tells all of them; the new replicas are created.
2. Replicas catch up; the leader adds them to the ISR (AlterPartition).
3. When all targets are in the ISR: the targets become the replicas, one of them leads, the others stop and are deleted, and the
   topic's node gets the final assignment.
Every step can be repeated by a later controller, because the topic's node says what is left to do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from kafka_cy.cluster.store import Set, StoreError
from kafka_cy.cluster.znodes import topic_path
from kafka_cy.controller.context import ControllerContext, PartitionStatus, Replica, ReplicaStatus
from kafka_cy.controller.nodes import topic_data
from kafka_cy.controller.pace import Pace
from kafka_cy.controller.partition_machine import Election, PartitionMachine
from kafka_cy.controller.partition_state import LeaderAndIsr, ReplicaAssignment, TopicPartition
from kafka_cy.controller.replica_machine import ReplicaMachine
from kafka_cy.controller.request_batch import RequestBatch
from kafka_cy.controller.state_store import StateStore
from kafka_cy.controller.term_store import TermStore
from kafka_cy.controller.topic_deletion import TopicDeletion
from kafka_cy.protocol.errors import ErrorCode

Ended = Callable[[TopicPartition], Awaitable[None]]


class Reassignments:
    """Owner: the controller's thread. Lifetime: one term."""

    def __init__(
        self,
        context: ControllerContext,
        store: TermStore,
        states: StateStore,
        partitions: PartitionMachine,
        replicas: ReplicaMachine,
        deletion: TopicDeletion,
        batch: RequestBatch,
        pace: Pace,
        ended: Ended,
        info: Callable[[str], object],
        warning: Callable[[str], object],
    ) -> None:
        """`ended(partition)`: a reassignment is complete; the operator's node may name it."""
        self._context = context
        self._store = store
        self._states = states
        self._partitions = partitions
        self._replicas = replicas
        self._deletion = deletion
        self._batch = batch
        self._pace = pace
        self._ended = ended
        self._info = info
        self._warning = warning

    def check(
        self, partition: TopicPartition, target: Sequence[int] | None
    ) -> tuple[ErrorCode, str | None, ReplicaAssignment | None]:
        """The error of a requested reassignment, or the new assignment. `target` None: cancel."""
        current = self._context.assignment(partition)
        if not current.replicas or partition.topic in self._context.deleting:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.", None
        if target is None:
            if not current.is_being_reassigned:
                return ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, None, None
            assignment = current.reassigned_to(current.origin_replicas)
        else:
            problem = self._problem(target)
            if problem is not None:
                return ErrorCode.INVALID_REPLICA_ASSIGNMENT, problem, None
            assignment = current.reassigned_to(target)
        # Kafka with ZooKeeper does not check this, and loses the partition; Kafka with KRaft does.
        state = self._context.states.get(partition)
        if state is not None and not set(state.isr) & set(assignment.replicas):
            problem = (
                f"Unable to assign {list(assignment.target_replicas)} to {partition}: it would result in an empty ISR."
            )
            return ErrorCode.INVALID_REPLICA_ASSIGNMENT, problem, None
        return ErrorCode.NONE, None, assignment

    def _problem(self, target: Sequence[int]) -> str | None:
        if not target:
            return "Empty replica list specified in partition reassignment."
        if len(set(target)) < len(target):
            return f"Duplicate replica ids in partition reassignment replica list: {list(target)}"
        if min(target) < 0:
            return f"Invalid broker id in replica list: {list(target)}"
        dead = [each for each in target if each not in self._context.brokers]
        if dead:
            return f"Replica assignment has brokers that are not alive. Replica list: {list(target)}, dead: {dead}"
        return None

    async def start(self, partition: TopicPartition, assignment: ReplicaAssignment) -> bool:
        """Begin, change or go on with a reassignment. False: it cannot begin, and the replicas are what they were.

        The leader may be another one than before; then all replicas have heard of it.
        """
        current = self._context.assignment(partition)
        if not assignment.is_being_reassigned and current == assignment:
            return True  # the replicas are these already
        self._deletion.mark_ineligible([partition.topic], "a reassignment runs")
        if current != assignment:
            unneeded = [each for each in current.replicas if each not in assignment.replicas]
            before = self._context.states.get(partition)
            if not await self._move_from(partition, unneeded, assignment):
                return False
            if not await self._store_assignment(partition, assignment):
                self._context.assign(partition, current)
                if before is not None and self._context.states[partition].leader != before.leader:
                    # The former leader does not know of the election, which told only the replicas that were to stay.
                    await self._new_epoch(partition, current)
                return False
            await self._replicas.remove([Replica(partition, each) for each in unneeded])
        self._context.being_reassigned.add(partition)
        if await self._is_complete(partition, assignment):
            await self._complete(partition, assignment)
            return True
        await self._new_epoch(partition, assignment)
        await self._replicas.to_new(
            [
                Replica(partition, each)
                for each in assignment.adding
                if Replica(partition, each) not in self._context.replica_status
            ]
        )
        return True

    async def _move_from(
        self, partition: TopicPartition, unneeded: Sequence[int], assignment: ReplicaAssignment
    ) -> bool:
        """Assign; a leader that is not needed any more is replaced before it hears that. False: it cannot be, and nothing changes.

        Leaders with inter.broker.protocol.version before 2.7 write ISRs themselves: what is known of the ISR may be old.
        """
        context, current = self._context, self._context.assignment(partition)
        state = context.states.get(partition)
        if state is None or state.leader not in unneeded:
            context.assign(partition, assignment)
            return True
        states, _ = await self._states.read([partition])
        context.states.update(states)
        reason: str | None = "it would result in an empty ISR"
        if set(context.states[partition].isr) & set(assignment.replicas):
            context.assign(partition, assignment)
            await self._partitions.to_offline([partition])
            reason = (await self._partitions.to_online([partition], Election.OFFLINE)).get(partition)
            if reason is None:
                return True
            context.assign(partition, current)
            if context.is_online(state.leader, partition):
                context.set_status(partition, PartitionStatus.ONLINE)
        self._warning(f"{partition} keeps the replicas {list(current.replicas)}: {reason}")
        return False

    async def complete_if_possible(self, partitions: Iterable[TopicPartition]) -> None:
        """The ISR of these partitions changed, or their brokers came."""
        for partition in sorted(set(partitions) & self._context.being_reassigned):
            assignment = self._context.assignment(partition)
            if await self._is_complete(partition, assignment):
                await self._complete(partition, assignment)

    async def remove_strays(self) -> None:
        """A term begins: members of an ISR that are not replicas any more, because the controller before did not come to it."""
        strays: list[Replica] = []
        leaderless: list[TopicPartition] = []
        for partition, state in sorted(self._context.states.items()):
            await self._pace.looked()
            replicas = self._context.assignment(partition).replicas
            outside = [each for each in state.isr if each not in replicas]
            if not outside or partition.topic in self._context.deleting:
                continue
            if len(outside) == len(state.isr):
                self._warning(f"no replica of {partition} is in the ISR {list(state.isr)}")
                continue
            strays += [Replica(partition, each) for each in outside]
            if state.leader in outside:
                leaderless.append(partition)
        if not strays:
            return
        self._warning(f"replicas that a reassignment left over are removed: {[(str(p), id_) for p, id_ in strays]}")
        for replica in strays:
            self._context.replica_status[replica] = ReplicaStatus.ONLINE
        await self._partitions.to_offline(leaderless)
        await self._partitions.to_online(leaderless, Election.OFFLINE)
        await self._replicas.remove(strays)

    async def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """A term begins, or a broker of the target came: go on where it was."""
        for partition in sorted(partitions):
            if partition.topic in self._context.deleting:
                continue  # the deletion waits for the reassignment only if that began first
            await self.start(partition, self._context.assignment(partition))

    async def _is_complete(self, partition: TopicPartition, assignment: ReplicaAssignment) -> bool:
        if not assignment.is_being_reassigned:
            return True
        states, _ = await self._states.read([partition])
        state = states.get(partition)
        return state is not None and set(assignment.target_replicas) <= set(state.isr)

    async def _complete(self, partition: TopicPartition, assignment: ReplicaAssignment) -> None:
        await self._replicas.to_online(
            [
                each
                for each in (Replica(partition, id_) for id_ in assignment.adding)
                if each in self._context.replica_status
            ]
        )
        final = ReplicaAssignment(assignment.target_replicas)
        # The others are told about the final replicas while the topic's node still says what is left to do.
        removed = [Replica(partition, each) for each in assignment.removing]
        self._context.assign(partition, final)
        if not await self._move_leader(partition, final):
            self._context.assign(partition, assignment)  # the old replicas stay, for one of them leads
            return
        known = [each for each in removed if each in self._context.replica_status]
        await self._replicas.remove(known)
        if not await self._store_assignment(partition, final):
            return
        self._context.being_reassigned.discard(partition)
        self._info(f"the reassignment of {partition} to {list(final.replicas)} is complete")
        await self._ended(partition)
        self._batch.add_update_metadata(self._context.registered_ids(), [partition])
        await self._batch.send()
        await self._deletion.resume_for([partition.topic])

    async def _move_leader(self, partition: TopicPartition, final: ReplicaAssignment) -> bool:
        """False: none of the final replicas can lead now. A later event tries again."""
        state = self._context.states.get(partition)
        if state is None:
            return True
        if state.leader in final.replicas and self._context.is_online(state.leader, partition):
            await self._new_epoch(partition, final)
            return True
        failures = await self._partitions.to_online([partition], Election.REASSIGNMENT)
        for reason in failures.values():
            self._warning(f"no leader of {partition} could be elected at the end of its reassignment: {reason}")
        return not failures

    async def _new_epoch(self, partition: TopicPartition, assignment: ReplicaAssignment) -> None:
        """A new leader epoch, without another change, and the assignment for all replicas."""
        state: LeaderAndIsr | None = None
        while state is None:
            states, failures = await self._states.read([partition])
            if partition in failures:
                self._warning(f"{partition} gets no new leader epoch: {failures[partition]}")
                return
            before = states[partition]
            written, _, failed = await self._states.write({partition: before.next_epoch(before.leader, before.isr)})
            if failed:
                self._warning(f"{partition} gets no new leader epoch: {failed[partition]}")
                return
            state = written.get(partition)
        self._context.states[partition] = state
        old = [each for each in assignment.replicas if each not in assignment.adding]
        self._batch.add_leader_and_isr(old, partition, state, assignment, is_new=False)
        # is_new lets a broker create the replica; an old one whose log directory is offline must not be created again.
        self._batch.add_leader_and_isr(assignment.adding, partition, state, assignment, is_new=True)
        await self._batch.send()

    async def _store_assignment(self, partition: TopicPartition, assignment: ReplicaAssignment) -> bool:
        topic = partition.topic
        assignments = {**self._context.topics[topic], partition.partition: assignment}
        data = topic_data(assignments, self._context.topic_ids.get(topic))
        outcome = (await self._store.write([[Set(topic_path(topic), data)]]))[0]
        if isinstance(outcome, StoreError):
            self._warning(f"the assignment of {partition} cannot be stored: {type(outcome).__name__}: {outcome}")
            return False
        return True
