"""What the requests that describe consumer, share and streams groups have in common.

A group that is named twice is described once (Kafka repeats it): a small request must not make a response of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, TOPIC_DENIED, may_group, may_topic
from kafka_cy.api.authorized_operations import NOT_ASKED, group_operations
from kafka_cy.api.topic_rights import with_denied
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesModernGroups
    from kafka_cy.coordinator.modern.groups import ModernGroups

MEMBERS_AT_ONCE_MAX = 50  # members of all groups that are described at once, which takes about a millisecond
Topics = Callable[[dict[str, Any]], Iterable[str]]
HIDDEN_TOPICS = "The group has described topic(s) that the client is not authorized to describe."


def describe_groups(
    request: Request[Any],
    context: UsesModernGroups,
    groups: ModernGroups,
    topics: Topics,
    hidden: str = HIDDEN_TOPICS,
) -> dict[str, Any] | None:
    """One entry for each group of the request, at once or in slices. `groups`: those of the kind that is described.

    `topics(entry)`: the topics that an entry shows. A sender who may not describe one of them gets TOPIC_AUTHORIZATION_FAILED
    for the group, with the text `hidden`. Nothing is looked up for groups that he may not describe. A cluster without this
    kind of groups says so whatever he may do.
    """
    with_operations = request.body.include_authorized_operations
    names = list(dict.fromkeys(request.body.group_ids))

    def allows(name: str) -> bool:
        return not groups.is_offered() or may_group(request, Operation.DESCRIBE, name)

    def response(allowed: Sequence[str], found: list[dict[str, Any]]) -> dict[str, Any]:
        known = set(allowed)
        refused = [
            {"error_code": GROUP_DENIED, "error_message": None} | groups.unknown(name) | {"authorized_operations": NOT_ASKED}
            for name in names if name not in known
        ]  # fmt: skip
        described = []
        for name, group in zip(allowed, found, strict=True):
            operations = group_operations(request, name) if with_operations and not group["error_code"] else NOT_ASKED
            shown = request.authorizer is None or all(
                may_topic(request, Operation.DESCRIBE, topic) for topic in set(topics(group))
            )
            if not shown:
                group = {"error_code": TOPIC_DENIED, "error_message": hidden} | groups.unknown(name)
            described.append(group | {"authorized_operations": operations if shown else NOT_ASKED})
        return {"throttle_time": 0, "groups": refused + described}

    def describe(ready: Any, allowed: Sequence[str]) -> None:
        found: list[dict[str, Any]] = []
        context.groups.in_slices(groups.descriptions(allowed, found), lambda: ready(lambda: response(allowed, found)))

    def ask(ready: Any) -> None:
        def asked(denied_names: set[str]) -> None:
            describe(ready, [each for each in names if each not in denied_names])

        with_denied(request, context, names, allows, asked)

    if len(names) > AT_ONCE_MAX:
        request.respond_long(ask)
        return None
    few = [name for name in names if allows(name)]
    if context.groups.members_count(few) <= MEMBERS_AT_ONCE_MAX and not context.groups.is_busy(few):
        found: list[dict[str, Any]] = []
        for _ in groups.descriptions(few, found):
            pass
        return response(few, found)
    request.respond_long(lambda ready: describe(ready, few))
    return None


def topics_of_members(group: dict[str, Any]) -> Iterator[str]:
    """The topics that the members of a described consumer or share group have, or shall have."""
    for member in group["members"]:
        for assignment in (member["assignment"], member.get("target_assignment")):
            for topic in assignment["topic_partitions"] if assignment is not None else ():
                yield topic["topic_name"]
