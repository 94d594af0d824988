"""DeleteShareGroupState (API 86, KIP-932): a share group does not read partitions any more.

Brokers send it to the share coordinator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import handler
from kafka_cy.api.share_state import for_each_partition, show_nothing
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.delete_share_group_state.v0.request import DeleteShareGroupStateRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesShareGroups
    from kafka_cy.coordinator.share.state_machine import SharePartition


@handler(api_key=86)
def handle(request: Request[DeleteShareGroupStateRequest], context: UsesShareGroups) -> None:
    """Delete the state of each partition."""
    coordinator = context.share.coordinator

    def start(partition: SharePartition, each: Any, respond: Callable[..., object]) -> None:
        if partition.partition >= 0 and not coordinator.exists(partition):
            respond(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        else:
            coordinator.delete(partition, respond)

    for_each_partition(request, context, start, show_nothing)
