"""ElectLeaders, AlterPartitionReassignments and ListPartitionReassignments in a cluster with ZooKeeper: the controller's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka_cy.api.alter_partition_reassignments import reassignment_denied
from kafka_cy.api.authorization import CLUSTER_DENIED, denied, may_cluster
from kafka_cy.api.elect_leaders import election_denied, election_refused
from kafka_cy.api.pending_topics import log_refusal
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.controller.operator_events import Outcome
from kafka_cy.controller.partition_state import ReplicaAssignment, TopicPartition
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Make, Request
    from kafka_cy.api.roles import ChangesTopicsOfCluster
    from kafka_cy.cluster.topics import Topic
    from kafka_cy.server.client_requests import Place

PREFERRED, UNCLEAN = 0, 1
PARTITION_BYTES = 400  # of what is asked for, until the controller has answered, without the request
DECODED_BYTES_MAX = 20  # for each byte of a request
LATE: Mapping[str, Any] = {"error_code": ErrorCode.REQUEST_TIMED_OUT, "error_message": None}
NOT_NEEDED = "Leader election not needed for topic partition."


class _Waiting(NamedTuple):
    """A request that waits for the controller, without its turn: the place counts what it keeps."""

    place: Place
    respond: Callable[[Make], object]  # the response to a long request is built on the other thread nevertheless


def _begin(
    request: Request[Any], context: ChangesTopicsOfCluster, partitions: int, refuse: Callable[[], dict[str, Any]]
) -> _Waiting | None:
    """None: there is no place among those that wait for the controller. `refuse`: the response after the time-out, too."""
    size, turn = DECODED_BYTES_MAX * request.body_size + PARTITION_BYTES * partitions, request.turn

    def respond(make: Make) -> None:
        if turn is None:
            request.respond(make())
        else:
            turn.build(request, make)

    over = request.guarded(lambda: respond(refuse))
    place: Place | None = context.member.requests.begin(size, request.body.timeout / timedelta(milliseconds=1), over)
    if place is None:
        log_refusal(request, context)
        return None
    request.end_turn()
    return _Waiting(place, respond)


def _answer_of(
    request: Request[Any], context: ChangesTopicsOfCluster, ask: Callable[[Callable[[Any], object]], object], partitions: int,
    response: Callable[..., dict[str, Any]], refuse: Callable[[], dict[str, Any]],
) -> dict[str, Any] | None:  # fmt: skip
    """Ask the controller, whose answer are the arguments of `response`. The response, if there is no place to wait."""
    waiting = _begin(request, context, partitions, refuse)
    if waiting is None:
        return refuse()
    place, respond = waiting

    def answered(answer: tuple[Any, ...]) -> None:
        respond(lambda: response(*answer))

    ask(request.guarded(place.ending(answered)))
    return None


def _by_topic(partitions: Mapping[TopicPartition, Any]) -> dict[str, list[tuple[int, Any]]]:
    topics: dict[str, list[tuple[int, Any]]] = {}
    for (topic, index), value in partitions.items():
        topics.setdefault(topic, []).append((index, value))
    return topics


@handler(api_key=43)
def elect(request: Request[Any], context: ChangesTopicsOfCluster) -> dict[str, Any] | None:
    """ElectLeaders. The response waits until this broker's metadata show the leaders, for the time-out at most."""
    body, controller = request.body, context.member.controller
    if not may_cluster(request, Operation.ALTER):
        return election_denied(body)
    kind = getattr(body, "election_type", PREFERRED)
    if kind not in (PREFERRED, UNCLEAN):
        return {"error_code": ErrorCode.INVALID_REQUEST, "replica_election_results": []}
    asked = None
    if body.topic_partitions is not None:
        asked = [TopicPartition(each.topic, index) for each in body.topic_partitions for index in each.partitions]
    refuse = partial(election_refused, body, LATE)
    waiting = _begin(request, context, len(asked or ()), refuse)
    if waiting is None:
        return refuse()
    timeout_ms, (place, respond) = body.timeout / timedelta(milliseconds=1), waiting

    def elected(answer: tuple[ErrorCode, Mapping[TopicPartition, Outcome]]) -> None:
        error, outcomes = answer
        found = dict(outcomes)
        if asked is None:
            found = {each: outcome for each, outcome in found.items() if outcome.error is not ErrorCode.ELECTION_NOT_NEEDED}
        term = controller.term
        leaders = {
            each: term.parts.context.states[each].leader
            for each, outcome in found.items()
            if outcome.error is ErrorCode.NONE and term is not None and each in term.parts.context.states
        }

        def waited(late: Sequence[str]) -> None:
            place.end()
            for each in leaders:
                if each.topic in late:
                    found[each] = Outcome(ErrorCode.REQUEST_TIMED_OUT)
            respond(lambda: _election_response(error, found))

        waits = {topic: _are_leaders(dict(expected)) for topic, expected in _by_topic(leaders).items()}
        context.member.waits.wait(waits, min(timeout_ms, place.left_ms), waited)

    controller.elect_leaders(asked, kind == UNCLEAN, request.guarded(place.answering(elected)))
    return None


def _are_leaders(expected: Mapping[int, int]) -> Any:
    def are(topic: Topic | None) -> bool:
        return topic is None or all(
            index < len(topic.partitions) and topic.partitions[index].leader == leader for index, leader in expected.items()
        )

    return are


def _election_response(error: ErrorCode, outcomes: Mapping[TopicPartition, Outcome]) -> dict[str, Any]:
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
            for topic, partitions in _by_topic(outcomes).items()
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
    asked = None
    if request.body.topics is not None:
        asked = [TopicPartition(topic.name, index) for topic in request.body.topics for index in topic.partition_indexes]

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
    return _answer_of(request, context, ask, len(asked or ()), response, refuse)
