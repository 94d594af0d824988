"""ReadShareGroupState (API 84, KIP-932): the leader of share partitions reads what is stored.

Brokers send it to the share coordinator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import handler
from kafka_cy.api.share_state import for_each_partition
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.read_share_group_state.v0.request import ReadShareGroupStateRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesShareGroups
    from kafka_cy.coordinator.share.state_batches import StateBatch
    from kafka_cy.coordinator.share.state_machine import SharePartition, ShareState


BATCHES_SHOWN_MAX = 200_000  # in one response; the partitions that do not fit get POLICY_VIOLATION (Kafka has no limit)
TOO_MANY = "The states of all these share partitions are too long for one response."
UNINITIALIZED = "Read operation on uninitialized share partition not allowed."


@handler(api_key=84)
def handle(request: Request[ReadShareGroupStateRequest], context: UsesShareGroups) -> None:
    """Read the state of each partition; a later leader epoch is stored."""
    coordinator = context.share.coordinator

    def start(partition: SharePartition, each: Any, respond: Callable[..., object]) -> None:
        coordinator.read(partition, each.leader_epoch, respond)

    shown = 0  # batches

    def show(error: ErrorCode, state: ShareState | None) -> dict[str, Any]:
        nonlocal shown
        shown += len(state.batches) if state is not None else 0
        if shown > BATCHES_SHOWN_MAX:
            return _fields(None) | {"error_code": int(ErrorCode.POLICY_VIOLATION), "error_message": TOO_MANY}
        return _fields(state)

    for_each_partition(request, context, start, show, invalid=UNINITIALIZED)


class Batches:
    """State batches, made into what the encoder wants one at a time: there may be many."""

    def __init__(self, batches: Sequence[StateBatch]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[dict[str, int]]:
        return (each._asdict() for each in self._batches)


def _fields(state: ShareState | None) -> dict[str, Any]:
    batches = state.batches if state is not None else ()
    return {
        "state_epoch": 0 if state is None else state.state_epoch,
        "start_offset": 0 if state is None else state.start_offset,
        "state_batches": Batches(batches),
    }
