"""An issuer of JSON web tokens for tests: its keys, its JWK set, and tokens that are right or wrong on purpose."""

from __future__ import annotations

import base64
import functools
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

NOW = 1_700_000_000
HASHES: dict[str, Any] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def encoded(value: bytes | dict[str, Any]) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8))


@functools.cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@functools.cache
def ec_key(name: str, curve: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}[curve])


def jwk(key: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    """The public key of a private key."""
    names: dict[str, Any] = {} if kid is None else {"kid": kid}
    numbers = key.public_key().public_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **names, **more}
    size = (key.curve.key_size + 7) // 8
    curve = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}[key.curve.name]
    x, y = (encoded(each.to_bytes(size)) for each in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": curve, "x": x, "y": y, **names, **more}


def signature(key: Any, algorithm: str, signed: bytes) -> bytes:
    digest = HASHES[algorithm[2:]]
    if isinstance(key, rsa.RSAPrivateKey):
        if algorithm.startswith("PS"):
            return key.sign(signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        return key.sign(signed, padding.PKCS1v15(), digest)
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
    size = (key.curve.key_size + 7) // 8
    return r.to_bytes(size) + s.to_bytes(size)


def claims(**more: Any) -> dict[str, Any]:
    """Claims that are accepted; None removes one."""
    made = {"sub": "alice", "iat": NOW - 10, "exp": NOW + 100, **more}
    return {name: value for name, value in made.items() if value is not None}


def token(key: Any, payload: dict[str, Any], algorithm: str = "RS256", kid: Any = "one", **header: Any) -> str:
    head = {"alg": algorithm, **({} if kid is None else {"kid": kid}), **header}
    signed = f"{encoded(head)}.{encoded(payload)}"
    return f"{signed}.{encoded(signature(key, algorithm, signed.encode()))}"


def unsecured(payload: Any, header: Any = None, tail: str = "") -> str:
    return f"{encoded(header or {'alg': 'none'})}.{encoded(payload)}.{tail}"


def now_claims(**more: Any) -> dict[str, Any]:
    """Claims that are accepted by the clock of this machine."""
    return claims(iat=int(time.time()) - 10, exp=int(time.time()) + 3600, **more)
