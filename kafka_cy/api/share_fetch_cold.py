"""ShareFetch (API 78, KIP-932): records of share partitions, locked for the member, and acknowledgements of earlier ones.

v2 (KIP-1206, KIP-1222): acquire mode, renewal of locks. The response leaves when there are records, errors or results of
acknowledgements, or when the longest wait is over; `min_bytes` is not waited for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, may_group
from kafka_cy.api.durations import milliseconds
from kafka_cy.api.registry import handler
from kafka_cy.api.share_enabled import has_share_groups
from kafka_cy.api.share_requests import NO_LEADER, acknowledgements, by_topic, current_leader, named_partitions
from kafka_cy.api.topic_rights import reads
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.sessions import SessionKey, TopicPartition
from kafka_cy.share.share_fetch import FetchRequest, Results

if TYPE_CHECKING:
    from kio.schema.share_fetch.v2.request import ShareFetchRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesShareGroups

PARTITIONS_AT_ONCE_MAX = 100  # of a response that is built at once, which takes about a millisecond
STRICT = 1  # acquire mode: no more records than the limit (KIP-1206)


@handler(api_key=78)
def handle(request: Request[ShareFetchRequest], context: UsesShareGroups) -> None:
    """Fetch for a member's share session."""
    body, version, share = request.body, request.api_version, context.share
    group_id = body.group_id or ""
    fetch = FetchRequest(
        SessionKey(group_id, body.member_id or ""), request.connection_id, request.connection_closed,
        body.share_session_epoch, milliseconds(body.max_wait), body.min_bytes, body.max_bytes, body.max_records, body.batch_size,
        strict=version >= 2 and body.share_acquire_mode == STRICT, is_renewal=version >= 2 and body.is_renew_ack,
        named=list(dict.fromkeys(named_partitions(body.topics))), acknowledgements=acknowledgements(body.topics),
        forgotten=[(topic.topic_id, index) for topic in body.forgotten_topics_data for index in topic.partitions],
        reads=reads(request, context.cluster),
    )  # fmt: skip

    def respond(error: ErrorCode, results: Results) -> None:
        lock_ms = 0 if error else share.settings.lock_ms(group_id)
        leaders = {
            place: current_leader(context.cluster, place, result.error) for place, result in results.items() if result.error
        }
        make = partial(_response, error, results, leaders, lock_ms)
        if len(results) > PARTITIONS_AT_ONCE_MAX:
            request.respond_long(lambda ready: ready(make))
        else:
            request.respond(make())

    if not has_share_groups(context):
        respond(ErrorCode.UNSUPPORTED_VERSION, {})
    elif not may_group(request, Operation.READ, group_id):
        respond(GROUP_DENIED, {})
    else:
        request.end_turn()  # it waits for records from here on
        share.fetches.fetch(fetch, request.guarded(respond))


def _response(error: ErrorCode, results: Results, leaders: Mapping[TopicPartition, dict[str, int]], lock_ms: int) -> dict[str, Any]:
    responses = [
        {
            "topic_id": topic_id,
            "partitions": [
                {
                    "partition_index": index,
                    "error_code": int(result.error),
                    "error_message": None,
                    "acknowledge_error_code": int(result.acknowledge_error),
                    "acknowledge_error_message": None,
                    "current_leader": leaders.get((topic_id, index), NO_LEADER),
                    "records": result.records,
                    "acquired_records": [
                        {"first_offset": first, "last_offset": last, "delivery_count": count}
                        for first, last, count in result.acquired
                    ],
                }
                for index, result in partitions
            ],
        }
        for topic_id, partitions in by_topic(results)
    ]
    return {
        "throttle_time": 0,
        "error_code": int(error),
        "error_message": None,
        "acquisition_lock_timeout": lock_ms,
        "responses": responses,
        "node_endpoints": [],
    }
