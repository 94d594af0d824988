"""DeleteGroups (API 42): delete Empty groups with their offsets.

NON_EMPTY_GROUP while there are members, GROUP_ID_NOT_FOUND for unknown groups. v2: flexible. The response leaves when
all deletions are stored.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import handler
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.delete_groups.v2.request import DeleteGroupsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesGroups


@handler(api_key=42)
def handle(request: Request[DeleteGroupsRequest], context: UsesGroups) -> dict[str, Any] | None:
    """One error per group."""
    names = list(dict.fromkeys(request.body.groups_names))
    errors: dict[str, ErrorCode] = {}

    def deleted(name: str, error: ErrorCode) -> None:
        errors[name] = error
        if len(errors) == len(names):
            results = [{"group_id": each, "error_code": int(errors[each])} for each in names]
            request.respond({"throttle_time": 0, "results": results})

    if not names:
        return {"throttle_time": 0, "results": []}
    for name in names:
        context.groups.delete_group(name, partial(deleted, name))
    return None
