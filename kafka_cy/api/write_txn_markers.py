"""WriteTxnMarkers (API 27): a transaction coordinator, or an operator (KIP-664), ends transactions in partitions of this broker.

v2 (KIP-890): the transaction version; with 2, the epoch has to be above that of the transaction's data. A marker is written
even if its producer has no open transaction. Partitions that this broker does not host: UNKNOWN_TOPIC_OR_PARTITION.
A request with more than PARTITIONS_MAX partitions gets POLICY_VIOLATION before the loop looks at them (Kafka has no such limit).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, may_cluster
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.coordinator.runtime.shard import Marker
from kafka_cy.coordinator.transactions.limits import PARTITIONS_MAX
from kafka_cy.coordinator.transactions.markers import Errors
from kafka_cy.coordinator.transactions.transaction import Partition
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.write_txn_markers.v2.request import WriteTxnMarkersRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTransactions


@handler(api_key=27)
def handle(request: Request[WriteTxnMarkersRequest], context: ChangesTransactions) -> None:
    """Write all markers, and respond when they are stored."""
    wanted, version = request.body.markers, request.api_version
    found: dict[int, Errors] = {}

    def partitions(place: int) -> list[Partition]:
        each = wanted[place]
        return list(dict.fromkeys((topic.name, index) for topic in each.topics for index in topic.partition_indexes))

    def write(place: int) -> None:
        each = wanted[place]
        marker = Marker(
            each.producer_id, each.producer_epoch, each.coordinator_epoch, each.transaction_result,
            each.transaction_version if version >= 2 else 0,
        )  # fmt: skip
        context.transactions.markers.write(marker, partitions(place), partial(written, place))

    def written(place: int, errors: Errors) -> None:
        found[place] = errors
        if len(found) == len(wanted):
            request.respond(_response(wanted, found))

    def failed(place: int) -> None:
        written(place, dict.fromkeys(partitions(place), ErrorCode.UNKNOWN_SERVER_ERROR))

    if not may_cluster(request, Operation.ALTER, log_denied=False) and not may_cluster(request, Operation.CLUSTER_ACTION):
        request.respond_long(lambda ready: ready(partial(_refused, wanted, CLUSTER_DENIED)))
    elif sum(len(topic.partition_indexes) for each in wanted for topic in each.topics) > PARTITIONS_MAX:
        request.respond_long(lambda ready: ready(partial(_refused, wanted, ErrorCode.POLICY_VIOLATION)))
    elif not wanted:
        request.respond({"markers": []})
    else:
        context.transactions.runtime.for_each(range(len(wanted)), write, failed)


def _refused(wanted: Any, code: ErrorCode) -> dict[str, Any]:
    refused = {
        place: {(topic.name, index): code for topic in each.topics for index in topic.partition_indexes}
        for place, each in enumerate(wanted)
    }
    return _response(wanted, refused)


def _response(wanted: Any, found: dict[int, Errors]) -> dict[str, Any]:
    """One entry for each producer id, as Kafka."""
    by_producer: dict[int, Errors] = {}
    for place, each in enumerate(wanted):
        by_producer.setdefault(each.producer_id, {}).update(found[place])
    return {"markers": [{"producer_id": key, "topics": _topics(errors)} for key, errors in by_producer.items()]}


def _topics(errors: Errors) -> list[dict[str, Any]]:
    topics: dict[str, list[Partition]] = {}
    for partition in errors:
        topics.setdefault(partition[0], []).append(partition)
    return [
        {
            "name": name,
            "partitions": [{"partition_index": each[1], "error_code": int(errors[each])} for each in partitions],
        }
        for name, partitions in topics.items()
    ]
