"""FindCoordinator (API 10) in a cluster: the leader of the partition that a key belongs to, whichever broker that is.

The first request of each type has the topic created that the coordinators store their state in; until its partitions have leaders,
the answer is COORDINATOR_NOT_AVAILABLE, as in Kafka.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.find_coordinator import TOPICS, TYPE_GROUP, TYPE_SHARE, create_topic, failed, respond
from kafka_cy.api.registry import handler
from kafka_cy.protocol.errors import INVALID_REQUEST_MESSAGE, ErrorCode

if TYPE_CHECKING:
    from kio.schema.find_coordinator.v6.request import FindCoordinatorRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import FindsCoordinators


@handler(api_key=10)
def handle(request: Request[FindCoordinatorRequest], context: FindsCoordinators) -> None:
    """Name the coordinators. A cluster with ZooKeeper has no share groups."""
    key_type = request.body.key_type if request.api_version >= 1 else TYPE_GROUP
    topic = TOPICS.get(key_type) if key_type != TYPE_SHARE else None
    if topic is not None and topic not in context.cluster.topics:
        create_topic(request, context, key_type, topic, lambda: respond(request, context, key_type, _find))
    else:
        respond(request, context, key_type, _find)


def _find(
    request: Request[FindCoordinatorRequest], context: FindsCoordinators, key_type: int, key: str
) -> dict[str, Any]:
    if key_type not in TOPICS or key_type == TYPE_SHARE:
        return failed(ErrorCode.INVALID_REQUEST, INVALID_REQUEST_MESSAGE)
    coordinator: Any = context.groups if key_type == TYPE_GROUP else context.transactions
    index = coordinator.runtime.partition_index(key)
    topic = context.cluster.topics.get(TOPICS[key_type])
    # The controller may not have told of all partitions yet.
    partitions = topic.partitions if topic is not None else []
    leader = partitions[index].leader if index is not None and index < len(partitions) else -1
    broker = next((each for each in context.cluster.brokers if each.broker_id == leader), None)
    address = broker.addresses[request.listener_index] if broker is not None else None
    if address is None:
        return failed(ErrorCode.COORDINATOR_NOT_AVAILABLE, "the partition of the key has no leader")
    return {
        "error_code": 0,
        "error_message": "" if request.api_version >= 4 else "NONE",
        "node_id": leader,
        "host": address[0],
        "port": address[1],
    }
