"""What an operator asks for: elections and reassignments, by request or by the nodes of Kafka's older tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from kafka_cy.cluster.store import Delete, Exists, Get, Node, Set
from kafka_cy.cluster.znode_formats import reassignment_data
from kafka_cy.controller.nodes import (
    PREFERRED_ELECTION,
    REASSIGN_PARTITIONS,
    partitions_of,
    reassignments_of,
)
from kafka_cy.controller.partition_machine import Election
from kafka_cy.controller.partition_state import LeaderAndIsr, ReplicaAssignment, TopicPartition
from kafka_cy.controller.parts import Parts
from kafka_cy.controller.term_store import TermEnded
from kafka_cy.protocol.errors import ErrorCode

PARTITIONS_PER_EVENT = 20  # reassignments begun before other events have their turn
ELECTIONS_PER_EVENT = 500


class Outcome(NamedTuple):
    """What became of one partition."""

    error: ErrorCode
    message: str | None = None


NOT_NEEDED = Outcome(ErrorCode.ELECTION_NOT_NEEDED)
Outcomes = dict[TopicPartition, Outcome]


class OperatorEvents:
    """Owner: the controller's thread. Lifetime: one term."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._context = parts.context
        self._from_node: dict[TopicPartition, tuple[int, ...]] = {}  # what /admin/reassign_partitions still asks for
        parts.reassignment_ended = self._ended

    def on_preferred_election(self, path: str) -> None:
        """Watch of /admin/preferred_replica_election."""
        self._parts.put("ReplicaLeaderElection", self.preferred_election)

    def on_reassign_partitions(self, path: str) -> None:
        """Watch of /admin/reassign_partitions."""
        self._parts.put("ZkPartitionReassignment", self.reassign_partitions)

    async def preferred_election(self) -> None:
        """Elect what the node asks for, then delete it and watch for the next."""
        node = await self._parts.store.get(PREFERRED_ELECTION)
        if node is not None:
            try:
                partitions = partitions_of(node)
            except ValueError as error:
                self._parts.around.warning(f"{PREFERRED_ELECTION}: {error}")
                partitions = []
            await self.elect(partitions, unclean=False)
            await self._parts.store.write([[Delete(PREFERRED_ELECTION)]])
        await self._parts.store.read([Exists(PREFERRED_ELECTION, self.on_preferred_election)])

    async def elect(self, partitions: Iterable[TopicPartition] | None, unclean: bool) -> Outcomes:
        """ElectLeaders; None: all partitions, of which those that need no election are left out of the answer."""
        outcomes: Outcomes = {}
        wanted: dict[TopicPartition, None] = {}
        for partition in list(self._context.states) if partitions is None else partitions:
            await self._parts.pace.looked()
            outcome = self._refusal(partition, unclean)
            if outcome is None:
                wanted[partition] = None
            elif partitions is not None or outcome.error is not ErrorCode.ELECTION_NOT_NEEDED:
                outcomes[partition] = outcome
        failures = await self._parts.elect(list(wanted), Election.OFFLINE_UNCLEAN if unclean else Election.PREFERRED)
        failed = ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE if unclean else ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
        for partition in wanted:
            await self._parts.pace.looked()
            reason = failures.get(partition)
            outcomes[partition] = Outcome(ErrorCode.NONE) if reason is None else Outcome(failed, reason)
        return outcomes

    def _refusal(self, partition: TopicPartition, unclean: bool) -> Outcome | None:
        """Why the partition gets no other leader; None: it may."""
        context, state = self._context, self._context.states.get(partition)
        if partition not in context.partition_status or state is None:
            return Outcome(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.")
        if partition.topic in context.deleting:
            return Outcome(ErrorCode.INVALID_TOPIC_EXCEPTION, "The topic is being deleted")
        return None if self._is_needed(partition, state, unclean) else NOT_NEEDED

    def _is_needed(self, partition: TopicPartition, state: LeaderAndIsr, unclean: bool) -> bool:
        if unclean:
            return not self._context.is_online(state.leader, partition)
        return state.leader != self._context.assignment(partition).replicas[0]

    async def rebalance(self) -> None:
        """auto.leader.rebalance.enable: brokers that lead too few of the partitions that prefer them get their leaders back."""
        context, limit = self._context, self._parts.settings.leader_imbalance_per_broker_percentage
        preferred: dict[int, list[TopicPartition]] = {}
        for partition in context.partitions():
            if partition.topic not in context.deleting and partition in context.states:
                preferred.setdefault(context.assignment(partition).replicas[0], []).append(partition)
            await self._parts.pace.looked()
        wanted: list[TopicPartition] = []
        for broker_id, partitions in sorted(preferred.items()):
            elsewhere = [each for each in partitions if context.states[each].leader != broker_id]
            await self._parts.pace.looked(len(partitions))
            if 100 * len(elsewhere) > limit * len(partitions):
                wanted += [each for each in elsewhere if self._can_move_back(each)]
                await self._parts.pace.looked(len(elsewhere))
        if wanted:
            self._parts.around.info(f"{len(wanted)} partitions get their preferred leader back")
            self._move_back(wanted)

    def _can_move_back(self, partition: TopicPartition) -> bool:
        """Whether the preferred replica of a partition can be its leader, and another one is it."""
        context, state = self._context, self._context.states.get(partition)
        if state is None or partition.topic in context.deleting or context.being_reassigned:
            return False
        preferred = context.assignment(partition).replicas[0]
        return state.leader != preferred and preferred in state.isr and context.is_online(preferred, partition)

    def _move_back(self, partitions: list[TopicPartition]) -> None:
        """Other events have their turn between some of the elections."""

        async def some() -> None:
            part = partitions[:ELECTIONS_PER_EVENT]
            del partitions[:ELECTIONS_PER_EVENT]
            if partitions:
                self._parts.put("AutoPreferredReplicaLeaderElection", some)
            await self._parts.elect([each for each in part if self._can_move_back(each)], Election.PREFERRED)

        self._parts.put("AutoPreferredReplicaLeaderElection", some)

    async def reassign_partitions(self) -> None:
        """Begin what the node asks for. It is deleted when all of that is complete."""
        node: Node | None = (await self._parts.store.read([Get(REASSIGN_PARTITIONS, self.on_reassign_partitions)]))[0]
        if node is None:
            await self._parts.store.read([Exists(REASSIGN_PARTITIONS, self.on_reassign_partitions)])
            self._from_node = {}
            return
        try:
            wanted = reassignments_of(node)
        except ValueError as error:
            self._parts.around.warning(f"{REASSIGN_PARTITIONS}: {error}")
            await self._parts.store.write([[Delete(REASSIGN_PARTITIONS)]])
            return
        new = {partition: target for partition, target in wanted.items() if self._from_node.get(partition) != target}
        self._from_node = wanted
        if new:
            self._begin_some(list(new.items()))
        elif not wanted:
            await self._parts.store.write([[Delete(REASSIGN_PARTITIONS)]])

    def _begin_some(self, left: list[tuple[TopicPartition, tuple[int, ...]]]) -> None:
        """Other events have their turn between every few partitions. They may change what the node asks for."""

        async def some() -> None:
            part = dict(left[:PARTITIONS_PER_EVENT])
            del left[:PARTITIONS_PER_EVENT]
            if left:
                self._parts.put("ZkPartitionReassignment", some)
            outcomes = await self._begin({each: target for each, target in part.items() if self._from_node.get(each) == target})
            for partition, outcome in outcomes.items():
                if outcome.error is not ErrorCode.NONE:
                    self._parts.around.warning(
                        f"{REASSIGN_PARTITIONS}: {partition}: {outcome.error.name} {outcome.message}"
                    )
            finished = [
                each
                for each, outcome in outcomes.items()
                if outcome.error is not ErrorCode.NONE or each not in self._context.being_reassigned
            ]
            if finished:
                await self._remove_from_node(finished)

        self._parts.put("ZkPartitionReassignment", some)

    async def _ended(self, partition: TopicPartition) -> None:
        """A reassignment is complete. One to another target that the node asks for may still have to begin."""
        if self._from_node.get(partition) == self._context.assignment(partition).replicas:
            await self._remove_from_node([partition])

    async def _remove_from_node(self, partitions: Iterable[TopicPartition]) -> None:
        before = len(self._from_node)
        for partition in partitions:
            self._from_node.pop(partition, None)
        if len(self._from_node) == before and before:
            return
        if self._from_node:
            data = reassignment_data({(*each,): target for each, target in self._from_node.items()})
            await self._parts.store.write([[Set(REASSIGN_PARTITIONS, data)]])
        else:
            await self._parts.store.write([[Delete(REASSIGN_PARTITIONS)]])

    async def _begin(self, wanted: Mapping[TopicPartition, Sequence[int] | None]) -> Outcomes:
        outcomes: Outcomes = {}
        for partition, target in wanted.items():
            error, message, assignment = self._parts.reassignments.check(partition, target)
            outcomes[partition] = Outcome(error, message)
            if assignment is not None and not await self._parts.reassignments.start(partition, assignment):
                error, message, assignment = self._parts.reassignments.check(partition, target)  # the ISR may be another
                failed = Outcome(ErrorCode.UNKNOWN_SERVER_ERROR, "The assignment cannot be stored.")
                outcomes[partition] = failed if assignment is not None else Outcome(error, message)
        return outcomes

    def reassign(
        self, wanted: Mapping[TopicPartition, Sequence[int] | None], done: Callable[[Outcomes], object]
    ) -> None:
        """AlterPartitionReassignments. Other events have their turn between every few partitions."""
        left, outcomes = list(wanted.items()), Outcomes()

        async def some() -> None:
            part = dict(left[:PARTITIONS_PER_EVENT])
            try:
                outcomes.update(await self._begin(part))
                for partition in part:  # the node does not count any more for what a request asked for
                    if partition in self._from_node and outcomes[partition].error is ErrorCode.NONE:
                        await self._remove_from_node([partition])
            except TermEnded:
                raise  # Controller.resign answers
            except Exception:
                done(dict.fromkeys((each for each, _ in left), Outcome(ErrorCode.UNKNOWN_SERVER_ERROR)) | outcomes)
                raise
            del left[:PARTITIONS_PER_EVENT]
            if left:
                self._parts.put("ApiPartitionReassignment", some)
            else:
                done(outcomes)

        self._parts.put("ApiPartitionReassignment", some)

    async def reassignments(self, partitions: Iterable[TopicPartition] | None) -> dict[TopicPartition, ReplicaAssignment]:
        """ListPartitionReassignments; None: all. In no order."""
        running = self._context.being_reassigned
        found: dict[TopicPartition, ReplicaAssignment] = {}
        for partition in list(running) if partitions is None else partitions:
            await self._parts.pace.looked()
            assignment = self._context.assignment(partition) if partition in running else None
            if assignment is not None and assignment.is_being_reassigned:
                found[partition] = assignment
        return found
