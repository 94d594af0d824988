"""StreamsGroupHeartbeat (API 88, KIP-1071): a member joins, stays in, or leaves a streams group. The half that needs a decision.

Errors carry a text for the log of the client.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.authorization import GROUP_DENIED, TOPIC_DENIED, may_group, may_topic
from kafka_cy.api.durations import milliseconds
from kafka_cy.api.group_bodies import read_body
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_rights import creates
from kafka_cy.authorizer.acls import Operation
from kafka_cy.cluster.topic_names import INTERNAL_TOPICS, problem_of
from kafka_cy.coordinator.streams.records import (
    CopartitionGroup,
    Endpoint,
    KeyValue,
    Subtopology,
    TopicInfo,
    Topology,
)
from kafka_cy.coordinator.streams.requests import StreamsHeartbeat, checked, error_response
from kafka_cy.coordinator.streams.tasks import TaskMap, tasks_of
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.streams_group_heartbeat.v0.request import StreamsGroupHeartbeatRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesGroups

ELEMENTS_FEW: Final = 2000  # of the arrays in a response; a longer one is encoded on another thread


@handler(api_key=88)
def handle(request: Request[StreamsGroupHeartbeatRequest], context: UsesGroups) -> dict[str, Any] | None:
    """Hand the request to the coordinator; the response leaves when what it says is stored."""
    groups = context.groups.streams
    if not groups.is_offered():
        return {"throttle_time": 0, **error_response(ErrorCode.UNSUPPORTED_VERSION)}
    if not may_group(request, Operation.READ, request.body.group_id):
        return {"throttle_time": 0, **error_response(GROUP_DENIED)}

    def send(response: dict[str, Any]) -> None:
        whole = {"throttle_time": 0, **response}
        if has_many_elements(response):
            request.respond_long(lambda ready: ready(lambda: whole))
        else:
            request.respond(whole)

    def beat(heartbeat: StreamsHeartbeat | dict[str, Any]) -> None:
        if isinstance(heartbeat, StreamsHeartbeat):
            groups.checked_heartbeat(heartbeat, send)
        else:
            send(heartbeat)

    read_body(request, context, partial(_read, request), beat)
    return None


def has_many_elements(response: dict[str, Any]) -> bool:
    """Whether the response has more than ELEMENTS_FEW tasks, rows and partitions. It counts no further."""
    left = ELEMENTS_FEW
    rows = (response[f"{role}_tasks"] or () for role in ("active", "standby", "warmup"))
    endpoints = response["partitions_by_user_endpoint"] or ()
    pairs = ((each["active_partitions"], each["standby_partitions"]) for each in endpoints)
    for part in chain(rows, chain.from_iterable(pairs)):
        left -= 1 + sum(len(each["partitions"]) + 1 for each in part)
        if left < 0:
            return True
    return False


def _read(request: Request[StreamsGroupHeartbeatRequest]) -> StreamsHeartbeat | dict[str, Any]:
    """The request as the coordinator sees it, or the response if it cannot be right. Any thread."""
    body = request.body
    topology = None if body.topology is None else _topology(body.topology)
    problem = None if topology is None else _problem_of_names(topology)
    if problem is not None:
        return error_response(ErrorCode.STREAMS_INVALID_TOPOLOGY, problem)
    if topology is not None and not _may_describe(request, topology):
        return error_response(TOPIC_DENIED)
    endpoint = body.user_endpoint
    heartbeat = StreamsHeartbeat(
        group_id=body.group_id,
        member_id=body.member_id,
        member_epoch=body.member_epoch,
        endpoint_epoch=body.endpoint_information_epoch,
        instance_id=body.instance_id,
        rack_id=body.rack_id,
        rebalance_timeout_ms=milliseconds(body.rebalance_timeout),
        topology=topology,
        active=_tasks(body.active_tasks),
        standby=_tasks(body.standby_tasks),
        warmup=_tasks(body.warmup_tasks),
        process_id=body.process_id,
        endpoint=None if endpoint is None else Endpoint(endpoint.host, endpoint.port),
        client_tags=None if body.client_tags is None else _key_values(body.client_tags),
        has_task_offsets=body.task_offsets is not None,
        has_task_end_offsets=body.task_end_offsets is not None,
        shutdown_application=body.shutdown_application,
        client_id=request.client_id or "",
        client_host="/" + request.client_host,
        creates=creates(request),
    )
    return checked(heartbeat) or heartbeat


def _topology(topology: Any) -> Topology:
    """As it is stored."""
    return Topology(
        topology.epoch,
        tuple(
            Subtopology(
                each.subtopology_id, each.source_topics, each.source_topic_regex, _topics(each.state_changelog_topics),
                each.repartition_sink_topics, _topics(each.repartition_source_topics),
                tuple(
                    CopartitionGroup(group.source_topics, group.source_topic_regex, group.repartition_source_topics)
                    for group in each.copartition_groups
                ),
            )
            for each in topology.subtopologies
        ),
    )  # fmt: skip


def _topics(topics: Iterable[Any]) -> tuple[TopicInfo, ...]:
    return tuple(
        TopicInfo(each.name, each.partitions, each.replication_factor, _key_values(each.topic_configs)) for each in topics
    )


def _key_values(pairs: Iterable[Any]) -> tuple[KeyValue, ...]:
    return tuple(KeyValue(each.key, each.value) for each in pairs)


def _tasks(tasks: Iterable[Any] | None) -> TaskMap | None:
    return None if tasks is None else tasks_of(tasks)


def _problem_of_names(topology: Topology) -> str | None:
    """Why a topology with these topic names is refused, or None."""
    names = _topic_names(topology)
    prohibited = [name for name in names if name in INTERNAL_TOPICS]
    if prohibited:
        return f"Use of Kafka internal topics {','.join(prohibited)} in a Kafka Streams topology is prohibited."
    invalid = [name for name in names if problem_of(name) is not None]
    return f"Topic names {','.join(invalid)} are not valid topic names." if invalid else None


def _may_describe(request: Request[Any], topology: Topology) -> bool:
    """Whether the sender may describe all topics of the topology. Any thread."""
    return request.authorizer is None or all(
        may_topic(request, Operation.DESCRIBE, name) for name in _topic_names(topology)
    )


def _topic_names(topology: Topology) -> dict[str, None]:
    """The names of its topics, each once."""
    names: dict[str, None] = {}
    for each in topology.subtopologies:
        names.update(dict.fromkeys((*each.source_topics, *each.repartition_sink_topics)))
        names.update(dict.fromkeys(topic.name for topic in each.repartition_source_topics))
        names.update(dict.fromkeys(topic.name for topic in each.state_changelog_topics))
    return names
