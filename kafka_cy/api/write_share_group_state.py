"""WriteShareGroupState (API 85, KIP-932): the leader of share partitions stores what changed. v1: how many records are complete.

Brokers send it to the share coordinator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import handler
from kafka_cy.api.share_state import for_each_partition, show_nothing
from kafka_cy.coordinator.share.state_batches import StateBatches
from kafka_cy.coordinator.share.state_coordinator import BATCHES_MAX
from kafka_cy.coordinator.share.state_writes import StateWrite

if TYPE_CHECKING:
    from kio.schema.write_share_group_state.v1.request import WriteShareGroupStateRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesShareGroups
    from kafka_cy.coordinator.share.state_machine import SharePartition

UNKNOWN_COUNT = -1
UNINITIALIZED = "Write operation on uninitialized share partition not allowed."


@handler(api_key=85)
def handle(request: Request[WriteShareGroupStateRequest], context: UsesShareGroups) -> None:
    """Store the change of each partition."""
    coordinator = context.share.coordinator

    def start(partition: SharePartition, each: Any, respond: Callable[..., object]) -> None:
        batches = StateBatches.of_fields(each.state_batches[: BATCHES_MAX + 1])  # more are refused, however many
        count = getattr(each, "delivery_complete_count", UNKNOWN_COUNT)
        coordinator.write(
            StateWrite(partition, each.state_epoch, each.leader_epoch, each.start_offset, count, batches), respond
        )

    for_each_partition(request, context, start, show_nothing, invalid=UNINITIALIZED)
