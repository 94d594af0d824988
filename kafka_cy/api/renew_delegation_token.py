"""RenewDelegationToken (API 39, KIP-48): a token expires later. Its owner and its renewers may renew it, until it expires."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.durations import milliseconds
from kafka_cy.api.registry import handler
from kafka_cy.api.token_requests import TokenRefused, change_expiry, sender_of
from kafka_cy.cluster.token_formats import DelegationToken
from kafka_cy.cluster.token_times import renewed_expiry
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.renew_delegation_token.v2.request import RenewDelegationTokenRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTokens


# A renewal that changes less is not stored, unless the token expires soon: each change is read by all brokers of a cluster.
WRITTEN_FROM_MS: Final = 1000
KEPT_FROM_MS: Final = 60_000


@handler(api_key=39)
def handle(request: Request[RenewDelegationTokenRequest], context: ChangesTokens) -> dict[str, Any] | None:
    """The new expiry. A token that has expired says so to everybody, before it is asked whose it is (as KRaft's controller)."""
    sender, period_ms, tokens = sender_of(request), milliseconds(request.body.renew_period), context.tokens

    def renewed(token: DelegationToken, now_ms: int) -> DelegationToken:
        assert tokens is not None
        if token.has_expired(now_ms):
            raise TokenRefused(ErrorCode.DELEGATION_TOKEN_EXPIRED)
        if not token.may_renew(sender):
            raise TokenRefused(ErrorCode.DELEGATION_TOKEN_OWNER_MISMATCH)
        expiry_ms = renewed_expiry(now_ms, period_ms, token.max_ms, tokens.lifetimes)
        if abs(expiry_ms - token.expiry_ms) < WRITTEN_FROM_MS and token.expiry_ms - now_ms > KEPT_FROM_MS:
            return token
        return token._replace(expiry_ms=expiry_ms)

    return change_expiry(request, context, request.body.hmac, renewed, lambda removed: "delegation token renewed")
