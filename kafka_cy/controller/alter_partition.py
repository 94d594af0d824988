"""AlterPartition: the leader's wish for a new ISR, checked and written (KIP-497, KIP-704, KIP-841)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

from kafka_cy.controller.context import ControllerContext
from kafka_cy.controller.pace import Pace
from kafka_cy.controller.partition_state import RECOVERED, RECOVERING, LeaderAndIsr, TopicPartition
from kafka_cy.controller.state_store import StateStore
from kafka_cy.protocol.controller_messages.alter_partition import (
    TOPIC_IDS_FROM,
    AlterPartitionRequest,
    AlterPartitionResponse,
    ChangedPartition,
    ChangedTopic,
    IsrMember,
    PartitionChange,
    TopicChange,
)
from kafka_cy.protocol.errors import ErrorCode

_INELIGIBLE_REPLICA_FROM = 2  # the version; before, the error was OPERATION_NOT_ATTEMPTED


def check_change(
    change: PartitionChange, current: LeaderAndIsr, is_eligible: Callable[[IsrMember], bool], version: int
) -> tuple[ErrorCode, LeaderAndIsr | None]:
    """The error, or the state to write; neither: the state is that already. The order of the checks is Kafka's."""
    if change.leader_epoch > current.leader_epoch or change.partition_epoch > current.partition_epoch:
        return ErrorCode.NOT_CONTROLLER, None  # the leader knows a later controller
    if change.leader_epoch < current.leader_epoch:
        return ErrorCode.FENCED_LEADER_EPOCH, None
    isr = tuple([member.broker_id for member in change.new_isr])
    recovery_state = change.leader_recovery_state if version >= 1 else current.leader_recovery_state
    wanted = current._replace(isr=isr, leader_recovery_state=recovery_state)
    if wanted == current:
        return ErrorCode.NONE, None  # a repetition, whatever partition epoch it has
    if change.partition_epoch < current.partition_epoch:
        return ErrorCode.INVALID_UPDATE_VERSION, None
    if (
        not isr
        or len(set(isr)) < len(isr)
        or current.leader not in isr
        or recovery_state not in (RECOVERED, RECOVERING)
    ):
        return ErrorCode.INVALID_REQUEST, None
    if recovery_state == RECOVERING and len(isr) > 1:
        return ErrorCode.INVALID_REQUEST, None
    if recovery_state == RECOVERING and current.leader_recovery_state == RECOVERED:
        return ErrorCode.INVALID_REQUEST, None
    if not all(is_eligible(member) for member in change.new_isr):
        old = version < _INELIGIBLE_REPLICA_FROM
        return ErrorCode.OPERATION_NOT_ATTEMPTED if old else ErrorCode.INELIGIBLE_REPLICA, None
    return ErrorCode.NONE, wanted


class AlterPartitions:
    """Owner: the controller's thread. Lifetime: one term."""

    def __init__(self, context: ControllerContext, states: StateStore, pace: Pace) -> None:
        self._context = context
        self._states = states
        self._pace = pace

    async def alter(
        self, request: AlterPartitionRequest, version: int
    ) -> tuple[AlterPartitionResponse, list[TopicPartition], list[TopicPartition]]:
        """The response, the partitions that all brokers must hear of, and those whose state changed. Raises TermEnded."""
        broker = self._context.brokers.get(request.broker_id)
        if broker is None or broker.epoch != request.broker_epoch:
            return AlterPartitionResponse(ErrorCode.STALE_BROKER_EPOCH), [], []
        answers: dict[tuple[str, UUID | None, int], ChangedPartition] = {}
        wanted: dict[TopicPartition, LeaderAndIsr] = {}
        heard: list[TopicPartition] = []
        keys: dict[TopicPartition, tuple[str, UUID | None, int]] = {}
        for topic, change in ((each, change) for each in request.topics for change in each.partitions):
            await self._pace.looked()
            key = (topic.topic, topic.topic_id, change.partition)
            error, partition, state = self._check(request.broker_id, topic, change, version)
            if partition is not None:
                heard.append(partition)
                keys[partition] = key
            if error is ErrorCode.NONE and state is not None and partition is not None:
                wanted[partition] = state
            elif error is ErrorCode.NONE and partition is not None:
                answers[key] = _changed(change.partition, self._context.states[partition])
            else:
                answers[key] = ChangedPartition(change.partition, error)
        written, changed, failed = await self._states.write(wanted)
        for partition, state in written.items():
            await self._pace.looked()
            self._context.states[partition] = state
            answers[keys[partition]] = _changed(partition.partition, state)
        for error, partitions in ((ErrorCode.INVALID_UPDATE_VERSION, changed), (ErrorCode.UNKNOWN_SERVER_ERROR, failed)):
            for partition in partitions:
                await self._pace.looked()
                answers[keys[partition]] = ChangedPartition(partition.partition, error)
        await self._read_again(changed)
        topics: list[ChangedTopic] = []
        for topic in request.topics:
            found = [answers[topic.topic, topic.topic_id, each.partition] for each in topic.partitions]
            topics.append(ChangedTopic(topic.topic, topic.topic_id, tuple(found)))
            await self._pace.looked(len(found))
        return AlterPartitionResponse(ErrorCode.NONE, tuple(topics)), heard, sorted(written)

    def _check(
        self, sender: int, topic: TopicChange, change: PartitionChange, version: int
    ) -> tuple[ErrorCode, TopicPartition | None, LeaderAndIsr | None]:
        if version >= TOPIC_IDS_FROM:
            name = self._context.topic_names.get(topic.topic_id) if topic.topic_id is not None else None
            if name is None:
                return ErrorCode.UNKNOWN_TOPIC_ID, None, None
        else:
            name = topic.topic
        partition = TopicPartition(name, change.partition)
        current = self._context.states.get(partition)
        if current is None or name in self._context.deletion_begun:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, None, None
        if current.leader != sender and change.leader_epoch == current.leader_epoch:
            return ErrorCode.INVALID_REQUEST, partition, None  # only the leader may ask
        error, state = check_change(change, current, self._is_eligible, version)
        if state is not None and not set(state.isr) <= set(self._context.assignment(partition).replicas):
            return ErrorCode.INVALID_REQUEST, partition, None
        return error, partition, state

    def _is_eligible(self, member: IsrMember) -> bool:
        """Whether a broker may be in an ISR. Leaders of Kafka name no broker epoch in ZooKeeper mode (KIP-903 names it)."""
        broker = self._context.brokers.get(member.broker_id)
        if broker is None or member.broker_id in self._context.shutting_down:
            return False
        return member.broker_epoch in (-1, broker.epoch)

    async def _read_again(self, partitions: Iterable[TopicPartition]) -> None:
        """Somebody else wrote these states: the leader itself, with inter.broker.protocol.version before 2.7."""
        states, _ = await self._states.read(list(partitions))
        self._context.states.update(states)


def _changed(partition: int, state: LeaderAndIsr) -> ChangedPartition:
    return ChangedPartition(
        partition,
        ErrorCode.NONE,
        state.leader,
        state.leader_epoch,
        state.isr,
        state.leader_recovery_state,
        state.partition_epoch,
    )
