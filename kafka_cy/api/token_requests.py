"""What the requests about delegation tokens share (KIP-48): who may send them, and the change of one token."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.waiting_requests import WaitingRequest
from kafka_cy.authorizer.acls import ANONYMOUS
from kafka_cy.cluster.token_formats import USER_TYPE, DelegationToken, Principal
from kafka_cy.cluster.token_pace import TooManyChanges
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTokens
    from kafka_cy.cluster.token_store import StoredTokens

NO_TIME: Final = -1  # in refusals of a broker
NOT_SET: Final = 0  # in refusals of a controller
WAITING_BYTES: Final = 20_000  # of a request that waits, with its names and a token as it was and as it is to be

Edit = Callable[[DelegationToken, int], DelegationToken | None]  # the stored token, now in ms; None: it is removed


class TokenRefused(Exception):
    """The token is not changed, for this error."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code)
        self.code = code


def sender_of(request: Request[Any]) -> Principal:
    """The client's principal."""
    return Principal(USER_TYPE, ANONYMOUS if request.user is None else request.user)


def may_ask(request: Request[Any]) -> bool:
    """Whether the client may ask about tokens at all: it has authenticated, and not with a token (allowTokenRequests).

    A user who is called ANONYMOUS, as a certificate may say, has not; Kafka's rule for SSL, here for SASL, too.
    """
    return request.user not in (None, ANONYMOUS) and not request.token_authenticated


def log_token(context: ChangesTokens, what: str, token: DelegationToken, request: Request[Any], **more: object) -> None:
    """A line of the broker's log. The HMAC is a password, and the id is not."""
    from kafka_cy.api.change_lines import ID_CHARS_MAX

    owner = str(token.owner)[:ID_CHARS_MAX]
    context.log.info(what, token=token.token_id, owner=owner, **more, **request.sender)


def log_refused(context: ChangesTokens, fault: Exception, request: Request[Any]) -> None:
    """A line for a limit of ours that was reached."""
    context.log.repeated("warning", "a delegation token was refused", {"reason": str(fault), **request.sender})


def change_expiry(
    request: Request[Any], context: ChangesTokens, hmac_bytes: bytes, edit: Edit, what: Callable[[bool], str]
) -> dict[str, Any] | None:
    """Change the token with this HMAC; the response has its new expiry, or now if it is removed.

    `edit` may raise TokenRefused. `what(removed)`: of the line in the log.
    """
    if not may_ask(request):
        return _expiry(ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, NO_TIME)
    tokens = context.tokens
    if tokens is None:
        return _expiry(ErrorCode.DELEGATION_TOKEN_AUTH_DISABLED, NOT_SET)
    token_id = tokens.cache.find(hmac_bytes)
    if token_id is None:
        return _expiry(ErrorCode.DELEGATION_TOKEN_NOT_FOUND, NOT_SET)
    late = _expiry(ErrorCode.REQUEST_TIMED_OUT, NOT_SET)
    waiting = WaitingRequest(request, context, size=WAITING_BYTES, rows=1, late=lambda: late)
    if waiting.is_refused:
        return late
    _change(request, context, waiting, tokens, token_id, edit, what)
    return None


def _change(
    request: Request[Any],
    context: ChangesTokens,
    waiting: WaitingRequest,
    tokens: StoredTokens,
    token_id: str,
    edit: Edit,
    what: Callable[[bool], str],
) -> None:
    now_ms = tokens.wall_clock_ms()
    changed: list[DelegationToken] = []  # as it was

    def edited(token: DelegationToken | None) -> DelegationToken | None:
        if token is None:  # another request removed it meanwhile
            raise TokenRefused(ErrorCode.DELEGATION_TOKEN_NOT_FOUND)
        changed[:] = [token]
        return edit(token, now_ms)

    def ended(token: DelegationToken | None, fault: Exception | None) -> None:
        if isinstance(fault, TokenRefused):
            respond(fault.code, NOT_SET)
        elif isinstance(fault, TooManyChanges):
            log_refused(context, fault, request)
            respond(ErrorCode.THROTTLING_QUOTA_EXCEEDED, NOT_SET)
        elif fault is not None:
            waiting.close(f"the delegation token could not be stored: {fault!r}")
        else:
            expiry_ms = now_ms if token is None else token.expiry_ms
            log_token(context, what(token is None), changed[0], request, expiry=expiry_ms)
            respond(ErrorCode.NONE, expiry_ms)

    def respond(code: ErrorCode, expiry_ms: int) -> None:
        waiting.finish(lambda: _expiry(code, expiry_ms), 1)

    tokens.change(token_id, edited, waiting.guarded(ended), sender_of(request).name)


def _expiry(code: ErrorCode, expiry_ms: int) -> dict[str, Any]:
    return {"error_code": code, "expiry_timestamp": expiry_ms}
