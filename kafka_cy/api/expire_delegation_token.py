"""ExpireDelegationToken (API 40, KIP-48): a token expires at another time, or now. Its owner and its renewers may say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.durations import milliseconds
from kafka_cy.api.registry import handler
from kafka_cy.api.token_requests import TokenRefused, change_expiry, sender_of
from kafka_cy.cluster.token_formats import DelegationToken
from kafka_cy.cluster.token_times import changed_expiry
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.expire_delegation_token.v2.request import ExpireDelegationTokenRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTokens


@handler(api_key=40)
def handle(request: Request[ExpireDelegationTokenRequest], context: ChangesTokens) -> dict[str, Any] | None:
    """The new expiry. With a negative period the token is removed, even if it has expired already."""
    sender, period_ms = sender_of(request), milliseconds(request.body.expiry_time_period)

    def expired(token: DelegationToken, now_ms: int) -> DelegationToken | None:
        if not token.may_renew(sender):
            raise TokenRefused(ErrorCode.DELEGATION_TOKEN_OWNER_MISMATCH)
        if period_ms < 0:
            return None
        if token.has_expired(now_ms):
            raise TokenRefused(ErrorCode.DELEGATION_TOKEN_EXPIRED)
        return token._replace(expiry_ms=changed_expiry(now_ms, period_ms, token.max_ms))

    def what(removed: bool) -> str:
        return "delegation token removed" if removed else "expiry of a delegation token changed"

    return change_expiry(request, context, request.body.hmac, expired, what)
