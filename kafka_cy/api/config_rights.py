"""Who may describe and alter the settings of a resource: the right is one on the topic, the group, or the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.authorization import (
    CLUSTER_DENIED,
    GROUP_DENIED,
    MESSAGES,
    TOPIC_DENIED,
    may_cluster,
    may_group,
    may_topic,
)
from kafka_cy.api.config_alterations import GROUP, TOPIC, AlterationError
from kafka_cy.authorizer.acls import Operation

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.protocol.errors import ErrorCode

DENIED: Final = frozenset((TOPIC_DENIED, GROUP_DENIED, CLUSTER_DENIED))


def lacks_right(request: Request[Any], operation: int, kind: int, name: str) -> ErrorCode | None:
    """The error of a sender who may not do that with the settings of a resource of this type; None: it may."""
    if kind == TOPIC:
        return None if may_topic(request, operation, name) else TOPIC_DENIED
    if kind == GROUP:
        return None if may_group(request, operation, name) else GROUP_DENIED
    return None if may_cluster(request, operation) else CLUSTER_DENIED


def check_right(request: Request[Any], kind: int, name: str) -> None:
    """Check that the sender may alter the settings of a resource. Raises AlterationError."""
    lacks = lacks_right(request, Operation.ALTER_CONFIGS, kind, name)
    if lacks is not None:
        raise AlterationError(lacks, MESSAGES[lacks])
