"""ElectLeaders, AlterPartitionReassignments and ListPartitionReassignments in a cluster with ZooKeeper: the controller's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.alter_partition_reassignments import reassignment_denied
from kafka_cy.api.authorization import CLUSTER_DENIED, denied, may_cluster
from kafka_cy.api.elect_leaders import election_denied, election_refused, partitions_count, rows_response
from kafka_cy.api.registry import handler
from kafka_cy.api.waiting_requests import LATE, WaitingRequest
from kafka_cy.authorizer.acls import Operation
from kafka_cy.controller.operator_events import Outcome
from kafka_cy.controller.partition_state import ReplicaAssignment, TopicPartition
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Make, Request
    from kafka_cy.api.roles import ChangesTopicsOfCluster
    from kafka_cy.cluster.topics import Topic

PREFERRED, UNCLEAN = 0, 1
PARTITION_BYTES = 400  # of what is asked for, until the controller has answered, without the request
DECODED_BYTES_MAX = 20  # for each byte of a request
NOT_NEEDED = "Leader election not needed for topic partition."


def _waiting(request: Request[Any], context: ChangesTopicsOfCluster, partitions: int, refuse: Make) -> WaitingRequest:
    """`refuse`: the response after the time-out, too; it shows `partitions`."""
    return WaitingRequest(
        request,
        context,
        size=DECODED_BYTES_MAX * request.body_size + PARTITION_BYTES * partitions,
        rows=partitions,
        late=refuse,
        timeout_ms=request.body.timeout / timedelta(milliseconds=1),
    )


def _answer_of(
    request: Request[Any], context: ChangesTopicsOfCluster, ask: Callable[[Callable[[Any], object]], object],
    partitions: int | None, response: Callable[[Any, Any], dict[str, Any]], refuse: Make,
) -> dict[str, Any] | None:  # fmt: skip
    """Ask the controller about so many partitions; None: all. Its answer, an error and what it found, are the arguments of
    `response`. Returns the response, if there is no place to wait."""
    waiting = _waiting(request, context, partitions or 0, refuse)
    if waiting.place is None:
        return rows_response(request, partitions or 0, refuse)

    def answered(answer: tuple[ErrorCode, Mapping[TopicPartition, Any]]) -> None:
        rows = len(answer[1]) if partitions is None else partitions
        waiting.finish(partial(response, *answer), rows, counted=partitions is not None)

    ask(request.guarded(waiting.place.answering(answered)))
    return None


def _by_topic(partitions: Mapping[TopicPartition, Any]) -> dict[str, list[tuple[int, Any]]]:
    topics: dict[str, list[tuple[int, Any]]] = {}
    for (topic, index), value in sorted(partitions.items()):
        topics.setdefault(topic, []).append((index, value))
    return topics


@handler(api_key=43)
def elect(request: Request[Any], context: ChangesTopicsOfCluster) -> dict[str, Any] | None:
    """ElectLeaders. The response waits until this broker's metadata show the leaders, for the time-out at most."""
    body, controller, partitions = request.body, context.member.controller, partitions_count(request.body)
    if not may_cluster(request, Operation.ALTER):
        return rows_response(request, partitions, partial(election_denied, body))
    kind = getattr(body, "election_type", PREFERRED)
    if kind not in (PREFERRED, UNCLEAN):
        return {"error_code": ErrorCode.INVALID_REQUEST, "replica_election_results": []}
    asked = None if body.topic_partitions is None else _named((each.topic, each.partitions) for each in body.topic_partitions)
    refuse = partial(election_refused, body, LATE)
    waiting = _waiting(request, context, partitions, refuse)
    place = waiting.place
    if place is None:
        return rows_response(request, partitions, refuse)

    def elected(answer: tuple[ErrorCode, Mapping[TopicPartition, Outcome]]) -> None:
        error, outcomes = answer
        leaders: dict[str, dict[int, int]] = {}

        def waited(late: Sequence[str]) -> None:
            make = partial(_election_response, error, outcomes, frozenset(late))
            waiting.finish(make, len(outcomes), counted=asked is not None)

        def look() -> None:
            waits = {topic: _are_leaders(expected) for topic, expected in leaders.items()}
            context.member.waits.wait(waits, min(waiting.timeout_ms, place.left_ms), waiting.guarded(waited))

        context.slices.add(_new_leaders(controller, outcomes, leaders), waiting.guarded(look))

    controller.elect_leaders(asked, kind == UNCLEAN, request.guarded(place.answering(elected)))
    return None


def _named(topics: Iterable[tuple[str, Iterable[int]]]) -> Iterator[TopicPartition]:
    """The partitions. It takes long to make many of them, so the controller gets them one at a time."""
    return (TopicPartition(topic, index) for topic, indexes in topics for index in indexes)


