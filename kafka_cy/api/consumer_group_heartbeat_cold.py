"""ConsumerGroupHeartbeat (API 68, KIP-848): a member joins, stays in, or leaves a consumer group. The half that needs a decision.

Reactors respond to settled members that say nothing new (`kafka_cy.api.consumer_group_heartbeat`) and forward the rest.

v0: the member id may be empty at the join. v1: the member makes its id itself (INVALID_REQUEST); regular expressions.
Errors carry a text for the log of the client.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.authorization import GROUP_DENIED, TOPIC_DENIED, may_group
from kafka_cy.api.durations import milliseconds
from kafka_cy.api.group_bodies import read_body
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_rights import describes, may_describe_all
from kafka_cy.authorizer.acls import Operation
from kafka_cy.coordinator.consumer.member import TOPICS_AT_ONCE
from kafka_cy.coordinator.consumer.requests import HeartbeatRequest
from kafka_cy.coordinator.modern.heartbeat_responses import error_response

if TYPE_CHECKING:
    from kio.schema.consumer_group_heartbeat.v1.request import ConsumerGroupHeartbeatRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesModernGroups

NO_TOPIC = uuid.UUID(int=0)
PARTITIONS_AT_ONCE: Final = 2000  # of a response that is encoded on the loop


@handler(api_key=68)
def handle(request: Request[ConsumerGroupHeartbeatRequest], context: UsesModernGroups) -> dict[str, Any] | None:
    """Hand the request to the coordinator; the response leaves when what it says is stored."""
    body = request.body
    if context.groups.consumer.is_offered() and not may_group(request, Operation.READ, body.group_id):
        return {"throttle_time": 0, **error_response(GROUP_DENIED)}

    def beat(owned: dict[uuid.UUID, list[int]] | None) -> None:
        heartbeat = _heartbeat(request, owned)

        def ask(may_describe: bool) -> None:
            if may_describe:
                context.groups.consumer.heartbeat(heartbeat, partial(respond, request))
            else:
                respond(request, error_response(TOPIC_DENIED))

        may_describe_all(request, context, body.subscribed_topic_names or (), ask)

    read_body(request, context, partial(_owned, body), beat)
    return None


def _owned(body: ConsumerGroupHeartbeatRequest) -> dict[uuid.UUID, list[int]] | None:
    if body.topic_partitions is None:
        return None
    owned: dict[uuid.UUID, list[int]] = {}
    for topic in body.topic_partitions:
        owned.setdefault(topic.topic_id or NO_TOPIC, []).extend(topic.partitions)
    return owned


def _heartbeat(
    request: Request[ConsumerGroupHeartbeatRequest], owned: dict[uuid.UUID, list[int]] | None
) -> HeartbeatRequest:
    body, version = request.body, request.api_version
    return HeartbeatRequest(
        group_id=body.group_id,
        member_id=body.member_id,
        member_epoch=body.member_epoch,
        instance_id=body.instance_id,
        rack_id=body.rack_id,
        rebalance_timeout_ms=milliseconds(body.rebalance_timeout),
        topic_names=body.subscribed_topic_names,
        topic_regex=body.subscribed_topic_regex if version >= 1 else None,
        assignor=body.server_assignor,
        owned=owned,
        client_id=request.client_id or "",
        client_host="/" + request.client_host,
        needs_member_id=version >= 1,
        describes=describes(request),
    )


def respond(request: Request[Any], response: dict[str, Any]) -> None:
    """Also for share groups. A response with many topics or partitions is encoded on another thread: it takes a millisecond."""
    whole = {"throttle_time": 0, **response}
    assignment = response["assignment"]
    rows = assignment["topic_partitions"] if assignment is not None else ()
    if len(rows) > TOPICS_AT_ONCE or sum(len(each["partitions"]) for each in rows) > PARTITIONS_AT_ONCE:
        request.respond_long(lambda ready: ready(lambda: whole))
    else:
        request.respond(whole)
