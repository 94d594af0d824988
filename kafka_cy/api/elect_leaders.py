"""ElectLeaders, versions 0-2. The leader of every partition is the preferred one already: ELECTION_NOT_NEEDED."""

from __future__ import annotations

from typing import Any

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import handler
from kafka_cy.protocol.errors import ErrorCode

PREFERRED, UNCLEAN = 0, 1


@handler(api_key=43, versions=(0, 2))
def handle(request: Request, context: ApiContext) -> dict[str, Any]:
    """Asked for all partitions (null), those that need no election are left out, as in Kafka."""
    body = request.body
    if getattr(body, "election_type", PREFERRED) not in (PREFERRED, UNCLEAN):
        return {"error_code": ErrorCode.INVALID_REQUEST, "replica_election_results": []}
    results = []
    for asked in body.topic_partitions or ():
        topic = context.cluster.topics.get(asked.topic)
        partitions = []
        for index in asked.partitions:
            if topic is None or not 0 <= index < len(topic.partitions):
                code, message = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "No such partition."
            elif context.cluster.partition(asked.topic, index) is None:
                code, message = ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE, "No replica of the partition is online."
            else:
                code, message = ErrorCode.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition."
            partitions.append({"partition_id": index, "error_code": code, "error_message": message})
        results.append({"topic": asked.topic, "partition_result": partitions})
    return {"error_code": ErrorCode.NONE, "replica_election_results": results}
