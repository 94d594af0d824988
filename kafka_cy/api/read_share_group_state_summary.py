"""ReadShareGroupStateSummary (API 87, KIP-932): where share groups begin to read. v1: how many records after that are complete.

The group coordinator sends it to the share coordinator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import handler
from kafka_cy.api.share_state import for_each_partition
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.read_share_group_state_summary.v1.request import ReadShareGroupStateSummaryRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesShareGroups
    from kafka_cy.coordinator.share.state_machine import SharePartition, ShareState

NONE = -1


@handler(api_key=87)
def handle(request: Request[ReadShareGroupStateSummaryRequest], context: UsesShareGroups) -> None:
    """Show the summary of each partition; -1 for what was never initialized."""
    coordinator, version = context.share.coordinator, request.api_version

    def start(partition: SharePartition, each: Any, respond: Callable[..., object]) -> None:
        if partition.partition >= 0 and not coordinator.exists(partition):
            respond(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, None)
        else:
            coordinator.summary(partition, respond)

    def show(error: ErrorCode, state: ShareState | None) -> dict[str, Any]:
        none = 0 if error else NONE
        shown = {
            "state_epoch": 0 if state is None else state.state_epoch,
            "leader_epoch": 0 if state is None else state.leader_epoch,
            "start_offset": none if state is None else state.start_offset,
        }
        if version >= 1:
            shown["delivery_complete_count"] = NONE if state is None else state.delivery_complete_count
        return shown

    for_each_partition(request, context, start, show)
