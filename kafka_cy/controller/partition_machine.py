"""The state machine of partitions: NEW (no leader yet), ONLINE, OFFLINE. Elections happen on the way to ONLINE."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum

from kafka_cy.cluster.store import Create, Get, NoAuthError, Node, NodeExistsError, Operation, Results, StoreError
from kafka_cy.cluster.znodes import from_json, state_path, topic_path
from kafka_cy.controller import elections
from kafka_cy.controller.context import ControllerContext, PartitionStatus
from kafka_cy.controller.controller_numbers import ControllerNumbers
from kafka_cy.controller.elections import Elected
from kafka_cy.controller.nodes import state_data
from kafka_cy.controller.pace import Pace
from kafka_cy.controller.partition_state import LeaderAndIsr, TopicPartition
from kafka_cy.controller.request_batch import RequestBatch
from kafka_cy.controller.state_store import Failures, StateStore
from kafka_cy.controller.term_store import TermStore, pieces

UNCLEAN_KEY = "unclean.leader.election.enable"


class Election(Enum):
    """Which rule elects."""

    OFFLINE = 1
    OFFLINE_UNCLEAN = 2  # whatever the topic's configuration says
    PREFERRED = 3
    REASSIGNMENT = 4
    CONTROLLED_SHUTDOWN = 5


class PartitionMachine:
    """Owner: the controller's thread. Lifetime: one term."""

    def __init__(
        self,
        context: ControllerContext,
        store: TermStore,
        states: StateStore,
        batch: RequestBatch,
        pace: Pace,
        unclean_enable: Callable[[], bool],
        recovers: bool,
        numbers: ControllerNumbers,
        warning: Callable[[str], object],
    ) -> None:
        """`unclean_enable()`: the broker's default of unclean.leader.election.enable. `recovers`: see elections.elect_offline."""
        self._context = context
        self._store = store
        self._states = states
        self._batch = batch
        self._pace = pace
        self._unclean_enable = unclean_enable
        self._recovers = recovers
        self._numbers = numbers
        self._warning = warning

    async def start(self) -> None:
        """Status of all partitions at the begin of a term, then elections."""
        for partition in self._context.partitions():
            state = self._context.states.get(partition)
            if state is None:
                self._context.set_status(partition, PartitionStatus.NEW)
            elif self._context.is_online(state.leader, partition):
                self._context.set_status(partition, PartitionStatus.ONLINE)
            else:
                self._context.set_status(partition, PartitionStatus.OFFLINE)
            await self._pace.looked()
        await self.elect_missing()

    async def elect_missing(self) -> None:
        """Try to elect a leader for all partitions without one."""
        missing = [each for each in sorted(self._context.without_leader) if each.topic not in self._context.deleting]
        await self.to_online(missing, Election.OFFLINE)

    async def to_new(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions exist from now on."""
        for partition in partitions:
            self._context.set_status(partition, PartitionStatus.NEW)
            await self._pace.looked()

    async def to_offline(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions have lost their leader."""
        for partition in partitions:
            self._context.set_status(partition, PartitionStatus.OFFLINE)
            await self._pace.looked()

    async def to_online(self, partitions: Sequence[TopicPartition], election: Election) -> Failures:
        """Elect leaders and tell the brokers; returns why partitions did not get one. Raises TermEnded."""
        new: list[TopicPartition] = []
        others: list[TopicPartition] = []
        for partition in partitions:
            status = self._context.partition_status.get(partition)
            if status is not None:
                (new if status is PartitionStatus.NEW else others).append(partition)
            await self._pace.looked()
        failures: Failures = {}
        try:
            for some in pieces(new):
                failures.update(await self._create(some))
            for some in pieces(others):
                left: Sequence[TopicPartition] = some
                while left:
                    left, failed = await self._elect(left, election)
                    failures.update(failed)
        except BaseException:
            self._batch.clear()
            raise
        await self._batch.send()
        return failures

    async def _create(self, partitions: Sequence[TopicPartition]) -> Failures:
        """First leaders: the first live replica, with all live ones as ISR."""
        failures: Failures = {}
        states: dict[TopicPartition, LeaderAndIsr] = {}
        for partition in partitions:
            replicas = self._context.assignment(partition).replicas
            live = tuple([replica for replica in replicas if self._context.is_online(replica, partition)])
            if live:
                states[partition] = LeaderAndIsr(live[0], 0, live, 0, self._context.epoch)
            else:
                failures[partition] = "none of its replicas is live"
        outcomes = await self._create_nodes(states)
        for (partition, state), outcome in zip(states.items(), outcomes, strict=True):
            if isinstance(outcome, StoreError):
                failures[partition] = f"{type(outcome).__name__}: {outcome}"
                continue
            self._context.states[partition] = state
            self._context.set_status(partition, PartitionStatus.ONLINE)
            self._batch.add_leader_and_isr(
                state.isr, partition, state, self._context.assignment(partition), is_new=True
            )
        for partition, reason in failures.items():
            self._warning(f"{partition} has no leader: {reason}")
        return failures

    async def _create_nodes(self, states: Mapping[TopicPartition, LeaderAndIsr]) -> list[Results | StoreError]:
        """Create the nodes of partitions: one change for each of them, many in flight at once.

        Not before their parents exist: after a lost connection a later change may be applied before an earlier one is repeated.
        """
        topics = sorted({partition.topic for partition in states})
        containers: list[list[Operation]] = [[Create(f"{topic_path(topic)}/partitions")] for topic in topics]
        await self._store.write(containers)
        changes: list[list[Operation]] = [
            [Create(state_path(*each).removesuffix("/state")), Create(state_path(*each), state_data(state))]
            for each, state in states.items()
        ]
        outcomes = await self._store.write(changes)
        # A controller that creates one node at a time, as Kafka's, may have stopped between the two.
        halves = [
            index
            for index, outcome in enumerate(outcomes)
            if isinstance(outcome, NodeExistsError) and outcome.operation == 0
        ]
        for index, outcome in zip(halves, await self._store.write([changes[i][1:] for i in halves]), strict=True):
            outcomes[index] = outcome
        return outcomes

    async def _elect(
        self, partitions: Sequence[TopicPartition], election: Election
    ) -> tuple[list[TopicPartition], Failures]:
        """One round: partitions whose state was changed by somebody else meanwhile are to be tried again."""
        states, failures = await self._states.read(partitions)
        unclean = await self._unclean_allowed(states, election)
        elected: dict[TopicPartition, Elected] = {}
        for partition, state in states.items():
            outcome = self._choose(partition, state, election, partition.topic in unclean)
            if outcome.state is None:
                failures[partition] = "there is no eligible replica"
            else:
                elected[partition] = outcome
        written, again, failed = await self._states.write(
            {partition: each.state for partition, each in elected.items() if each.state is not None}
        )
        failures.update(failed)
        for partition, state in written.items():
            self._context.states[partition] = state
            self._context.set_status(partition, PartitionStatus.ONLINE)
            self._numbers.leader_elections += 1
            if elected[partition].unclean:
                self._numbers.unclean_elections += 1
                self._warning(
                    f"{partition}: unclean election of broker {state.leader}, which was not in"
                    " the ISR; records may be lost"
                )
            assignment = self._context.assignment(partition)
            self._batch.add_leader_and_isr(elected[partition].receivers, partition, state, assignment, is_new=False)
        return again, failures

    def _choose(self, partition: TopicPartition, state: LeaderAndIsr, election: Election, unclean: bool) -> Elected:
        context, assignment = self._context, self._context.assignment(partition)

        def online(broker_id: int) -> bool:
            return context.is_online(broker_id, partition)

        if election is Election.PREFERRED:
            return elections.elect_preferred(state, assignment, online)
        if election is Election.REASSIGNMENT:
            return elections.elect_for_reassignment(state, assignment, online)
        if election is Election.CONTROLLED_SHUTDOWN:
            return elections.elect_for_shutdown(state, assignment, online, context.shutting_down)
        return elections.elect_offline(state, assignment, online, unclean, self._recovers)

    async def _unclean_allowed(self, states: Mapping[TopicPartition, LeaderAndIsr], election: Election) -> set[str]:
        """The topics that may have an unclean leader, among those that would need one."""
        if election is Election.OFFLINE_UNCLEAN:
            return {partition.topic for partition in states}
        if election is not Election.OFFLINE:
            return set()
        needing = sorted(
            {
                partition.topic
                for partition, state in states.items()
                if not any(self._may_lead(member, partition) for member in state.isr)
            }
        )
        nodes = await self._store.read_allowed([Get(f"/config/topics/{topic}") for topic in needing])
        found = dict(zip(needing, nodes, strict=True))
        refused = [topic for topic, node in found.items() if isinstance(node, NoAuthError)]
        if refused:  # as in Kafka, the other partitions get their leaders
            self._warning(f"the configuration of {len(refused)} topics, such as {refused[0]}, may not be read: no unclean election")
        return {topic for topic, node in found.items() if not isinstance(node, NoAuthError) and self._is_unclean(topic, node)}

    def _may_lead(self, broker_id: int, partition: TopicPartition) -> bool:
        """A live replica. A member of the ISR may be left over from a reassignment: it is not elected."""
        replicas = self._context.assignment(partition).replicas
        return broker_id in replicas and self._context.is_online(broker_id, partition)

    def _is_unclean(self, topic: str, node: Node | None) -> bool:
        try:
            config = from_json(node.data).get("config", {}) if node is not None else {}
            value = config.get(UNCLEAN_KEY)
        except (ValueError, AttributeError):
            self._warning(f"the configuration of topic {topic} cannot be read: no unclean election")
            return False
        return str(value).strip().lower() == "true" if value is not None else self._unclean_enable()
