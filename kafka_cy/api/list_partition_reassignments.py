"""ListPartitionReassignments: a broker by itself never has one in progress."""

from __future__ import annotations

from typing import Any

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import handler
from kafka_cy.protocol.errors import ErrorCode


@handler(api_key=46)
def handle(request: Request, context: ApiContext) -> dict[str, Any]:
    """The empty list."""
    return {"error_code": ErrorCode.NONE, "error_message": None, "topics": []}
