"""The requests between brokers in the controller's messages: whoever sends them needs CLUSTER_ACTION on the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, may_cluster
from kafka_cy.authorizer.acls import Operation

if TYPE_CHECKING:
    from kafka_cy.api.context import Request


def admits(request: Request[bytes], response: Callable[[int], Any]) -> bool:
    """Whether the sender is a broker. If not, it gets `response` with CLUSTER_AUTHORIZATION_FAILED, and nothing is decoded.

    (Kafka repeats the partitions of the request beside the error.)
    """
    if may_cluster(request, Operation.CLUSTER_ACTION):
        return True
    request.send_encoded(response(int(CLUSTER_DENIED)).encode(request.api_version), {int(CLUSTER_DENIED): 1})
    return False
