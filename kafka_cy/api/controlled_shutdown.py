"""ControlledShutdown (API 7): a broker asks the controller to move its leaders before it stops. NOT_CONTROLLER elsewhere.

Version 0, which only brokers before Kafka 0.9 send, has a request header of its own and is not offered.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.api import brokers_only
from kafka_cy.api.registry import handler

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import AsksController
    from kafka_cy.protocol.controller_messages.controlled_shutdown import (
        ControlledShutdownRequest,
        ControlledShutdownResponse,
    )


@handler(api_key=7)
def handle(request: Request[bytes], context: AsksController) -> None:
    """Pass the request to the controller."""
    from kafka_cy.protocol.controller_messages.controlled_shutdown import (
        ControlledShutdownRequest,
        ControlledShutdownResponse,
    )

    if not brokers_only.admits(request, ControlledShutdownResponse):
        return
    version, member = request.api_version, context.member

    def done(response: ControlledShutdownResponse) -> None:
        request.send_encoded(response.encode(version), {response.error_code: 1})

    def ask(asked: ControlledShutdownRequest) -> None:
        member.controller.controlled_shutdown(asked, done)

    member.ask_controller(request, partial(ControlledShutdownRequest.decode, version, request.body), ask)
