"""Delegation tokens (KIP-48) as ZooKeeper-mode Kafka stores them: a node of JSON for each, and a notification for each change.

The HMAC, which is the token's secret, is not stored: it follows from the id and delegation.token.secret.key.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from kafka_cy.cluster import znodes
from kafka_cy.cluster.change_notifications import Kind

_ID: Final = re.compile(r"[\w-]+", re.ASCII)
TOKENS: Final = "/delegation_token/tokens"
CHANGES: Final = Kind("/delegation_token/token_changes", "token_change_")
USER_TYPE: Final = "User"  # KafkaPrincipal.USER_TYPE
_VERSION: Final = 3  # 1, 2: Kafka before 3.3, without a requester


class Principal(NamedTuple):
    """A KafkaPrincipal. Its type is User, unless a client or another broker says otherwise."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


class DelegationToken(NamedTuple):
    """TokenInformation. Times are in ms since the epoch; `max_ms` bounds every renewal."""

    token_id: str
    owner: Principal
    requester: Principal
    renewers: tuple[Principal, ...]
    issue_ms: int
    expiry_ms: int
    max_ms: int

    def is_of(self, principal: Principal) -> bool:
        """Whether this is its owner, its requester or one of its renewers, who may see it (ownerOrRenewer)."""
        return principal == self.requester or self.may_renew(principal)

    def may_renew(self, principal: Principal) -> bool:
        """Whether this is its owner or one of its renewers, who may renew and expire it. Whoever requested it may not."""
        return principal == self.owner or principal in self.renewers

    def has_expired(self, now_ms: int) -> bool:
        """Whether it is worth nothing any more. At its very last millisecond it still is."""
        return self.max_ms < now_ms or self.expiry_ms < now_ms


def token_path(token_id: str) -> str:
    """The node of a token."""
    return f"{TOKENS}/{token_id}"


def token_data(token: DelegationToken) -> bytes:
    """Content of the node. Principals are sanitized, so no name can break the JSON."""
    return znodes.to_json(
        {
            "version": _VERSION,
            "owner": _sanitized(token.owner),
            "tokenRequester": _sanitized(token.requester),
            "renewers": [_sanitized(each) for each in token.renewers],
            "issueTimestamp": token.issue_ms,
            "maxTimestamp": token.max_ms,
            "expiryTimestamp": token.expiry_ms,
            "tokenId": token.token_id,
        }
    )


def decode_token(data: bytes | None, token_id: str) -> DelegationToken:
    """The token in its node. Raises one of `znode_formats.MALFORMED`."""
    value = znodes.from_json(data)
    if not 1 <= value["version"] <= _VERSION:
        raise ValueError(f"version {value['version']}")
    if value["tokenId"] != token_id:
        raise ValueError(f"the node of another token, {value['tokenId']}")
    owner = _principal(value["owner"])
    return DelegationToken(
        token_id,
        owner,
        _principal(value["tokenRequester"]) if value["version"] >= _VERSION else owner,
        tuple(_principal(each) for each in value["renewers"]),
        int(value["issueTimestamp"]),
        int(value["expiryTimestamp"]),
        int(value["maxTimestamp"]),
    )


def changed_token(data: bytes | None) -> str:
    """The id of the token that a notification names, which is its whole content. Raises ValueError."""
    token_id = (data or b"").decode()
    if _ID.fullmatch(token_id) is None:
        raise ValueError(f"not the id of a token: {token_id!r:.80}")
    return token_id


def _sanitized(principal: Principal) -> str:
    return znodes.sanitize(str(principal))


def _principal(text: Any) -> Principal:
    kind, colon, name = znodes.desanitize(text).partition(":")
    if not colon:
        raise ValueError(f"principal {text!r}")
    return Principal(kind, name)
