"""FindCoordinator (API 10): which broker coordinates a group.

The first request creates `__consumer_offsets`. v1: key type. v3: flexible. v4 (KIP-699): several keys. v6
(KIP-932): share coordinators. Only group coordinators (type 0) exist so far. A share key gets COORDINATOR_NOT_AVAILABLE, an
unknown type INVALID_REQUEST. A transactional id gets TRANSACTIONAL_ID_AUTHORIZATION_FAILED: no other error ends librdkafka's
init_transactions() at once, with the message of the response; after any other one it retries until its timeout. The Java
producer fails at once as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from kafka_cy.api.registry import handler
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.cluster.topic_names import OFFSETS_TOPIC
from kafka_cy.protocol.errors import INVALID_REQUEST_MESSAGE, ErrorCode

if TYPE_CHECKING:
    from kio.schema.find_coordinator.v3.request import FindCoordinatorRequest as FindCoordinatorRequestV3
    from kio.schema.find_coordinator.v6.request import FindCoordinatorRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import FindsCoordinators, Logs

NO_TRANSACTIONS = "this broker does not support transactions; unset transactional.id (enable.idempotence works)"
TYPE_GROUP, TYPE_TRANSACTION, TYPE_SHARE = 0, 1, 2


@handler(api_key=10)
def handle(request: Request[FindCoordinatorRequest], context: FindsCoordinators) -> None:
    """Name this broker for groups whose partition it hosts."""
    key_type = request.body.key_type if request.api_version >= 1 else TYPE_GROUP
    if key_type == TYPE_GROUP and not _offsets_topic_is_ready(context):
        context.create_offsets_topic(request.sender, request.guarded(lambda: _respond(request, context, key_type)))
    else:
        _respond(request, context, key_type)


def _respond(request: Request[FindCoordinatorRequest], context: FindsCoordinators, key_type: int) -> None:
    """At once for a few keys; many keys are looked up in slices, and their response is built on another thread."""
    body = request.body
    if request.api_version < 4:
        found = _find(request, context, key_type, cast("FindCoordinatorRequestV3", body).key)
        request.respond({"throttle_time": 0, **found})
        return
    coordinators: list[dict[str, Any]] = []

    def steps() -> Iterator[None]:
        for key in body.coordinator_keys:
            coordinators.append({"key": key, **_find(request, context, key_type, key)})
            yield

    def response() -> dict[str, Any]:
        if len(coordinators) != len(body.coordinator_keys):
            raise RuntimeError("a coordinator could not be looked up")  # the log has the reason
        return {"throttle_time": 0, "coordinators": coordinators}

    if len(body.coordinator_keys) > AT_ONCE_MAX:
        request.respond_long(lambda ready: context.groups.in_slices(steps(), lambda: ready(response)))
    else:
        for _ in steps():
            pass
        request.respond(response())


def _offsets_topic_is_ready(context: FindsCoordinators) -> bool:
    """Whether the topic exists with all of its partitions: another loop may be about to create them, the last one last."""
    topic = context.cluster.topics.get(OFFSETS_TOPIC)
    return topic is not None and context.cluster.partition(OFFSETS_TOPIC, len(topic.partitions) - 1) is not None


def _find(request: Request[FindCoordinatorRequest], context: FindsCoordinators, key_type: int, key: str) -> dict[str, Any]:
    if key_type == TYPE_TRANSACTION:
        log_refused_transactions(request, context)
        return _failed(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, NO_TRANSACTIONS)
    if key_type == TYPE_SHARE and request.api_version >= 6:
        return _failed(ErrorCode.COORDINATOR_NOT_AVAILABLE, "there is no coordinator of this type")
    if key_type != TYPE_GROUP:
        return _failed(ErrorCode.INVALID_REQUEST, INVALID_REQUEST_MESSAGE)
    if not context.groups.is_coordinator_of(key):
        return _failed(ErrorCode.COORDINATOR_NOT_AVAILABLE, "the partition of the group has no leader")
    host, port = context.advertised[request.listener_index]
    return {
        "error_code": 0,
        "error_message": "" if request.api_version >= 4 else "NONE",
        "node_id": context.broker_id,
        "host": host,
        "port": port,
    }


def log_refused_transactions(request: Request[Any], context: Logs) -> None:
    """Tell the operator which client wants transactions: the client's own error may not say why it was refused."""
    what = "refused a transactional id: this broker does not support transactions"
    context.log.repeated("warning", what, dict(request.sender), request.client_host)


def _failed(error: ErrorCode, message: str) -> dict[str, Any]:
    return {"error_code": int(error), "error_message": message, "node_id": -1, "host": "", "port": -1}
