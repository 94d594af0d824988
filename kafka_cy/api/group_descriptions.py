"""What the requests that describe consumer, share and streams groups have in common.

A group that is named twice is described once (Kafka repeats it): a small request must not make a response of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorized_operations import GROUP_ALL, NOT_ASKED
from kafka_cy.base.slices import AT_ONCE_MAX

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesGroups

MEMBERS_AT_ONCE_MAX = 50  # members of all groups that are described at once, which takes about a millisecond
Descriptions = Callable[[Sequence[str], list[dict[str, Any]]], Iterator[None]]


def describe_groups(
    request: Request[Any], context: UsesGroups, descriptions: Descriptions
) -> dict[str, Any] | None:
    """One entry for each group of the request, at once or in slices. `descriptions` puts the entries into a list."""
    operations = GROUP_ALL if request.body.include_authorized_operations else NOT_ASKED
    names = list(dict.fromkeys(request.body.group_ids))

    def response(found: list[dict[str, Any]]) -> dict[str, Any]:
        for group in found:
            group["authorized_operations"] = NOT_ASKED if group["error_code"] else operations
        return {"throttle_time": 0, "groups": found}

    if len(names) <= AT_ONCE_MAX and context.groups.members_count(names) <= MEMBERS_AT_ONCE_MAX:
        found: list[dict[str, Any]] = []
        for _ in descriptions(names, found):
            pass
        return response(found)

    def prepare(ready: Any) -> None:
        found: list[dict[str, Any]] = []
        context.groups.in_slices(descriptions(names, found), lambda: ready(lambda: response(found)))

    request.respond_long(prepare)
    return None
