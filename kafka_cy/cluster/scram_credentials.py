"""SCRAM credentials (KIP-84, KIP-554) as ZooKeeper-mode Kafka stores them: settings of the user's node, one for each mechanism.

The text of a credential is that of Kafka's ScramCredentialUtils. A user's quotas are settings of the same node.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final, NamedTuple

#: ScramMechanism: the number in requests, the name of the setting, the hash function.
MECHANISMS: Final = {1: ("SCRAM-SHA-256", "sha256"), 2: ("SCRAM-SHA-512", "sha512")}
ITERATIONS_MIN: Final = 4096
TOKEN_SALT_BYTES: Final = 24  # of the credential of a delegation token
ITERATIONS_MAX: Final = 16384


class ScramCredential(NamedTuple):
    """One stored credential of a user for one mechanism. It does not contain the password."""

    salt: bytes
    stored_key: bytes
    server_key: bytes
    iterations: int

    def __repr__(self) -> str:
        return f"ScramCredential(iterations={self.iterations})"  # the server's key lets its owner act as a broker


def new_credential(mechanism: int, salt: bytes, salted_password: bytes, iterations: int) -> ScramCredential:
    """The keys that follow from a salted password (RFC 5802). `mechanism` is a key of MECHANISMS."""
    import hashlib  # kept out of the start path
    import hmac

    hash_name = MECHANISMS[mechanism][1]
    client_key = hmac.digest(salted_password, b"Client Key", hash_name)
    server_key = hmac.digest(salted_password, b"Server Key", hash_name)
    return ScramCredential(salt, hashlib.new(hash_name, client_key).digest(), server_key, iterations)


def salted_password(mechanism: int, password: bytes, salt: bytes, iterations: int) -> bytes:
    """The salted password (Hi() of RFC 5802). It takes milliseconds: for tools and tests, because clients send it to a broker."""
    import hashlib

    return hashlib.pbkdf2_hmac(MECHANISMS[mechanism][1], password, salt, iterations)


def credential_text(credential: ScramCredential) -> str:
    """The setting of a credential."""
    salt, stored_key, server_key = (base64.b64encode(part).decode() for part in credential[:3])
    return f"salt={salt},stored_key={stored_key},server_key={server_key},iterations={credential.iterations}"


def parse_credential(text: str) -> ScramCredential:
    """The credential in a setting. Raises ValueError, which does not show it."""
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    if fields.keys() != {"salt", "stored_key", "server_key", "iterations"}:
        raise ValueError("SCRAM credential is not valid")
    try:
        salt, stored_key, server_key = (
            base64.b64decode(fields[name], validate=True) for name in ("salt", "stored_key", "server_key")
        )
        digits = fields["iterations"]
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
            raise ValueError
        return ScramCredential(salt, stored_key, server_key, int(digits))
    except ValueError:
        raise ValueError("SCRAM credential is not valid") from None


def credential_in(settings: Mapping[str, str], mechanism: str) -> ScramCredential | None:
    """A user's credential for the mechanism of this name (`SCRAM-SHA-256`), among the settings of the user's node.

    None if there is none, or if it is not Kafka's: such a user cannot log in.
    """
    try:
        return parse_credential(settings[mechanism])
    except (KeyError, ValueError):
        return None


def iterations_of(settings: Mapping[str, str]) -> dict[int, int]:
    """The iterations of each credential among a user's settings, by mechanism. Texts that are not Kafka's count as 0."""
    found = {}
    for mechanism, (name, _) in MECHANISMS.items():
        text = settings.get(name)
        if text is not None:
            digits = text.rpartition("iterations=")[2]
            found[mechanism] = int(digits) if digits.isascii() and digits.isdigit() else 0
    return found
