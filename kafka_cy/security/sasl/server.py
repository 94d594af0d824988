"""The interface of a SASL mechanism: one object for each authentication, which takes the client's tokens one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol


class Success(NamedTuple):
    """Who the client is.

    `expires_ms`: when the credential ends, in ms since the epoch; None: never. It may lie in the past by the clock difference
    that is allowed. `is_token`: the client has authenticated with a delegation token, whose owner `name` is.
    """

    name: str
    expires_ms: int | None = None
    is_token: bool = False


class Step(NamedTuple):
    """What follows from a token: what the client gets, with error 0, and the end of the authentication if it has succeeded.

    `is_silent`: clients that send bare tokens get no answer to this one (Java's SaslServer returns null, not an empty array).
    """

    challenge: bytes
    success: Success | None = None
    is_silent: bool = False


class SaslFailed(Exception):
    """The authentication has failed, and the client gets this message. No further token may be tried.

    `reason` is for the broker's log; it says nothing that is secret. It is empty when the message says it all.
    `may_try_again`: the client is disconnected without an answer, which it takes for a failure of the network.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.may_try_again = False


class NotReady(Exception):
    """The step needs `work`, which takes longer than a millisecond: run it on another thread, and repeat the step after it."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__()
        self.work = work


class SaslServer(Protocol):
    """One authentication with one mechanism."""

    def step(self, token: bytes) -> Step:
        """Take a token from the client, in at most about a millisecond. Raises SaslFailed, and does so again afterwards.

        Raises NotReady if it is not taken yet.
        """


def invalid_credentials(mechanism: str, reason: str = "") -> SaslFailed:
    """The failure whose message tells nothing, as Kafka's for most reasons."""
    message = f"Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism}"
    return SaslFailed(message, reason)
