"""LeaderAndIsr (API 4): the controller tells this broker which partitions it leads or follows.

The replica manager takes the states one request after the other, and answers when this broker leads and follows accordingly. The
response names every partition of the request; STALE_CONTROLLER_EPOCH stands for a leader epoch that is known, too.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.api import brokers_only
from kafka_cy.api.controller_limits import ELEMENTS_MAX, LONG_BODY_BYTES
from kafka_cy.api.registry import handler

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesReplicas
    from kafka_cy.protocol.controller_messages.leader_and_isr import LeaderAndIsrResponse


@handler(api_key=4)
def handle(request: Request[bytes], context: ChangesReplicas) -> None:
    """Pass the request to the replica manager, which has its own thread."""
    from kafka_cy.protocol.controller_messages.leader_and_isr import LeaderAndIsrRequest, LeaderAndIsrResponse

    if not brokers_only.admits(request, LeaderAndIsrResponse):
        return
    body, version = request.body, request.api_version

    def done(response: LeaderAndIsrResponse | None) -> None:
        if response is None:  # the controller repeats it
            request.close("the request is malformed, or the broker failed to handle it")
            return
        codes = [each.error_code for topic in response.topics for each in topic.partitions]
        request.send_encoded(response.encode(version), Counter([response.error_code, *codes]))

    read = partial(LeaderAndIsrRequest.decode, version, body, ELEMENTS_MAX)
    request.end_turn()
    if not context.replicas.leader_and_isr(read, done, is_long=len(body) > LONG_BODY_BYTES, size=len(body)):
        request.close("too many requests of controllers wait")
