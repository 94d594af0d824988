"""StopReplica (API 5): the controller tells this broker to stop replicas, and perhaps to delete them.

The replica manager does it, and answers when the folders of deleted logs are renamed durably.
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
    from kafka_cy.protocol.controller_messages.stop_replica import StopReplicaResponse


@handler(api_key=5)
def handle(request: Request[bytes], context: ChangesReplicas) -> None:
    """Pass the request to the replica manager, which has its own thread."""
    from kafka_cy.protocol.controller_messages.stop_replica import StopReplicaRequest, StopReplicaResponse

    if not brokers_only.admits(request, StopReplicaResponse):
        return
    body, version = request.body, request.api_version

    def done(response: StopReplicaResponse | None) -> None:
        if response is None:  # the controller repeats it
            request.close("the request is malformed, or the broker failed to handle it")
            return
        codes = [each.error_code for each in response.partitions]
        request.send_encoded(response.encode(version), Counter([response.error_code, *codes]))

    read = partial(StopReplicaRequest.decode, version, body, ELEMENTS_MAX)
    request.end_turn()
    if not context.replicas.stop_replica(read, done, is_long=len(body) > LONG_BODY_BYTES, size=len(body)):
        request.close("too many requests of controllers wait")
