"""SaslAuthenticate (API 36, KIP-152): no listener asks for SASL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import handler
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.sasl_authenticate.v2.request import SaslAuthenticateRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ReadsNothing


@handler(api_key=36)
def handle(request: Request[SaslAuthenticateRequest], context: ReadsNothing) -> dict[str, Any]:
    """ILLEGAL_SASL_STATE: a connection without SASL is past authentication."""
    return {
        "error_code": ErrorCode.ILLEGAL_SASL_STATE,
        "error_message": "SaslAuthenticate request received after successful authentication",
        "auth_bytes": b"",
        "session_lifetime": 0,
    }
