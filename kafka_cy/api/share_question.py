"""What reactors ask about acknowledgements: store what they change (KIP-932).

The question (api/share_changes.pyx) hands the changes over. The answer: an int16 error code for each, in order.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.in_flight import take_changes

if TYPE_CHECKING:
    from kafka_cy.api.roles import UsesShareGroups
    from kafka_cy.network.control_request import ControlRequest


def answer(control: ControlRequest, context: UsesShareGroups) -> None:
    """Store the changes, and answer when they are stored or undone. A question that is dropped undoes them."""
    changes = take_changes(control.body)
    errors: list[int | None] = [None] * len(changes)
    left = len(changes)

    def stored(place: int, error: ErrorCode) -> None:
        nonlocal left
        if errors[place] is None:
            errors[place] = int(error)
            left -= 1
            if not left:
                control.respond(struct.pack(f">{len(errors)}h", *errors))

    for place, (number, change) in enumerate(changes):
        try:
            context.share.partitions.store(number, change, partial(stored, place))
        except Exception as fault:  # noqa: BLE001 the other changes are stored
            context.share.coordinator.runtime.on_fault(fault)
            stored(place, ErrorCode.UNKNOWN_SERVER_ERROR)
