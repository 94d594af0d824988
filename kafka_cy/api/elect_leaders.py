"""ElectLeaders. The leader of every partition is the preferred one already: ELECTION_NOT_NEEDED."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, denied, may_cluster
from kafka_cy.api.registry import handler
from kafka_cy.api.waiting_requests import ROWS_AT_ONCE
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.elect_leaders.v2.request import ElectLeadersRequest

    from kafka_cy.api.context import Make, Request
    from kafka_cy.api.roles import ReadsCluster

PREFERRED, UNCLEAN = 0, 1


@handler(api_key=43)
def handle(request: Request[ElectLeadersRequest], context: ReadsCluster) -> dict[str, Any] | None:
    """Asked for all partitions (null), those that need no election are left out, as in Kafka."""
    body = request.body
    if not may_cluster(request, Operation.ALTER):
        return rows_response(request, partitions_count(body), partial(election_denied, body))
    rows = len(context.cluster.topics) if body.topic_partitions is None else partitions_count(body)
    return rows_response(request, rows, partial(_response, body, context))


def partitions_count(body: Any) -> int:
    """How many partitions are named."""
    return sum(len(asked.partitions) for asked in body.topic_partitions or ())


def rows_response(request: Request[Any], rows: int, make: Make) -> dict[str, Any] | None:
    """The response, of so many rows. None: they are many, and another thread makes it."""
    if rows <= ROWS_AT_ONCE:
        return dict(make())
    request.respond_long(lambda ready: ready(make))
    return None


def _response(body: ElectLeadersRequest, context: ReadsCluster) -> dict[str, Any]:
    """Any thread."""
    election_type = getattr(body, "election_type", PREFERRED)
    if body.topic_partitions is None:
        nothing = [{"topic": name, "partition_result": []} for name in list(context.cluster.topics)]
        return {"error_code": ErrorCode.NONE, "replica_election_results": nothing}
    results = []
    for asked in body.topic_partitions:
        topic = context.cluster.topics.get(asked.topic)
        partitions = []
        for index in asked.partitions:
            message: str | None
            if election_type not in (PREFERRED, UNCLEAN):
                code, message = ErrorCode.INVALID_REQUEST, f"Unknown election type {election_type}"
            elif topic is None:
                code, message = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such topic as {asked.topic}"
            elif not 0 <= index < len(topic.partitions):
                code, message = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such partition as {asked.topic}-{index}"
            elif context.cluster.partition(asked.topic, index) is None:
                code, message = ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE, "No replica of the partition is online."
            else:
                code, message = ErrorCode.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition."
            partitions.append({"partition_id": index, "error_code": code, "error_message": message})
        results.append({"topic": asked.topic, "partition_result": partitions})
    known_type = election_type in (PREFERRED, UNCLEAN)
    return {
        "error_code": ErrorCode.NONE if known_type else ErrorCode.INVALID_REQUEST,
        "replica_election_results": results,
    }


def election_denied(body: Any) -> dict[str, Any]:
    """The sender may not have leaders elected."""
    return election_refused(body, denied(CLUSTER_DENIED))


def election_refused(body: Any, error: Mapping[str, Any]) -> dict[str, Any]:
    """The same error for everything: it stands at each partition, too."""
    results = [
        {
            "topic": asked.topic,
            "partition_result": [{"partition_id": index, **error} for index in asked.partitions],
        }
        for asked in body.topic_partitions or ()
    ]
    return {"error_code": error["error_code"], "replica_election_results": results}
