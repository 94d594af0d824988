"""FindCoordinator (API 10): which broker coordinates a group or a transactional id.

The first request of each type creates the topic that the coordinator stores its state in. v1: key type. v3: flexible. v4
(KIP-699): several keys. v6 (KIP-932): share coordinators, whose keys are `group:topicId:partition`. An unknown type, and a key
that is none, get INVALID_REQUEST.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from kafka_cy.api.authorization import (
    CLUSTER_DENIED,
    GROUP_DENIED,
    MESSAGES,
    TRANSACTIONAL_ID_DENIED,
    may_cluster,
    may_group,
    may_transactional_id,
)
from kafka_cy.api.change_pieces import add_task
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.cluster.topic_names import OFFSETS_TOPIC, SHARE_STATE_TOPIC, TRANSACTIONS_TOPIC
from kafka_cy.coordinator.share.state_machine import is_share_key
from kafka_cy.protocol.errors import INVALID_REQUEST_MESSAGE, ErrorCode

if TYPE_CHECKING:
    from kio.schema.find_coordinator.v3.request import FindCoordinatorRequest as FindCoordinatorRequestV3
    from kio.schema.find_coordinator.v6.request import FindCoordinatorRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import FindsCoordinators

TYPE_GROUP, TYPE_TRANSACTION, TYPE_SHARE = 0, 1, 2
TOPICS = {TYPE_GROUP: OFFSETS_TOPIC, TYPE_TRANSACTION: TRANSACTIONS_TOPIC, TYPE_SHARE: SHARE_STATE_TOPIC}
SHARE_FROM = 6


@handler(api_key=10)
def handle(request: Request[FindCoordinatorRequest], context: FindsCoordinators) -> None:
    """Name this broker for keys whose partition it hosts."""
    key_type = request.body.key_type if request.api_version >= 1 else TYPE_GROUP
    topic = TOPICS.get(key_type) if key_type != TYPE_SHARE or request.api_version >= SHARE_FROM else None
    if topic is not None and not _is_ready(context, topic):
        create_topic(request, context, key_type, topic, lambda: respond(request, context, key_type, _find))
    else:
        respond(request, context, key_type, _find)


def create_topic(
    request: Request[FindCoordinatorRequest],
    context: FindsCoordinators,
    key_type: int,
    topic: str,
    then: Callable[[], object],
) -> None:
    """Create the topic, unless the sender may not ask for any of the keys; then call `then`."""
    allowed: list[str] = []
    keys = keys_of(request)

    def look() -> Iterator[None]:
        for key in keys:
            if _denied(request, key_type, key) is None:
                allowed.append(key)
                return
            yield

    def create() -> None:
        if allowed:
            context.create_topics([topic], request, request.guarded(then))
        else:
            then()

    if len(keys) > AT_ONCE_MAX:
        add_task(request, context.slices, look(), create)
        return
    for _ in look():
        pass
    create()


def keys_of(request: Request[FindCoordinatorRequest]) -> Sequence[str]:
    """The keys of a request of any version."""
    if request.api_version < 4:
        return (cast("FindCoordinatorRequestV3", request.body).key,)
    return request.body.coordinator_keys


def _denied(request: Request[FindCoordinatorRequest], key_type: int, key: str) -> ErrorCode | None:
    """The error of a sender who may not ask for the coordinator of the key; None: it may."""
    if key_type == TYPE_GROUP:
        return None if may_group(request, Operation.DESCRIBE, key) else GROUP_DENIED
    if key_type == TYPE_TRANSACTION:
        return None if may_transactional_id(request, Operation.DESCRIBE, key) else TRANSACTIONAL_ID_DENIED
    if key_type == TYPE_SHARE and request.api_version >= SHARE_FROM:
        return None if may_cluster(request, Operation.CLUSTER_ACTION) else CLUSTER_DENIED
    return None


def respond(
    request: Request[FindCoordinatorRequest],
    context: FindsCoordinators,
    key_type: int,
    find: Callable[[Request[FindCoordinatorRequest], FindsCoordinators, int, str], dict[str, Any]],
) -> None:
    """At once for a few keys; many keys are looked up in slices, and their response is built on another thread."""
    keys = keys_of(request)

    def find_allowed(key: str) -> dict[str, Any]:
        code = _denied(request, key_type, key)
        return find(request, context, key_type, key) if code is None else failed(code, MESSAGES[code])

    if request.api_version < 4:
        request.respond({"throttle_time": 0, **find_allowed(keys[0])})
        return
    coordinators: list[dict[str, Any]] = []

    def steps() -> Iterator[None]:
        for key in keys:
            coordinators.append({"key": key, **find_allowed(key)})
            yield

    def response() -> dict[str, Any]:
        if len(coordinators) != len(keys):
            raise RuntimeError("a coordinator could not be looked up")  # the log has the reason
        return {"throttle_time": 0, "coordinators": coordinators}

    if len(keys) > AT_ONCE_MAX:
        request.respond_long(lambda ready: context.groups.in_slices(steps(), lambda: ready(response)))
    else:
        for _ in steps():
            pass
        request.respond(response())


def _is_ready(context: FindsCoordinators, name: str) -> bool:
    """Whether the topic exists with all of its partitions: another loop may be about to create them, the last one last."""
    topic = context.cluster.topics.get(name)
    return topic is not None and context.cluster.partition(name, len(topic.partitions) - 1) is not None


def _find(request: Request[FindCoordinatorRequest], context: FindsCoordinators, key_type: int, key: str) -> dict[str, Any]:
    if key_type not in TOPICS or (key_type == TYPE_SHARE and (request.api_version < SHARE_FROM or not is_share_key(key))):
        return failed(ErrorCode.INVALID_REQUEST, INVALID_REQUEST_MESSAGE)
    if not _coordinator(context, key_type).is_coordinator_of(key):
        return failed(ErrorCode.COORDINATOR_NOT_AVAILABLE, "the partition of the key has no leader")
    host, port = context.advertised[request.listener_index]
    return {
        "error_code": 0,
        "error_message": "" if request.api_version >= 4 else "NONE",
        "node_id": context.broker_id,
        "host": host,
        "port": port,
    }


def _coordinator(context: FindsCoordinators, key_type: int) -> Any:
    if key_type == TYPE_GROUP:
        return context.groups
    return context.transactions if key_type == TYPE_TRANSACTION else context.share.coordinator


def failed(error: ErrorCode, message: str) -> dict[str, Any]:
    """No coordinator."""
    return {"error_code": int(error), "error_message": message, "node_id": -1, "host": "", "port": -1}
