"""The bit fields of KIP-430: which operations a client may do. Without an authorizer: all that the resource knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.authorization import may_cluster
from kafka_cy.authorizer.acls import ALL_BITS, CLUSTER_NAME, Operation, ResourceType

if TYPE_CHECKING:
    from kafka_cy.api.context import Request

NOT_ASKED: Final = -(1 << 31)


def topic_operations(request: Request[Any], name: str) -> int:
    """What the sender may do with a topic."""
    return _operations(request, ResourceType.TOPIC, name)


def group_operations(request: Request[Any], name: str) -> int:
    """What the sender may do with a group."""
    return _operations(request, ResourceType.GROUP, name)


def cluster_operations(request: Request[Any]) -> int:
    """What the sender may do with the cluster; 0 without DESCRIBE."""
    return _operations(request, ResourceType.CLUSTER, CLUSTER_NAME) if may_cluster(request, Operation.DESCRIBE) else 0


def _operations(request: Request[Any], resource_type: ResourceType, name: str) -> int:
    authorizer = request.authorizer
    if authorizer is None:
        return ALL_BITS[resource_type]
    return authorizer.operations(request.user, request.client_host, resource_type, name)
