"""What the requests that describe consumer, share and streams groups have in common.

A group that is named twice is described once (Kafka repeats it): a small request must not make a response of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, TOPIC_DENIED, denied, may_group, may_topic
from kafka_cy.api.authorized_operations import NOT_ASKED, group_operations
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesGroups
    from kafka_cy.coordinator.modern.groups import ModernGroups

MEMBERS_AT_ONCE_MAX = 50  # members of all groups that are described at once, which takes about a millisecond
Topics = Callable[[dict[str, Any]], Iterable[str]]
HIDDEN_TOPICS = "The group has described topic(s) that the client is not authorized to describe."


def describe_groups(
    request: Request[Any],
    context: UsesGroups,
    groups: ModernGroups,
    topics: Topics,
    hidden: str = HIDDEN_TOPICS,
) -> dict[str, Any] | None:
    """One entry for each group of the request, at once or in slices. `groups`: those of the kind that is described.

    `topics(entry)`: the topics that an entry shows. A sender who may not describe one of them gets TOPIC_AUTHORIZATION_FAILED
    for the group, with the text `hidden`.
    """
    with_operations = request.body.include_authorized_operations
    names = list(dict.fromkeys(request.body.group_ids))

    def response(found: list[dict[str, Any]]) -> dict[str, Any]:
        refused, described = [], []
        for name, group in zip(names, found, strict=True):
            if not may_group(request, Operation.DESCRIBE, name):
                refused.append(denied(GROUP_DENIED) | groups.unknown(name) | {"authorized_operations": NOT_ASKED})
                continue
            operations = group_operations(request, name) if with_operations and not group["error_code"] else NOT_ASKED
            shown = request.authorizer is None or all(
                may_topic(request, Operation.DESCRIBE, topic) for topic in set(topics(group))
            )
            if not shown:
                group = {"error_code": TOPIC_DENIED, "error_message": hidden} | groups.unknown(name)
            described.append(group | {"authorized_operations": operations if shown else NOT_ASKED})
        return {"throttle_time": 0, "groups": refused + described}

    if len(names) <= AT_ONCE_MAX and context.groups.members_count(names) <= MEMBERS_AT_ONCE_MAX:
        found: list[dict[str, Any]] = []
        for _ in groups.descriptions(names, found):
            pass
        return response(found)

    def prepare(ready: Any) -> None:
        found: list[dict[str, Any]] = []
        context.groups.in_slices(groups.descriptions(names, found), lambda: ready(lambda: response(found)))

    request.respond_long(prepare)
    return None


def topics_of_members(group: dict[str, Any]) -> Iterator[str]:
    """The topics that the members of a described consumer or share group have, or shall have."""
    for member in group["members"]:
        for assignment in (member["assignment"], member.get("target_assignment")):
            for topic in assignment["topic_partitions"] if assignment is not None else ():
                yield topic["topic_name"]
