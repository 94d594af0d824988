"""SaslHandshake (API 17, KIP-43): no listener asks for SASL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import handler
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.sasl_handshake.v1.request import SaslHandshakeRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ReadsNothing


@handler(api_key=17)
def handle(request: Request[SaslHandshakeRequest], context: ReadsNothing) -> dict[str, Any]:
    """ILLEGAL_SASL_STATE: a connection without SASL is past authentication."""
    return {"error_code": ErrorCode.ILLEGAL_SASL_STATE, "mechanisms": []}
