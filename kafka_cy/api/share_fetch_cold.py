"""ShareFetch (API 78, KIP-932): records of share partitions, locked for the member, and acknowledgements of earlier ones.

v2 (KIP-1206, KIP-1222): acquire mode, renewal of locks. The response leaves when there are records, errors or results of
acknowledgements, or when the longest wait is over; `min_bytes` is not waited for.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, may_group
from kafka_cy.api.durations import milliseconds
from kafka_cy.api.registry import handler
from kafka_cy.api.share_enabled import has_share_groups
from kafka_cy.api.share_requests import (
    Leaders,
    acknowledgements,
    forgotten_partitions,
    named_partitions,
    request_size,
    respond_with,
    topic_responses,
)
from kafka_cy.api.topic_rights import reads
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.fetch_requests import FetchRequest, PartitionResult, Results
from kafka_cy.share.sessions import SessionKey

if TYPE_CHECKING:
    from kio.schema.share_fetch.v2.request import ShareFetchRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesShareGroups

STRICT = 1  # acquire mode: no more records than the limit (KIP-1206)


@handler(api_key=78)
def handle(request: Request[ShareFetchRequest], context: UsesShareGroups) -> None:
    """Fetch for a member's share session."""
    share = context.share
    group_id = request.body.group_id or ""

    def respond(error: ErrorCode, results: Results) -> None:
        lock_ms = 0 if error else share.settings.lock_ms(group_id)
        respond_with(request, context, results, partial(_response, error, results, lock_ms))

    if not has_share_groups(context):
        respond(ErrorCode.UNSUPPORTED_VERSION, {})
    elif not may_group(request, Operation.READ, group_id):
        respond(GROUP_DENIED, {})
    else:
        key = SessionKey(group_id, request.body.member_id or "")
        size = request_size(request.body.topics, request.body.forgotten_topics_data)
        share.fetches.read_fetch(key, size, _read(request, context, key), request.guarded(respond))


def _read(
    request: Request[ShareFetchRequest], context: UsesShareGroups, key: SessionKey
) -> Generator[object, None, FetchRequest]:
    """What the request says, in steps."""
    body, version = request.body, request.api_version
    named = yield from named_partitions(body.topics)
    acknowledged = yield from acknowledgements(body.topics)
    forgotten = yield from forgotten_partitions(body.forgotten_topics_data)
    rights = reads(request, context.cluster)
    request.end_turn()  # it waits for records from here on
    return FetchRequest(
        key, request.connection_id, request.connection_closed, body.share_session_epoch, milliseconds(body.max_wait),
        body.min_bytes, body.max_bytes, body.max_records, body.batch_size,
        strict=version >= 2 and body.share_acquire_mode == STRICT, is_renewal=version >= 2 and body.is_renew_ack,
        named=named, acknowledgements=acknowledged, forgotten=forgotten, reads=rights,
    )  # fmt: skip


def _response(error: ErrorCode, results: Results, lock_ms: int, leaders: Leaders) -> dict[str, Any]:
    return {
        "throttle_time": 0,
        "error_code": int(error),
        "error_message": None,
        "acquisition_lock_timeout": lock_ms,
        "responses": topic_responses(results, leaders, _fetched),
        "node_endpoints": [],
    }


def _fetched(result: PartitionResult) -> dict[str, Any]:
    return {
        "acknowledge_error_code": int(result.acknowledge_error),
        "acknowledge_error_message": None,
        "records": result.records,
        "acquired_records": [
            {"first_offset": first, "last_offset": last, "delivery_count": count} for first, last, count in result.acquired
        ],
    }
