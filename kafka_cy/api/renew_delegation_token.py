"""RenewDelegationToken (API 39, KIP-48): connections without authentication get none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import handler
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.renew_delegation_token.v2.request import RenewDelegationTokenRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ReadsNothing


@handler(api_key=39)
def handle(request: Request[RenewDelegationTokenRequest], context: ReadsNothing) -> dict[str, Any]:
    """DELEGATION_TOKEN_REQUEST_NOT_ALLOWED."""
    return {"error_code": ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, "expiry_timestamp": -1}
