"""The parts of one term of office, wired together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

from kafka_cy.cluster.store import AsyncStore
from kafka_cy.controller.alter_partition import AlterPartitions
from kafka_cy.controller.channels import Channels
from kafka_cy.controller.context import Broker, ControllerContext, Replica, ReplicaStatus
from kafka_cy.controller.controller_numbers import ControllerNumbers
from kafka_cy.controller.events import Answer, EventQueue, Handler
from kafka_cy.controller.pace import Pace
from kafka_cy.controller.partition_machine import Election, PartitionMachine
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.controller.reassignment import Reassignments
from kafka_cy.controller.replica_machine import ReplicaMachine
from kafka_cy.controller.request_batch import RequestBatch
from kafka_cy.controller.settings import ControllerSettings, Surroundings
from kafka_cy.controller.state_store import StateStore
from kafka_cy.controller.term_store import TermStore
from kafka_cy.controller.topic_deletion import TopicDeletion
from kafka_cy.protocol.controller_messages.leader_and_isr import LeaderAndIsrResponse
from kafka_cy.protocol.controller_messages.stop_replica import StopReplicaResponse
from kafka_cy.protocol.controller_messages.update_metadata import UpdateMetadataResponse
from kafka_cy.protocol.errors import ErrorCode

DELETION_RETRY_MS = 10_000  # after nodes of a topic could not be deleted


class Parts:
    """Owner: the controller's thread. Lifetime: one term. What several kinds of events do is here, too."""

    def __init__(
        self,
        settings: ControllerSettings,
        around: Surroundings,
        store: AsyncStore,
        epoch: int,
        epoch_version: int,
        queue: EventQueue,
        numbers: ControllerNumbers,
    ) -> None:
        self.settings = settings
        self.around = around
        self.is_open = True
        self._queue = queue
        self.reassignment_ended: Callable[[TopicPartition], Awaitable[None]] = _nothing
        self.context = context = ControllerContext(epoch, epoch_version)
        self.store = TermStore(store, epoch_version, around.call_later)
        self.states = StateStore(self.store, epoch)
        self.channels = Channels(around, self._too_many)
        self._storage_errors: set[int] = set()  # brokers that have answered LeaderAndIsr with it
        self._refusals: dict[int, int] = {}  # by broker: the error of its last answer to UpdateMetadata
        self.pace = Pace(self.pause)
        self.batch = RequestBatch(
            context,
            settings,
            self.channels,
            self.pace,
            self._leader_and_isr_answered,
            self._update_metadata_answered,
            self._stopped,
        )
        self.partitions = PartitionMachine(
            context,
            self.store,
            self.states,
            self.batch,
            self.pace,
            lambda: self.settings.unclean_leader_election_enable,
            settings.protocol.has_leader_recovery,
            numbers,
            around.warning,
        )
        self.replicas = ReplicaMachine(context, self.states, self.batch, self.pace, around.warning)
        self.deletion = TopicDeletion(
            context,
            self.store,
            self.replicas,
            self.batch,
            self.pace,
            self._resume_deletions_later,
            around.info,
            around.warning,
        )
        self.reassignments = Reassignments(
            context,
            self.store,
            self.states,
            self.partitions,
            self.replicas,
            self.deletion,
            self.batch,
            self.pace,
            lambda partition: self.reassignment_ended(partition),
            around.info,
            around.warning,
        )
        self.alter_partitions = AlterPartitions(context, self.states, self.pace)

    def put(self, name: str, handler: Handler) -> None:
        """Queue an event of this term; it is forgotten if the term has ended."""
        if self.is_open:
            self._queue.put(name, handler)

    async def pause(self) -> None:
        """Let the thread do what else is due. Other events wait, so that nothing that the controller knows changes."""
        answer: Answer[None] = Answer()
        self.around.call_later(0, lambda: answer.set(None))
        await answer

    def close(self) -> None:
        """The term has ended: nothing is sent or written any more."""
        self.is_open = False
        self.channels.close()

    async def tell_brokers(self) -> None:
        """Tell all brokers which brokers live."""
        self.batch.add_update_metadata(self.context.brokers, [])
        await self.batch.send()

    async def replicas_on(self, broker_ids: Iterable[int]) -> list[Replica]:
        """All replicas on these brokers, in order."""
        found = []
        for broker_id in sorted(broker_ids):
            for partition in sorted(self.context.on_broker.get(broker_id, ())):
                found.append(Replica(partition, broker_id))
                await self.pace.looked()
        return found

    async def replicas_offline(self, replicas: list[Replica]) -> None:
        """Brokers or log directories failed: elect other leaders, then take the replicas out of the ISRs."""
        context = self.context
        lost: set[TopicPartition] = set()
        for each in replicas:
            await self.pace.looked()
            state = context.states.get(each.partition)
            if state is None or each.partition.topic in context.deleting:
                continue
            if not context.is_online(state.leader, each.partition):
                lost.add(each.partition)
        leaderless = sorted(lost)
        await self.partitions.to_offline(leaderless)
        await self.partitions.elect_missing()
        kept = [each for each in replicas if each.partition.topic not in context.deleting]
        await self.replicas.to_offline(kept)
        await self.deletion.replicas_failed(each for each in replicas if each.partition.topic in context.deleting)
        if not leaderless:
            await self.tell_brokers()

    async def replicas_online(self, replicas: list[Replica]) -> None:
        """Brokers hear about their replicas, but for those that are deleted just now."""
        status = self.context.replica_status
        deleted = (ReplicaStatus.DELETION_STARTED, ReplicaStatus.DELETION_SUCCESSFUL)
        await self.replicas.to_online([each for each in replicas if status.get(each) not in deleted])

    async def elect(self, partitions: list[TopicPartition], election: Election) -> dict[TopicPartition, str]:
        """Elect leaders of these partitions; why they did not get one."""
        return await self.partitions.to_online(partitions, election)

    def _is_registered(self, broker: Broker) -> bool:
        """Whether this registration is the one of now: what an earlier one answered says nothing of the process of now."""
        known = self.context.brokers.get(broker.id)
        return known is not None and known.epoch == broker.epoch

    def _leader_and_isr_answered(self, broker: Broker, response: LeaderAndIsrResponse) -> None:
        if response.error_code != ErrorCode.NONE:
            self.around.warning(f"broker {broker.id} refused LeaderAndIsr: {_name(response.error_code)}")
            return
        offline = self._answered_with(response, ErrorCode.KAFKA_STORAGE_ERROR)
        if offline or broker.id in self._storage_errors:
            self._storage_errors.add(broker.id)
            usable = self._answered_with(response, ErrorCode.NONE)
            self.put("LeaderAndIsrResponseReceived", lambda: self._log_dirs_answered(broker, offline, usable))

    def _answered_with(self, response: LeaderAndIsrResponse, error: ErrorCode) -> set[TopicPartition]:
        return {
            TopicPartition(self._topic(topic.topic, topic.topic_id), each.partition)
            for topic in response.topics
            for each in topic.partitions
            if each.error_code == error
        }

    def _update_metadata_answered(self, broker: Broker, response: UpdateMetadataResponse) -> None:
        """Many of these requests may follow each other: a refusal is told when it begins."""
        before = self._refusals.pop(broker.id, ErrorCode.NONE)
        if response.error_code != ErrorCode.NONE:
            self._refusals[broker.id] = response.error_code
            if response.error_code != before:
                self.around.warning(f"broker {broker.id} refused UpdateMetadata: {_name(response.error_code)}")

    def _topic(self, topic: str, topic_id: UUID | None) -> str:
        return topic or (self.context.topic_names.get(topic_id, "") if topic_id is not None else "")

    async def _log_dirs_answered(
        self, broker: Broker, offline: set[TopicPartition], usable: set[TopicPartition]
    ) -> None:
        """Not every such error is of a failed log directory: a broker may have had no file descriptor left for a moment."""
        await self._log_dirs_online(broker, usable)
        await self._log_dirs_offline(broker, offline)

    async def _log_dirs_online(self, broker: Broker, usable: set[TopicPartition]) -> None:
        """A live broker has replicas that it could not use before."""
        broker_id = broker.id
        marked = self.context.offline_dir_partitions.get(broker_id, set())
        healed = sorted(marked & usable)
        if healed and self._is_registered(broker):
            self.around.info(f"broker {broker_id} can use {len(healed)} replicas again")
            marked.difference_update(healed)
            await self.replicas_online([Replica(each, broker_id) for each in healed])
            await self.partitions.elect_missing()
            await self.reassignments.complete_if_possible(healed)
            await self.deletion.resume_for({each.topic for each in healed})

    async def _log_dirs_offline(self, broker: Broker, offline: set[TopicPartition]) -> None:
        """Replicas of a live broker cannot be used, because their log directory failed. A new process may have it back."""
        broker_id = broker.id
        before = self.context.offline_dir_partitions.get(broker_id, set())
        new = {each for each in offline - before if broker_id in self.context.assignment(each).replicas}
        if new and self._is_registered(broker):
            self.around.warning(f"broker {broker_id} has {len(new)} replicas in failed log directories")
            self.context.offline_dir_partitions[broker_id] = before | new
            await self.replicas_offline([Replica(each, broker_id) for each in sorted(new)])

    def _stopped(self, broker: Broker, response: StopReplicaResponse, deleted: set[TopicPartition]) -> None:
        """A broker answered StopReplica. A partition that it did not answer counts as failed, so that it is tried again."""
        waited_for = {each for each in deleted if each.topic in self.context.deleting}
        if waited_for:
            errors = {TopicPartition(topic, index): error for topic, index, error in response.partitions}
            whole = response.error_code != ErrorCode.NONE
            done = {each for each in waited_for if not whole and errors.get(each) == ErrorCode.NONE}
            self.put(
                "TopicDeletionStopReplicaResponseReceived",
                lambda: self._deleted(broker, sorted(done), sorted(waited_for - done)),
            )

    async def _deleted(self, broker: Broker, done: list[TopicPartition], failed: list[TopicPartition]) -> None:
        """What is asked of a broker that has come back is asked again: an old refusal must not end it."""
        if not self._is_registered(broker):
            return
        known, broker_id = self.context.replica_status, broker.id
        await self.deletion.replicas_failed(
            each for each in (Replica(partition, broker_id) for partition in failed) if each in known
        )
        await self.deletion.replicas_deleted(
            each for each in (Replica(partition, broker_id) for partition in done) if each in known
        )

    def _resume_deletions_later(self) -> None:
        self.around.call_later(
            DELETION_RETRY_MS, lambda: self.put("TopicDeletionRetry", self.deletion.resume_again)
        )

    def _too_many(self, broker_id: int) -> None:
        self.put("BrokerChange", lambda: self._send_whole_state(broker_id))

    async def _send_whole_state(self, broker_id: int) -> None:
        """A broker lost requests because they were too many: it gets everything, as after its start."""
        if broker_id not in self.context.brokers:
            return
        self.batch.add_update_metadata([broker_id], self.context.partitions())
        await self.batch.send()
        replicas = await self.replicas_on([broker_id])
        await self.replicas_online(replicas)
        deleting = [each for each in replicas if each.partition.topic in self.context.deleting]
        await self.deletion.replicas_failed(deleting)
        await self.deletion.resume_for({each.partition.topic for each in deleting})


async def _nothing(partition: TopicPartition) -> None:
    pass


def _name(code: int) -> str:
    try:
        return ErrorCode(code).name
    except ValueError:
        return str(code)
