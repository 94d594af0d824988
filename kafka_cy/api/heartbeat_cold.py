"""Heartbeat (API 12), versions 0-4: the half that needs a decision.

Reactors answer members of Stable and CompletingRebalance groups by themselves (`kafka_cy.api.heartbeat`); what
comes here is an unknown member, an old generation, a fenced instance, or a group that rebalances.
"""

from __future__ import annotations

from typing import Any

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import handler


@handler(api_key=12, versions=(0, 4))
def handle(request: Request, context: ApiContext) -> dict[str, Any]:
    """Answer with the error that the coordinator finds."""
    body = request.body
    instance_id = body.group_instance_id if request.api_version >= 3 else None
    error = context.groups.heartbeat(body.group_id, body.member_id, instance_id, body.generation_id)
    return {"throttle_time": 0, "error_code": int(error)}
