"""AllocateProducerIds (API 67, KIP-730): a broker asks the controller for a block of producer ids. NOT_CONTROLLER elsewhere."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.api import brokers_only
from kafka_cy.api.registry import handler

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import AsksController
    from kafka_cy.protocol.controller_messages.allocate_producer_ids import (
        AllocateProducerIdsRequest,
        AllocateProducerIdsResponse,
    )


@handler(api_key=67)
def handle(request: Request[bytes], context: AsksController) -> None:
    """Pass the request to the controller."""
    from kafka_cy.protocol.controller_messages.allocate_producer_ids import (
        AllocateProducerIdsRequest,
        AllocateProducerIdsResponse,
    )

    if not brokers_only.admits(request, AllocateProducerIdsResponse):
        return
    version, member = request.api_version, context.member

    def done(response: AllocateProducerIdsResponse) -> None:
        request.send_encoded(response.encode(version), {response.error_code: 1})

    def ask(asked: AllocateProducerIdsRequest) -> None:
        member.controller.allocate_producer_ids(asked, done)

    member.ask_controller(request, partial(AllocateProducerIdsRequest.decode, version, request.body), ask)
