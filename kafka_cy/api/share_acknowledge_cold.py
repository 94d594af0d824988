"""ShareAcknowledge (API 79, KIP-932): what a member has done with the records that it holds. v2 (KIP-1222): renewal of locks."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, may_group
from kafka_cy.api.registry import handler
from kafka_cy.api.share_enabled import has_share_groups
from kafka_cy.api.share_requests import Leaders, acknowledgements, request_size, respond_with, topic_responses
from kafka_cy.api.topic_rights import reads
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.fetch_requests import AcknowledgeRequest, Results
from kafka_cy.share.sessions import SessionKey

if TYPE_CHECKING:
    from kio.schema.share_acknowledge.v2.request import ShareAcknowledgeRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesShareGroups


@handler(api_key=79)
def handle(request: Request[ShareAcknowledgeRequest], context: UsesShareGroups) -> None:
    """Respond when everything is stored."""
    version, share = request.api_version, context.share
    group_id = request.body.group_id or ""

    def respond(error: ErrorCode, results: Results) -> None:
        lock_ms = 0 if error or version < 2 else share.settings.lock_ms(group_id)
        respond_with(request, context, results, partial(_response, error, results, lock_ms, version))

    if not has_share_groups(context):
        respond(ErrorCode.UNSUPPORTED_VERSION, {})
        return
    if not may_group(request, Operation.READ, group_id):
        respond(GROUP_DENIED, {})
        return
    key = SessionKey(group_id, request.body.member_id or "")
    size = request_size(request.body.topics)
    share.fetches.read_acknowledge(key, size, _read(request, context, key), request.guarded(respond))


def _read(
    request: Request[ShareAcknowledgeRequest], context: UsesShareGroups, key: SessionKey
) -> Generator[object, None, AcknowledgeRequest]:
    """What the request says, in steps."""
    body = request.body
    acknowledged = yield from acknowledgements(body.topics)
    renews = request.api_version >= 2 and body.is_renew_ack
    return AcknowledgeRequest(key, body.share_session_epoch, renews, acknowledged, reads(request, context.cluster))


def _response(error: ErrorCode, results: Results, lock_ms: int, version: int, leaders: Leaders) -> dict[str, Any]:
    response = {
        "throttle_time": 0,
        "error_code": int(error),
        "error_message": None,
        "responses": topic_responses(results, leaders),
        "node_endpoints": [],
    }
    if version >= 2:
        response["acquisition_lock_timeout"] = lock_ms
    return response
