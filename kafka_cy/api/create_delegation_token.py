"""CreateDelegationToken (API 38, KIP-48, KIP-373): a token for the client itself, or for another owner.

Deviations: the owner is a user, because whoever logs in with a token is one (Kafka stores an owner of any type); the renewers of a
token, its size, the number of all tokens and of those of one requester have limits (POLICY_VIOLATION). In a cluster, a user who
changes tokens too often gets THROTTLING_QUOTA_EXCEEDED, and REQUEST_TIMED_OUT is the answer if ZooKeeper does not store the token
within request.timeout.ms, or while too many requests wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.authorization import may
from kafka_cy.api.durations import milliseconds
from kafka_cy.api.registry import handler
from kafka_cy.api.token_requests import NO_TIME, NOT_SET, WAITING_BYTES, log_refused, log_token, may_ask, sender_of
from kafka_cy.api.waiting_requests import WaitingRequest
from kafka_cy.authorizer.acls import ANONYMOUS, Operation, ResourceType
from kafka_cy.cluster.token_formats import USER_TYPE, DelegationToken, Principal, token_data
from kafka_cy.cluster.token_pace import TooManyChanges
from kafka_cy.cluster.token_store import TooManyTokens
from kafka_cy.cluster.token_times import new_times
from kafka_cy.cluster.znodes import id_to_text, new_id
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.create_delegation_token.v3.request import CreateDelegationTokenRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTokens

RENEWERS_MAX: Final = 64  # of one token
TOKEN_BYTES_MAX: Final = 4096  # of one token as it is stored


@handler(api_key=38)
def handle(request: Request[CreateDelegationTokenRequest], context: ChangesTokens) -> dict[str, Any] | None:
    """The token with its HMAC. An owner may be named from version 3 on."""
    requester = sender_of(request)
    name, kind = (getattr(request.body, f"owner_principal_{field}", None) for field in ("name", "type"))
    if not name:
        owner = requester
    elif kind is None:  # the answer is Kafka's
        nobody = Principal(USER_TYPE, ANONYMOUS)
        return _refused(ErrorCode.UNKNOWN_SERVER_ERROR, nobody, nobody)
    else:
        owner = Principal(kind, name)
    code = _why_refused(request, owner, requester)  # before anything is done with names, which may be long
    if code is not None:
        return _refused(code, owner, requester)
    tokens = context.tokens
    if tokens is None:
        return _refused(ErrorCode.DELEGATION_TOKEN_AUTH_DISABLED, owner, requester, NOT_SET)
    now_ms = tokens.wall_clock_ms()
    renewers = tuple(Principal(each.principal_type, each.principal_name) for each in request.body.renewers)
    expiry_ms, max_ms = new_times(now_ms, milliseconds(request.body.max_lifetime), tokens.lifetimes)
    wanted = DelegationToken(id_to_text(new_id()), owner, requester, renewers, now_ms, expiry_ms, max_ms)
    if len(token_data(wanted)) > TOKEN_BYTES_MAX:
        return _refused(ErrorCode.POLICY_VIOLATION, owner, requester)
    late = _refused(ErrorCode.REQUEST_TIMED_OUT, owner, requester, NOT_SET)
    waiting = WaitingRequest(request, context, size=WAITING_BYTES, rows=1, late=lambda: late)
    if waiting.is_refused:
        return late

    def created(token: DelegationToken | None, fault: Exception | None) -> None:
        if isinstance(fault, TooManyTokens):
            log_refused(context, fault, request)
            respond(_refused(ErrorCode.POLICY_VIOLATION, owner, requester))
        elif isinstance(fault, TooManyChanges):
            log_refused(context, fault, request)
            respond(_refused(ErrorCode.THROTTLING_QUOTA_EXCEEDED, owner, requester))
        elif fault is not None:
            waiting.close(f"the delegation token could not be stored: {fault!r}")
        else:
            log_token(context, "delegation token created", wanted, request, expiry=expiry_ms)
            respond(_response(ErrorCode.NONE, wanted, tokens.cache.hmac_of(wanted.token_id)))

    def respond(response: dict[str, Any]) -> None:
        waiting.finish(lambda: response, 1)

    tokens.create(wanted, waiting.guarded(created))
    return None


def _why_refused(
    request: Request[CreateDelegationTokenRequest], owner: Principal, requester: Principal
) -> ErrorCode | None:
    if not may_ask(request):
        return ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED
    renewers = request.body.renewers
    if len(renewers) > RENEWERS_MAX:
        return ErrorCode.POLICY_VIOLATION
    texts = (*owner, requester.name, *(each.principal_name for each in renewers))
    if sum(map(len, texts)) > TOKEN_BYTES_MAX:  # as they are stored they are longer still
        return ErrorCode.POLICY_VIOLATION
    if owner != requester and not may(request, Operation.CREATE_TOKENS, ResourceType.USER, str(owner)):
        return ErrorCode.DELEGATION_TOKEN_AUTHORIZATION_FAILED
    if owner.kind != USER_TYPE or any(each.principal_type != USER_TYPE for each in renewers):
        return ErrorCode.INVALID_PRINCIPAL_TYPE
    return None


def _refused(code: ErrorCode, owner: Principal, requester: Principal, time_ms: int = NO_TIME) -> dict[str, Any]:
    return _response(code, DelegationToken("", owner, requester, (), time_ms, time_ms, time_ms), b"")


def _response(code: ErrorCode, token: DelegationToken, hmac_bytes: bytes) -> dict[str, Any]:
    return {
        "error_code": code,
        "principal_type": token.owner.kind,
        "principal_name": token.owner.name,
        "token_requester_principal_type": token.requester.kind,
        "token_requester_principal_name": token.requester.name,
        "issue_timestamp": token.issue_ms,
        "expiry_timestamp": token.expiry_ms,
        "max_timestamp": token.max_ms,
        "token_id": token.token_id,
        "hmac": hmac_bytes,
    }
