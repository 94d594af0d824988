"""The login to ZooKeeper with DIGEST-MD5: pure-sasl's mechanism, which kazoo uses, and an end if ZooKeeper does not know SASL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from puresasl import QOP, SASLProtocolException
from puresasl.mechanisms import DigestMD5Mechanism, mechanisms

CHALLENGES_MAX: Final = 4


class _Digest(DigestMD5Mechanism):  # type: ignore[misc]
    """A ZooKeeper without SASL answers with empty tokens. pure-sasl answers these with empty ones, for ever."""

    def __init__(self, *arguments: Any, **properties: Any) -> None:
        super().__init__(*arguments, **properties)
        self._challenges = 0

    def process(self, challenge: bytes | None = None) -> bytes | None:
        """The next token. Raises SASLProtocolException, which kazoo takes as a failed login."""
        if self._challenges and not challenge:
            raise SASLProtocolException("ZooKeeper does not know SASL")
        if self._challenges > CHALLENGES_MAX:
            raise SASLProtocolException("ZooKeeper does not end the login")
        self._challenges += 1
        answer: bytes | None = super().process(challenge)
        return answer


def sasl_options(login: Mapping[str, bytes]) -> dict[str, Any]:
    """kazoo's `sasl_options`. kazoo looks for the mechanism by its name, so this one takes that name's place."""
    mechanisms[_Digest.name] = _Digest
    return {"mechanism": _Digest.name, "qops": (QOP.AUTH,), **login}
