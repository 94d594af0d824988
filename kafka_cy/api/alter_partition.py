"""AlterPartition (API 56, KIP-497): the leader of a partition asks the controller for another ISR. NOT_CONTROLLER elsewhere."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.api import brokers_only
from kafka_cy.api.registry import handler

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import AsksController


@handler(api_key=56)
def handle(request: Request[bytes], context: AsksController) -> None:
    """Pass the request to the controller."""
    from kafka_cy.protocol.controller_messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse

    if not brokers_only.admits(request, AlterPartitionResponse):
        return
    version, member = request.api_version, context.member

    def done(response: AlterPartitionResponse) -> None:
        codes = [response.error_code, *[each.error_code for topic in response.topics for each in topic.partitions]]
        request.send_encoded(response.encode(version), {code: codes.count(code) for code in set(codes)})

    def ask(asked: AlterPartitionRequest) -> None:
        member.controller.alter_partition(asked, version, done)

    elements_max = int(context.config["kafkacy.control.request.max.elements"])
    member.ask_controller(request, partial(AlterPartitionRequest.decode, version, request.body, elements_max), ask)
