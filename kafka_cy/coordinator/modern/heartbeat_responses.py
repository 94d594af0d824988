"""Responses to the heartbeats of consumer groups and share groups: they have the same fields."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from kafka_cy.protocol.errors import ErrorCode


def error_response(code: ErrorCode, message: str | None = None) -> dict[str, Any]:
    """A response without a member."""
    return {
        "error_code": int(code), "error_message": message, "member_id": None, "member_epoch": 0, "heartbeat_interval": 0,
        "assignment": None,
    }  # fmt: skip


def member_response(
    member_id: str, epoch: int, heartbeat_interval_ms: int, assigned: Mapping[uuid.UUID, Iterable[int]] | None
) -> dict[str, Any]:
    """`assigned` has partitions by topic id; None when the member's partitions are as before."""
    assignment = None
    if assigned is not None:
        rows = [{"topic_id": topic_id, "partitions": sorted(each)} for topic_id, each in assigned.items()]
        assignment = {"topic_partitions": rows}
    return {
        "error_code": 0, "error_message": None, "member_id": member_id, "member_epoch": epoch,
        "heartbeat_interval": heartbeat_interval_ms, "assignment": assignment,
    }  # fmt: skip
