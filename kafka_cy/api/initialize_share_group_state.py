"""InitializeShareGroupState (API 83, KIP-932): a share group begins to read partitions, or begins anew at an offset.

Brokers send it to the share coordinator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import handler
from kafka_cy.api.share_state import for_each_partition, show_nothing

if TYPE_CHECKING:
    from kio.schema.initialize_share_group_state.v0.request import InitializeShareGroupStateRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesShareGroups
    from kafka_cy.coordinator.share.state_machine import SharePartition


@handler(api_key=83)
def handle(request: Request[InitializeShareGroupStateRequest], context: UsesShareGroups) -> None:
    """Initialize the state of each partition."""
    coordinator = context.share.coordinator

    def start(partition: SharePartition, each: Any, respond: Callable[..., object]) -> None:
        coordinator.initialize(partition, each.state_epoch, each.start_offset, respond)

    for_each_partition(request, context, start, show_nothing)
