"""What the sender of a request may do. Without an authorizer everything, at the cost of one comparison.

A handler asks before it looks whether a topic, a group or an id exists, so that what is denied and what is unknown look alike;
`authorization_table` says what each API asks. Any thread may ask.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.authorizer.acls import CLUSTER_NAME, ResourceType
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Generator

    from kafka_cy.api.context import Request

TOPIC_DENIED: Final = ErrorCode.TOPIC_AUTHORIZATION_FAILED
GROUP_DENIED: Final = ErrorCode.GROUP_AUTHORIZATION_FAILED
CLUSTER_DENIED: Final = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
TRANSACTIONAL_ID_DENIED: Final = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
#: Kafka's texts. Where its text shows internals of the request, the general one stands here, too.
MESSAGES: Final = {
    TOPIC_DENIED: "Topic authorization failed.",
    GROUP_DENIED: "Group authorization failed.",
    CLUSTER_DENIED: "Cluster authorization failed.",
    TRANSACTIONAL_ID_DENIED: "Transactional Id authorization failed.",
}
_BETWEEN_BROKERS: Final = {4: "LeaderAndIsr", 5: "StopReplica", 6: "UpdateMetadata", 7: "ControlledShutdown"}


def denied(code: ErrorCode) -> dict[str, Any]:
    """The error of a response, or of a part of one, that has a message."""
    return {"error_code": code, "error_message": MESSAGES[code]}


def may(
    request: Request[Any], operation: int, resource_type: int, name: str, *, count: int = 1, log_denied: bool = True
) -> bool:
    """Whether the sender may do that. `count`: how often the request names it, for the audit line.

    `log_denied` False: it is left out of the answer, or another right may stand for this one.
    """
    authorizer = request.authorizer
    return authorizer is None or authorizer.allows(
        request.user, request.client_host, operation, resource_type, name,
        request=request_name(request.api_key), client_id=request.client_id, count=count, log_denied=log_denied,
    )  # fmt: skip


def may_topic(request: Request[Any], operation: int, name: str, *, log_denied: bool = True) -> bool:
    """Whether the sender may do that with a topic."""
    return may(request, operation, ResourceType.TOPIC, name, log_denied=log_denied)


def may_group(request: Request[Any], operation: int, name: str, *, log_denied: bool = True) -> bool:
    """Whether the sender may do that with a group."""
    return may(request, operation, ResourceType.GROUP, name, log_denied=log_denied)


def may_transactional_id(request: Request[Any], operation: int, name: str) -> bool:
    """Whether the sender may do that with a transactional id."""
    return may(request, operation, ResourceType.TRANSACTIONAL_ID, name)


def may_cluster(request: Request[Any], operation: int, *, log_denied: bool = True) -> bool:
    """Whether the sender may do that with the cluster."""
    return may(request, operation, ResourceType.CLUSTER, CLUSTER_NAME, log_denied=log_denied)


def may_any_topic(request: Request[Any], operation: int) -> Generator[None, None, bool]:
    """Whether the sender may do that with any topic (authorizeByResourceType, KIP-679). A task for slices."""
    authorizer = request.authorizer
    if authorizer is None:
        return True
    return (yield from authorizer.find_any(request.user, request.client_host, operation, ResourceType.TOPIC))


@cache
def request_name(api_key: int) -> str:
    """Kafka's name of an API, such as `OffsetCommit`."""
    from kio.schema.index import api_key_map  # at first use: not needed at start

    name = _BETWEEN_BROKERS.get(api_key) or "".join(word.title() for word in api_key_map.get(api_key, "").split("_"))
    return name or str(api_key)
