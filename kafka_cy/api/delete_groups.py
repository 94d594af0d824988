"""DeleteGroups (API 42): delete Empty groups with their offsets.

NON_EMPTY_GROUP while there are members, GROUP_ID_NOT_FOUND for unknown groups. v2: flexible. The response leaves when
all deletions are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.change_lines import ID_CHARS_MAX, log_each
from kafka_cy.api.registry import handler
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.delete_groups.v2.request import DeleteGroupsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import DeletesGroups


@handler(api_key=42)
def handle(request: Request[DeleteGroupsRequest], context: DeletesGroups) -> None:
    """One error per group."""
    names = list(dict.fromkeys(request.body.groups_names))

    def response(errors: list[ErrorCode]) -> dict[str, Any]:
        deleted = [{"group": name[:ID_CHARS_MAX]} for name, error in zip(names, errors, strict=True) if not error]
        log_each(context.log, "group deleted", deleted, request.sender)
        results = [{"group_id": name, "error_code": int(error)} for name, error in zip(names, errors, strict=True)]
        return {"throttle_time": 0, "results": results}

    if len(names) > AT_ONCE_MAX:
        request.respond_long(
            lambda ready: context.groups.delete_groups(names, lambda errors: ready(lambda: response(errors)))
        )
    else:
        context.groups.delete_groups(names, lambda errors: request.respond(response(errors)))
