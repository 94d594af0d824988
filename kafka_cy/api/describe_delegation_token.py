"""DescribeDelegationToken (API 41, KIP-48): the tokens that the client may see, with their HMACs.

Those are the tokens of which it is the owner, the requester or a renewer, and the others that the authorizer lets it DESCRIBE, or
whose owner's tokens it may DESCRIBE_TOKENS of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import may
from kafka_cy.api.registry import handler
from kafka_cy.api.token_requests import may_ask, sender_of
from kafka_cy.authorizer.acls import Operation, ResourceType
from kafka_cy.cluster.token_formats import DelegationToken, Principal
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.describe_delegation_token.v3.request import DescribeDelegationTokenRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ReadsTokens


@handler(api_key=41)
def handle(request: Request[DescribeDelegationTokenRequest], context: ReadsTokens) -> dict[str, Any] | None:
    """All tokens if no owners are named, none if the list is empty."""
    if not may_ask(request):
        return _response(ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED)
    tokens = context.tokens
    if tokens is None:
        return _response(ErrorCode.DELEGATION_TOKEN_AUTH_DISABLED)
    named = request.body.owners
    owners = None if named is None else {Principal(each.principal_type, each.principal_name) for each in named}
    sender, found = sender_of(request), tokens.cache.all()

    def is_visible(token: DelegationToken) -> bool:
        if owners is not None and owners.isdisjoint((token.owner, token.requester, *token.renewers)):
            return False
        return token.is_of(sender) or _may_see(request, token)

    def make() -> dict[str, Any]:  # on another thread: there may be many tokens, and a question for each
        shown = [_described(token, hmac_bytes) for token, hmac_bytes in found if is_visible(token)]
        return _response(ErrorCode.NONE, shown)

    request.respond_long(lambda ready: ready(make))
    return None


def _may_see(request: Request[Any], token: DelegationToken) -> bool:
    by_id = Operation.DESCRIBE, ResourceType.DELEGATION_TOKEN, token.token_id
    by_owner = Operation.DESCRIBE_TOKENS, ResourceType.USER, str(token.owner)
    return any(may(request, *asked, log_denied=False) for asked in (by_id, by_owner))


def _response(code: ErrorCode, tokens: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {"error_code": code, "tokens": list(tokens)}


def _described(token: DelegationToken, hmac_bytes: bytes) -> dict[str, Any]:
    return {
        "principal_type": token.owner.kind,
        "principal_name": token.owner.name,
        "token_requester_principal_type": token.requester.kind,
        "token_requester_principal_name": token.requester.name,
        "issue_timestamp": token.issue_ms,
        "expiry_timestamp": token.expiry_ms,
        "max_timestamp": token.max_ms,
        "token_id": token.token_id,
        "hmac": hmac_bytes,
        "renewers": [{"principal_type": each.kind, "principal_name": each.name} for each in token.renewers],
    }
