"""What senders may do with topics that they name, in any number, or that the regular expression of a member finds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from kafka_cy.api.authorization import may_topic, request_name
from kafka_cy.api.change_pieces import add_task
from kafka_cy.authorizer.acls import CLUSTER_NAME, Operation, ResourceType
from kafka_cy.base.slices import AT_ONCE_MAX

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import WorksInSlices
    from kafka_cy.authorizer.authorizer import Authorizer
    from kafka_cy.cluster.metadata_cache import MetadataCache


def may_describe_all(
    request: Request[Any], context: WorksInSlices, names: Collection[str], then: Callable[[bool], object]
) -> None:
    """Call `then` with whether the sender may describe all of these topics: at once, or for many between other requests.

    The ACLs are asked once about each name.
    """
    asked: set[str] = set()

    def allows(name: str) -> bool:
        if name in asked:
            return True
        asked.add(name)
        return may_topic(request, Operation.DESCRIBE, name)

    with_denied(request, context, names, allows, lambda denied: then(not denied))


def with_denied_topics(
    request: Request[Any], context: WorksInSlices, operation: int, names: Collection[str], then: Callable[[set[str]], object]
) -> None:
    """Call `then` with those of the topics that the sender may not do that with: at once, or for many between other requests."""
    with_denied(request, context, names, lambda name: may_topic(request, operation, name), then)


def with_denied(
    request: Request[Any], context: WorksInSlices, names: Collection[str], allows: Callable[[str], bool],
    then: Callable[[set[str]], object],
) -> None:  # fmt: skip
    """Call `then` with the names that `allows` denies: at once, or for many between other requests.

    Each time that a name occurs, the ACLs are asked about it.
    """
    if request.authorizer is None:
        then(set())
        return
    denied: set[str] = set()

    def look() -> Iterator[None]:
        for name in names:
            if not allows(name):
                denied.add(name)
            yield

    if len(names) > AT_ONCE_MAX:
        add_task(request, context.slices, look(), lambda: then(denied))
        return
    for _ in look():
        pass
    then(denied)


def describes(request: Request[Any]) -> Callable[[str], bool] | None:
    """Whether the sender may describe a topic, to ask later; None: everybody may. It does not keep the request."""
    authorizer = request.authorizer
    if authorizer is None:
        return None
    return partial(_allows, authorizer, request.user, request.client_host, Operation.DESCRIBE, request_name(request.api_key))


def reads(request: Request[Any], cluster: MetadataCache) -> Callable[[UUID | None], bool] | None:
    """Whether the sender may read the topic of an id, to ask later; None: everybody may. An unknown id is not denied."""
    authorizer = request.authorizer
    if authorizer is None:
        return None
    user, host, name = request.user, request.client_host, request_name(request.api_key)

    def may_read(topic_id: UUID | None) -> bool:
        topic = cluster.topic_by_id.get(topic_id) if topic_id is not None else None
        return topic is None or authorizer.allows(user, host, Operation.READ, ResourceType.TOPIC, topic.name, request=name)

    return may_read


def creates(request: Request[Any]) -> Callable[[str], bool] | None:
    """Whether the sender may create a topic, to ask later; None: everybody may. It does not keep the request."""
    authorizer = request.authorizer
    if authorizer is None:
        return None
    user, host, name = request.user, request.client_host, request_name(request.api_key)

    def may_create(topic: str) -> bool:
        return authorizer.allows(
            user, host, Operation.CREATE, ResourceType.CLUSTER, CLUSTER_NAME, request=name, log_denied=False
        ) or authorizer.allows(user, host, Operation.CREATE, ResourceType.TOPIC, topic, request=name)

    return may_create


def _allows(authorizer: Authorizer, user: str | None, host: str, operation: int, request: str, topic: str) -> bool:
    return authorizer.allows(user, host, operation, ResourceType.TOPIC, topic, request=request, log_denied=False)