def _new_leaders(
    controller: Any, outcomes: Mapping[TopicPartition, Outcome], leaders: dict[str, dict[int, int]]
) -> Iterator[None]:
    """Put the leaders of the partitions that were elected into `leaders`, by topic. A task for slices."""
    for partition, outcome in outcomes.items():
        term = controller.term
        state = term.parts.context.states.get(partition) if term is not None else None
        if outcome.error is ErrorCode.NONE and state is not None:
            leaders.setdefault(partition.topic, {})[partition.partition] = state.leader
        yield


def _are_leaders(expected: Mapping[int, int]) -> Any:
    def are(topic: Topic | None) -> bool:
        return topic is None or all(
            index < len(topic.partitions) and topic.partitions[index].leader == leader for index, leader in expected.items()
        )

    return are


def _election_response(
    error: ErrorCode, outcomes: Mapping[TopicPartition, Outcome], late: frozenset[str]
) -> dict[str, Any]:
    """`late`: topics of which the metadata do not show the new leaders. Any thread."""
    found = {
        each: Outcome(ErrorCode.REQUEST_TIMED_OUT) if each.topic in late and outcome.error is ErrorCode.NONE else outcome
        for each, outcome in outcomes.items()
    }
    return {
        "error_code": error,
        "replica_election_results": [
            {
                "topic": topic,
                "partition_result": [
                    {
                        "partition_id": index,
                        "error_code": outcome.error,
                        "error_message": NOT_NEEDED if outcome.error is ErrorCode.ELECTION_NOT_NEEDED else outcome.message,
                    }
                    for index, outcome in partitions
                ],
            }
            for topic, partitions in _by_topic(found).items()
        ],
    }


@handler(api_key=45)
def reassign(request: Request[Any], context: ChangesTopicsOfCluster) -> dict[str, Any] | None:
    """AlterPartitionReassignments: answered when the reassignments have begun."""
    body = request.body
    if not may_cluster(request, Operation.ALTER):
        return reassignment_denied(body)
    may_resize = bool(getattr(body, "allow_replication_factor_change", True))
    wanted: dict[TopicPartition, Sequence[int] | None] = {}
    refused: dict[TopicPartition, Outcome] = {}
    for topic in body.topics:
        known = context.cluster.topics.get(topic.name)
        for asked in topic.partitions:
            partition = TopicPartition(topic.name, asked.partition_index)
            target = None if asked.replicas is None else list(asked.replicas)
            now = known.partitions[partition.partition].replicas if _exists(known, partition.partition) and known else []
            if not may_resize and target is not None and now and len(target) != len(now):
                refused[partition] = Outcome(
                    ErrorCode.INVALID_REPLICATION_FACTOR, "The replication factor is changed but it is not allowed."
                )
            else:
                wanted[partition] = target

    def response(error: ErrorCode, outcomes: Mapping[TopicPartition, Outcome]) -> dict[str, Any]:
        responses = [
            {
                "name": topic,
                "partitions": [
                    {"partition_index": index, "error_code": outcome.error, "error_message": outcome.message}
                    for index, outcome in partitions
                ],
            }
            for topic, partitions in _by_topic({**outcomes, **refused} if error is ErrorCode.NONE else {}).items()
        ]
        return {
            "allow_replication_factor_change": may_resize,
            "error_code": error,
            "error_message": None,
            "responses": responses,
        }

    def refuse() -> dict[str, Any]:
        return {**LATE, "allow_replication_factor_change": may_resize, "responses": []}

    ask = partial(context.member.controller.alter_reassignments, wanted)
    return _answer_of(request, context, ask, len(wanted) + len(refused), response, refuse)


def _exists(topic: Topic | None, index: int) -> bool:
    return topic is not None and 0 <= index < len(topic.partitions)


@handler(api_key=46)
def list_reassignments(request: Request[Any], context: ChangesTopicsOfCluster) -> dict[str, Any] | None:
    """ListPartitionReassignments."""
    if not may_cluster(request, Operation.DESCRIBE):
        return denied(CLUSTER_DENIED) | {"topics": []}
    topics, partitions, asked = request.body.topics, None, None
    if topics is not None:
        partitions = sum(len(topic.partition_indexes) for topic in topics)
        asked = _named((topic.name, topic.partition_indexes) for topic in topics)

    def response(error: ErrorCode, found: Mapping[TopicPartition, ReplicaAssignment]) -> dict[str, Any]:
        topics = [
            {
                "name": topic,
                "partitions": [
                    {
                        "partition_index": index,
                        "replicas": list(each.replicas),
                        "adding_replicas": list(each.adding),
                        "removing_replicas": list(each.removing),
                    }
                    for index, each in partitions
                ],
            }
            for topic, partitions in _by_topic(found).items()
        ]
        return {"error_code": error, "error_message": None, "topics": topics}

    def refuse() -> dict[str, Any]:
        return {**LATE, "topics": []}

    ask = partial(context.member.controller.list_reassignments, asked)
    return _answer_of(request, context, ask, partitions, response, refuse)
