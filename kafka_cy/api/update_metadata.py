"""UpdateMetadata (API 6): the controller tells this broker about topics, brokers, and who the controller is.

The response is sent when requests of clients see the new metadata. With STALE_CONTROLLER_EPOCH or STALE_BROKER_EPOCH, nothing was
taken.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.api import brokers_only
from kafka_cy.api.controller_limits import ELEMENTS_MAX, LONG_BODY_BYTES
from kafka_cy.api.registry import handler

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import TakesMetadata
    from kafka_cy.protocol.errors import ErrorCode


@handler(api_key=6)
def handle(request: Request[bytes], context: TakesMetadata) -> None:
    """Pass the request to the metadata of this member."""
    from kafka_cy.protocol.controller_messages.update_metadata import UpdateMetadataRequest, UpdateMetadataResponse

    if not brokers_only.admits(request, UpdateMetadataResponse):
        return
    body, version = request.body, request.api_version

    def done(error: ErrorCode) -> None:
        request.send_encoded(UpdateMetadataResponse(error).encode(version), {int(error): 1})

    read = partial(UpdateMetadataRequest.decode, version, body, ELEMENTS_MAX)
    request.end_turn()
    malformed = partial(request.close, "the request is malformed")
    context.member.update_metadata(read, done, malformed, is_long=len(body) > LONG_BODY_BYTES)
