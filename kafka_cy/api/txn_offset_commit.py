"""TxnOffsetCommit (API 28): a group's offsets become part of a producer's transaction; they count from its commit on.

v3 (KIP-447): generation, member id and group instance id. v4 (KIP-890): TRANSACTION_ABORTABLE when the group's partition of
`__consumer_offsets` was not added to the transaction; older versions get INVALID_TXN_STATE. v5 (KIP-890): the partition is
added by this request. Before v2, COORDINATOR_NOT_AVAILABLE stands for COORDINATOR_LOAD_IN_PROGRESS (KAFKA-7296).
Partitions that do not exist: UNKNOWN_TOPIC_OR_PARTITION. An error of the group or of the transaction stands at each partition.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Container, Iterator
from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.api.authorization import (
    GROUP_DENIED,
    TOPIC_DENIED,
    TRANSACTIONAL_ID_DENIED,
    may_group,
    may_topic,
    may_transactional_id,
)
from kafka_cy.api.offset_commit_cold import (
    ANSWERED_AT_ONCE_MAX,
    answer,
    has_many,
    has_too_many_offsets,
    in_steps,
)
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.cluster.topic_names import OFFSETS_TOPIC
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.responders import RespondCommit
from kafka_cy.coordinator.transactions.init_producer_id import Producer
from kafka_cy.coordinator.transactions.transaction import Partition
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.txn_offset_commit.v5.request import TxnOffsetCommitRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTransactions

VERSION_WITH_IMPLICIT_ADD = 5
PartitionErrors = dict[Partition, ErrorCode]


@handler(api_key=28)
def handle(request: Request[TxnOffsetCommitRequest], context: ChangesTransactions) -> None:
    """Add or verify the group's partition, then store the offsets in the transaction."""
    is_long = has_many(request, ANSWERED_AT_ONCE_MAX)

    denied: set[str] = set()  # topics

    def respond(error: ErrorCode, errors: PartitionErrors) -> None:
        answer(request, partial(_response, request, context, error, errors, denied), is_long=is_long)

    def steps() -> Iterator[None]:
        if (yield from has_too_many_offsets(request, context)):
            respond(ErrorCode.UNKNOWN_SERVER_ERROR, {})
            return
        accepted: list[CommitPartition] = []
        topic_ids: dict[str, uuid.UUID] = {}
        yield from _accept(request, context, accepted, topic_ids, denied)
        _commit_accepted(request, context, accepted, topic_ids, respond)  # not after a fault: never a part of the request

    refusal = _refusal(request)
    if refusal is not None:
        answer(request, partial(_refused, request, refusal), is_long=is_long)
    elif is_long:
        context.groups.in_slices(in_steps(steps()), lambda: None)
    else:
        for _ in steps():
            pass


def _commit_accepted(
    request: Request[TxnOffsetCommitRequest], context: ChangesTransactions, accepted: list[CommitPartition],
    topic_ids: dict[str, uuid.UUID], respond: RespondCommit,
) -> None:  # fmt: skip
    body, version = request.body, request.api_version
    producer = Producer(body.producer_id, body.producer_epoch)
    if not accepted:
        respond(ErrorCode.NONE, {})
        return
    error, index = _group_partition(request, context)
    if error:
        respond(error, {})
        return
    group_partition = (OFFSETS_TOPIC, index)

    def check() -> ErrorCode:
        return context.transactions.check_open(body.transactional_id, producer, group_partition)

    def added(errors: PartitionErrors) -> None:
        error = errors[group_partition]
        if error is ErrorCode.TRANSACTION_ABORTABLE and version < 4:
            error = ErrorCode.INVALID_TXN_STATE
        elif error is ErrorCode.NETWORK_EXCEPTION:  # as Kafka: clients do not expect it here
            error = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        if error:
            respond(error, {})
        else:
            context.groups.commit_in_transaction(_commit(request, accepted, topic_ids), producer, check, respond)

    implicit = version >= VERSION_WITH_IMPLICIT_ADD
    context.transactions.add_for_produce(body.transactional_id, *producer, [group_partition], implicit, added)


