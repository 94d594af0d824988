"""The keys of a token issuer (RFC 7517), and how they are kept up to date.

Reading is for any thread and never waits. One thread of the caller calls refresh(), which may wait for the network: at the
start, then when due_in_ms() says so. There is no lock: each attribute is replaced as a whole, and a race costs one refresh.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from kafka_cy.security.sasl.json_tokens import decoded_part
from kafka_cy.security.sasl.oauthbearer import TokenRejected

KEYS_MAX: Final = 1_000  # of one issuer; further ones are ignored
KEY_ID_CHARS_MAX: Final = 1_000  # as Kafka: nobody asks for keys with longer names
ASKED_INTERVAL_MS: Final = 10_000  # tokens with unknown keys cause a refresh this often at most, whatever they name

#: JWS algorithm -> the JWK type that fits.
FAMILIES: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
}
_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_CURVE_OF_ALGORITHM: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_RSA_BITS: Final = (2048, 8192)  # RFC 7518 refuses shorter ones; longer ones take too long
_EXPONENT_BITS_MAX: Final = 33


class Jwk(NamedTuple):
    """One public key."""

    key_id: str | None
    family: str
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey

    def verifies(self, algorithm: str, signature: bytes, signed: bytes) -> bool:
        """Whether the signature is this key's. An algorithm that does not fit the key is never right."""
        digest = _HASHES[algorithm[2:]]
        try:
            if isinstance(self.key, rsa.RSAPublicKey):
                if FAMILIES[algorithm] != "RSA":
                    return False
                self.key.verify(signature, signed, _padding(algorithm, digest), digest)
                return True
            return self._verifies_ec(self.key, algorithm, signature, signed)
        except InvalidSignature:
            return False

    @staticmethod
    def _verifies_ec(
        key: ec.EllipticCurvePublicKey, algorithm: str, signature: bytes, signed: bytes
    ) -> bool:
        """The signature is r and s, both with as many bytes as the curve has."""
        size = (key.curve.key_size + 7) // 8
        if _CURVE_OF_ALGORITHM.get(algorithm) != key.curve.name or len(signature) != 2 * size:
            return False
        r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(_HASHES[algorithm[2:]]))
        return True


def _padding(algorithm: str, digest: hashes.HashAlgorithm) -> padding.PKCS1v15 | padding.PSS:
    return padding.PSS(padding.MGF1(digest), digest.digest_size) if algorithm.startswith("PS") else padding.PKCS1v15()


class KeySetError(Exception):
    """The keys cannot be read. Those of before stay in use."""


class KeySet(Protocol):
    """What the check of a token needs. Any thread; neither waits."""

    def find(self, key_id: str | None, family: str) -> list[Jwk]:
        """The keys of this type with this id, or all of the type if the token names none."""

    def ask_for(self, key_id: str) -> None:
        """A token names a key that is not known: the issuer may have a new one."""


class RefreshSettings(NamedTuple):
    """Keys `sasl.oauthbearer.jwks.endpoint.*`."""

    refresh_ms: int = 3_600_000
    retry_ms: int = 100
    retry_max_ms: int = 10_000


class RefreshedKeySet:
    """See KeySet. `read()` returns the text of the key set, may take long, and raises KeySetError."""

    def __init__(
        self,
        read: Callable[[], bytes],
        settings: RefreshSettings,
        now_ms: Callable[[], float] = lambda: time.monotonic() * 1000,
    ) -> None:
        self._read, self._settings, self._now_ms = read, settings, now_ms
        self._keys: tuple[Jwk, ...] = ()  # replaced as a whole
        self._due_ms = now_ms()
        self._asked_from_ms = now_ms()  # when a token may next cause a refresh
        self._failures = 0
        #: Called when a token has made a refresh due, by the thread that checks the token. It wakes the thread that refreshes.
        self.on_due: Callable[[], object] = lambda: None

    def find(self, key_id: str | None, family: str) -> list[Jwk]:
        """See KeySet."""
        return [key for key in self._keys if key.family == family and key_id in (None, key.key_id)]

    def ask_for(self, key_id: str) -> None:
        """See KeySet. All unknown keys together cause one refresh in ASKED_INTERVAL_MS."""
        if len(key_id) > KEY_ID_CHARS_MAX:
            return
        now = self._now_ms()
        if now < self._asked_from_ms or self._failures:  # after a failure, the retries look for it
            return
        self._asked_from_ms = now + ASKED_INTERVAL_MS
        self._due_ms = now
        self.on_due()

    def due_in_ms(self) -> float:
        """When refresh() should be called; 0 or less: now."""
        return self._due_ms - self._now_ms()

    def refresh(self) -> None:
        """Read the keys. Raises KeySetError; then the next attempt is due after a pause that grows."""
        settings = self._settings
        try:
            keys = parse_keys(self._read())
        except KeySetError:
            pause = min(settings.retry_max_ms, settings.retry_ms << min(self._failures, 20))
            self._failures += 1
            self._due_ms = self._now_ms() + max(pause, 1)
            raise
        self._keys, self._failures = keys, 0
        self._due_ms = self._now_ms() + max(settings.refresh_ms, 1)


def parse_keys(text: bytes) -> tuple[Jwk, ...]:
    """The public keys for signatures in a JWK set; keys of other types are left out. Raises KeySetError."""
    try:
        document = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise KeySetError("the key set is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise KeySetError("the key set has no list of keys")
    keys = [_jwk(entry) for entry in entries[:KEYS_MAX] if isinstance(entry, dict)]
    return tuple(key for key in keys if key is not None)


def _jwk(entry: dict[str, Any]) -> Jwk | None:
    """A key; None if it is of another type, for another use, or damaged."""
    key_id = entry.get("kid")
    if entry.get("use", "sig") != "sig" or not isinstance(key_id, (str, type(None))):
        return None
    try:
        if entry.get("kty") == "RSA":
            return Jwk(key_id, "RSA", _rsa_key(_number(entry, "n"), _number(entry, "e")))
        if entry.get("kty") == "EC" and isinstance(entry.get("crv"), str) and entry["crv"] in _CURVES:
            numbers = ec.EllipticCurvePublicNumbers(_number(entry, "x"), _number(entry, "y"), _CURVES[entry["crv"]])
            return Jwk(key_id, "EC", numbers.public_key())
    except (ValueError, TokenRejected):
        pass
    return None


def _rsa_key(modulus: int, exponent: int) -> rsa.RSAPublicKey:
    if not _RSA_BITS[0] <= modulus.bit_length() <= _RSA_BITS[1] or exponent.bit_length() > _EXPONENT_BITS_MAX:
        raise ValueError("the size of the key")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _number(entry: dict[str, Any], name: str) -> int:
    value = entry.get(name)
    if not isinstance(value, str):
        raise ValueError(name)
    return int.from_bytes(decoded_part(value.rstrip("=")))
