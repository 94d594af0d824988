"""CreateDelegationToken (API 38, KIP-48): connections without authentication get none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import handler
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.create_delegation_token.v3.request import CreateDelegationTokenRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ReadsNothing


@handler(api_key=38)
def handle(request: Request[CreateDelegationTokenRequest], context: ReadsNothing) -> dict[str, Any]:
    """DELEGATION_TOKEN_REQUEST_NOT_ALLOWED. From version 3 on the owner may be named."""
    owner_name = getattr(request.body, "owner_principal_name", None)
    owner_type = request.body.owner_principal_type if owner_name else "User"
    return {
        "error_code": ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED,
        "principal_type": owner_type or "",
        "principal_name": owner_name or "ANONYMOUS",
        "token_requester_principal_type": "User",
        "token_requester_principal_name": "ANONYMOUS",
        "issue_timestamp": -1,
        "expiry_timestamp": -1,
        "max_timestamp": -1,
        "token_id": "",
        "hmac": b"",
    }
