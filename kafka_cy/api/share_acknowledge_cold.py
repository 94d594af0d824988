"""ShareAcknowledge (API 79, KIP-932): what a member has done with the records that it holds. v2 (KIP-1222): renewal of locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafka_cy.api.authorization import GROUP_DENIED, may_group
from kafka_cy.api.registry import handler
from kafka_cy.api.share_enabled import has_share_groups
from kafka_cy.api.share_requests import acknowledgements, by_topic, current_leader
from kafka_cy.api.topic_rights import reads
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.sessions import SessionKey
from kafka_cy.share.share_fetch import AcknowledgeRequest, Results

if TYPE_CHECKING:
    from kio.schema.share_acknowledge.v2.request import ShareAcknowledgeRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesShareGroups


@handler(api_key=79)
def handle(request: Request[ShareAcknowledgeRequest], context: UsesShareGroups) -> None:
    """Respond when everything is stored."""
    body, version, share = request.body, request.api_version, context.share
    group_id = body.group_id or ""

    def respond(error: ErrorCode, results: Results) -> None:
        responses = [
            {
                "topic_id": topic_id,
                "partitions": [
                    {
                        "partition_index": index,
                        "error_code": int(result.error),
                        "error_message": None,
                        "current_leader": current_leader(context.cluster, (topic_id, index), result.error),
                    }
                    for index, result in partitions
                ],
            }
            for topic_id, partitions in by_topic(results)
        ]
        response = {
            "throttle_time": 0,
            "error_code": int(error),
            "error_message": None,
            "responses": responses,
            "node_endpoints": [],
        }
        if version >= 2:
            response["acquisition_lock_timeout"] = 0 if error else share.settings.lock_ms(group_id)
        request.respond(response)

    renews = version >= 2 and body.is_renew_ack
    if not has_share_groups(context):
        respond(ErrorCode.UNSUPPORTED_VERSION, {})
        return
    if not may_group(request, Operation.READ, group_id):
        respond(GROUP_DENIED, {})
        return
    key = SessionKey(group_id, body.member_id or "")
    share.fetches.acknowledge(
        AcknowledgeRequest(
            key, body.share_session_epoch, renews, acknowledgements(body.topics), reads(request, context.cluster)
        ),
        request.guarded(respond),
    )
