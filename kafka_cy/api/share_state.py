"""What the five share-state APIs (83 to 87) have in common: one operation for each partition, one response for all.

Brokers send them. As in Kafka, a request without a group id gets an empty response. A partition that is named again takes the place
of the first (Kafka handles both, and responds once): a small request must not make a response of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from kafka_cy.api.authorization import CLUSTER_DENIED, denied, may_cluster
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.coordinator.share.state_machine import SharePartition
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesShareGroups

Start = Callable[[SharePartition, Any, Callable[..., object]], object]  # (partition, its entry, respond(error, ...))
Show = Callable[..., dict[str, Any]]  # (error, ...) -> the fields of the partition's result after its index

ZERO_ID = UUID(int=0)  # no topic has it
PARTITIONS_SHOWN_AT_ONCE = 500  # in a response that is built on the loop
NEGATIVE = "The partition id cannot be a negative number."
MESSAGES = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: "This server does not host this topic-partition.",
    ErrorCode.FENCED_LEADER_EPOCH: "The leader epoch in the request is older than the epoch on the broker.",
    ErrorCode.FENCED_STATE_EPOCH: "The share coordinator rejected the request because the share-group state epoch did not match.",
    ErrorCode.NOT_COORDINATOR: "This is not the correct coordinator.",
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS: "The coordinator is loading and hence can't process requests.",
}


def for_each_partition(
    request: Request[Any], context: UsesShareGroups, start: Start, show: Show, *, invalid: str | None = None
) -> None:
    """Start the operation of every partition that the request names, and respond when all are done. `invalid`: what a client is
    told when the operation answers INVALID_REQUEST for a partition that may exist."""
    body = request.body
    asked = {(topic.topic_id, each.partition): each for topic in body.topics for each in topic.partitions}
    if not body.group_id:
        asked = {}
    shown: dict[tuple[UUID | None, int], dict[str, Any]] = {}

    def response() -> dict[str, Any]:
        topics: dict[UUID | None, list[dict[str, Any]]] = {}
        for topic_id, partition in asked:
            topics.setdefault(topic_id, []).append({"partition": partition, **shown[topic_id, partition]})
        return {"results": [{"topic_id": topic_id, "partitions": partitions} for topic_id, partitions in topics.items()]}

    def respond() -> None:
        batches = sum(len(each.get("state_batches", ())) for each in shown.values())
        if len(shown) + batches > PARTITIONS_SHOWN_AT_ONCE:
            request.respond_long(lambda ready: ready(response))
        else:
            request.respond(response())

    def done(place: tuple[UUID | None, int], error: ErrorCode, *rest: Any) -> None:
        if place not in shown:
            message = NEGATIVE if place[1] < 0 else invalid if error is ErrorCode.INVALID_REQUEST else MESSAGES.get(error)
            shown[place] = {"error_code": int(error), "error_message": message} | show(error, *rest)
            if len(shown) == len(asked):
                respond()

    def steps() -> Iterator[None]:
        for place, each in asked.items():
            partition = SharePartition(body.group_id, place[0] or ZERO_ID, place[1])
            start(partition, each, request.guarded(partial(done, place)))
            yield

    if not may_cluster(request, Operation.CLUSTER_ACTION):
        shown.update(dict.fromkeys(asked, denied(CLUSTER_DENIED)))
        respond()
    elif not asked:
        request.respond({"results": []})
    elif len(asked) > AT_ONCE_MAX:
        context.share.coordinator.runtime.slices.add(steps())
    else:
        for _ in steps():
            pass


def show_nothing(error: ErrorCode, *rest: Any) -> dict[str, Any]:
    """The result of an operation that only succeeds or fails."""
    return {}
