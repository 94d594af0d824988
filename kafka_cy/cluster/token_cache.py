"""The delegation tokens that a broker knows (Kafka's DelegationTokenCache): by id for logins, by HMAC for requests."""

from __future__ import annotations

import base64
import hmac
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from kafka_cy.cluster.scram_credentials import (
    ITERATIONS_MIN,
    MECHANISMS,
    TOKEN_SALT_BYTES,
    ScramCredential,
    new_credential,
    salted_password,
)
from kafka_cy.cluster.token_formats import USER_TYPE, DelegationToken, Principal

_NUMBERS: Final = {name: number for number, (name, _) in MECHANISMS.items()}


class _Known:
    """A token; its credentials are made when the first client logs in with it."""

    __slots__ = ("credentials", "hmac", "token")

    def __init__(self, token: DelegationToken, secret: bytes) -> None:
        self.token = token
        self.hmac = hmac.digest(secret, token.token_id.encode(), "sha512")
        self.credentials: dict[str, ScramCredential] = {}  # by mechanism; any thread adds them, once made they stay

    def make_credential(self, mechanism: str) -> None:
        """Unless it is there."""
        if mechanism not in self.credentials:
            self.credentials.setdefault(mechanism, _credential(_NUMBERS[mechanism], self.hmac))

    def __repr__(self) -> str:
        return f"_Known({self.token.token_id})"  # the HMAC is a password


class TokenLogin(NamedTuple):
    """What a client has to prove that logs in with a token, the name of its owner, and when it expires (ms since the epoch)."""

    credential: ScramCredential
    owner: str
    expiry_ms: int


class TokenCache:
    """Owner: the controller's thread, which changes it; any thread reads, and `login` is the authentication loop's.

    Limit: what is stored, which StoredTokens bounds. A token takes about 1 KiB, and as much again when clients log in with it.
    """

    def __init__(self, secret_key: str, wall_clock_ms: Callable[[], int]) -> None:
        """`secret_key`: delegation.token.secret.key."""
        self._secret, self._wall_clock_ms = secret_key.encode(), wall_clock_ms
        self._known: dict[str, _Known] = {}  # by id
        self._ids: dict[bytes, str] = {}  # by HMAC
        self._requested: Counter[Principal] = Counter()  # tokens, by requester

    def __len__(self) -> int:
        return len(self._known)

    # -- changes: the controller's thread --

    def put(self, token: DelegationToken) -> None:
        """The token exists, with these times."""
        known = self._known.get(token.token_id)
        if known is not None:
            if known.token.requester != token.requester:  # somebody has edited the node
                self._count(known.token.requester, -1)
                self._count(token.requester, 1)
            known.token = token
            return
        self._count(token.requester, 1)
        known = self._known[token.token_id] = _Known(token, self._secret)
        self._ids[known.hmac] = token.token_id

    def remove(self, token_id: str) -> None:
        """The token does not exist any more, if it did: nobody logs in with it from now on."""
        known = self._known.pop(token_id, None)
        if known is not None:
            self._ids.pop(known.hmac, None)
            self._count(known.token.requester, -1)

    def _count(self, requester: Principal, change: int) -> None:
        self._requested[requester] += change
        if not self._requested[requester]:
            del self._requested[requester]

    def count_of(self, requester: Principal) -> int:
        """How many tokens it has requested. The controller's thread asks."""
        return self._requested[requester]

    # -- questions: any thread --

    def ids(self) -> list[str]:
        """The ids of all tokens."""
        return list(self._known)

    def find(self, hmac_bytes: bytes) -> str | None:
        """The id of the token with this HMAC."""
        return self._ids.get(hmac_bytes)

    def hmac_of(self, token_id: str) -> bytes:
        """The HMAC of a token, whether it exists or not."""
        return hmac.digest(self._secret, token_id.encode(), "sha512")

    def all(self) -> list[tuple[DelegationToken, bytes]]:
        """All tokens with their HMACs."""
        return [(known.token, known.hmac) for known in list(self._known.values())]

    # -- logins: the authentication loop --

    def login(self, token_id: str, mechanism: str) -> TokenLogin | None:
        """None: there is no such token, it has expired, or its owner is no user. If `work_before_login` was not run, it is now."""
        known = self._usable(token_id)
        if known is None:
            return None
        known.make_credential(mechanism)
        token = known.token
        return TokenLogin(known.credentials[mechanism], token.owner.name, token.expiry_ms)

    def work_before_login(self, token_id: str, mechanism: str) -> Callable[[], object] | None:
        """What any thread has to run before the first login with a token: it hashes for some milliseconds. None: nothing."""
        known = self._usable(token_id)
        return None if known is None or mechanism in known.credentials else partial(known.make_credential, mechanism)

    def _usable(self, token_id: str) -> _Known | None:
        known = self._known.get(token_id)
        if known is None or known.token.owner.kind != USER_TYPE or known.token.has_expired(self._wall_clock_ms()):
            return None
        return known


def _credential(mechanism: int, hmac_bytes: bytes) -> ScramCredential:
    """The password of a token is its HMAC in base64; salt and iterations are those of Kafka's ScramFormatter."""
    salt = os.urandom(TOKEN_SALT_BYTES)
    salted = salted_password(mechanism, base64.b64encode(hmac_bytes), salt, ITERATIONS_MIN)
    return new_credential(mechanism, salt, salted, ITERATIONS_MIN)