def _accept(
    request: Request[TxnOffsetCommitRequest], context: ChangesTransactions, accepted: list[CommitPartition],
    topic_ids: dict[str, uuid.UUID], denied: set[str],
) -> Iterator[None]:  # fmt: skip
    """Collect the partitions that exist, a topic or partition in each step. Their topic ids are not stored, as in Kafka."""
    for topic in request.body.topics:
        known = context.cluster.topics.get(topic.name)
        if not may_topic(request, Operation.READ, topic.name):
            known = None
            denied.add(topic.name)
        yield
        for each in topic.partitions:
            if known is not None and 0 <= each.partition_index < len(known.partitions):
                topic_ids.setdefault(topic.name, known.id)
                epoch = each.committed_leader_epoch if request.api_version >= 2 else -1
                accepted.append(
                    CommitPartition(
                        topic.name, None, each.partition_index, each.committed_offset, epoch, each.committed_metadata
                    )
                )
            yield


def _exists(context: ChangesTransactions, name: str, index: int) -> bool:
    topic = context.cluster.topics.get(name)
    return topic is not None and 0 <= index < len(topic.partitions)


def _group_partition(request: Request[TxnOffsetCommitRequest], context: ChangesTransactions) -> tuple[ErrorCode, int]:
    """The group's partition of `__consumer_offsets`, if this broker coordinates the group now."""
    group_id = request.body.group_id
    if not group_id:
        return ErrorCode.INVALID_GROUP_ID, -1
    error, _ = context.groups.runtime.shard_of(group_id)
    index = context.groups.runtime.partition_index(group_id)
    if error is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS and request.api_version < 2:
        error = ErrorCode.COORDINATOR_NOT_AVAILABLE
    return error, -1 if index is None else index


def _commit(
    request: Request[TxnOffsetCommitRequest], accepted: list[CommitPartition], topic_ids: dict[str, uuid.UUID]
) -> CommitRequest:
    body, version = request.body, request.api_version
    return CommitRequest(
        group_id=body.group_id,
        generation=body.generation_id if version >= 3 else -1,
        member_id=body.member_id if version >= 3 else "",
        instance_id=body.group_instance_id if version >= 3 else None,
        retention_ms=-1,
        knows_unknown_groups=False,
        partitions=accepted,
        is_transactional=True,
        topic_ids=topic_ids,
    )


def _refusal(request: Request[TxnOffsetCommitRequest]) -> ErrorCode | None:
    """The error of a sender who may not use the transactional id or the group."""
    if not may_transactional_id(request, Operation.WRITE, request.body.transactional_id):
        return TRANSACTIONAL_ID_DENIED
    return None if may_group(request, Operation.READ, request.body.group_id) else GROUP_DENIED


def _refused(request: Request[TxnOffsetCommitRequest], code: ErrorCode) -> dict[str, object]:
    return _topics(request, lambda topic, index: int(code))


def _response(
    request: Request[TxnOffsetCommitRequest], context: ChangesTransactions, error: ErrorCode, errors: PartitionErrors,
    denied: Container[str],
) -> dict[str, object]:  # fmt: skip
    def code(topic: str, index: int) -> int:
        if topic in denied:
            return int(TOPIC_DENIED)
        if not _exists(context, topic, index) and (topic, index) not in errors:
            return int(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        return int(error or errors.get((topic, index), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))

    return _topics(request, code)


def _topics(request: Request[TxnOffsetCommitRequest], code: Callable[[str, int], int]) -> dict[str, object]:
    topics = [
        {
            "name": topic.name,
            "partitions": [
                {"partition_index": each.partition_index, "error_code": code(topic.name, each.partition_index)}
                for each in topic.partitions
            ],
        }
        for topic in request.body.topics
    ]
    return {"throttle_time": 0, "topics": topics}
