"""DeleteGroups (API 42), versions 0-2: delete Empty groups with their offsets.

NON_EMPTY_GROUP while there are members, GROUP_ID_NOT_FOUND for unknown groups. v2: flexible.
"""

from __future__ import annotations

from typing import Any

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import handler
from kafka_cy.coordinator.administration import delete_group


@handler(api_key=42, versions=(0, 2))
def handle(request: Request, context: ApiContext) -> dict[str, Any]:
    """One error per group."""
    results = [
        {"group_id": name, "error_code": int(delete_group(context.groups, name))} for name in request.body.groups_names
    ]
    return {"throttle_time": 0, "results": results}
