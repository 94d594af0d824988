"""How the results of operations become responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka_cy.coordinator.classic.member import Respond
from kafka_cy.coordinator.offsets.commit import PartitionErrors, Response
from kafka_cy.protocol.errors import ErrorCode

RespondCommit = Callable[[ErrorCode, PartitionErrors], None]


def once(respond: Respond) -> Respond:
    """Only the first response counts: after a fault, both the group and the runtime respond to a request."""
    left = [respond]

    def first(response: dict[str, Any]) -> None:
        if left:
            left.pop()(response)

    return first


def or_else(respond: Callable[[ErrorCode, Any], None], nothing: Any, error: ErrorCode, response: Any) -> None:
    """`nothing` stands for the response when there is an error."""
    respond(error, nothing if response is None else response)


def respond_offsets(respond: RespondCommit, error: ErrorCode, response: Response | None) -> None:
    """The errors of a commit or a deletion of offsets."""
    if response is None:
        respond(error, {})
    else:
        respond(*response)
