"""DeleteGroups (API 42), versions 0-2: delete Empty groups with their offsets.

NON_EMPTY_GROUP while there are members, GROUP_ID_NOT_FOUND for unknown groups. v2: flexible. The answer leaves when all
deletions are stored.
"""

from __future__ import annotations

from typing import Any

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import handler
from kafka_cy.coordinator.administration import delete_group
from kafka_cy.protocol.errors import ErrorCode


@handler(api_key=42, versions=(0, 2))
def handle(request: Request, context: ApiContext) -> dict[str, Any] | None:
    """One error per group."""
    names = list(dict.fromkeys(request.body.groups_names))
    deleted = [(name, delete_group(context.groups, name)) for name in names]

    def answer(lost: dict[str, ErrorCode]) -> None:
        results = [{"group_id": name, "error_code": int(lost[name] or error)} for name, error in deleted]
        request.respond({"throttle_time": 0, "results": results})

    context.groups.when_all_stored(names, answer)
    return None
