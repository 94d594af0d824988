"""Writes Java's own key store format, JKS, which Java reads besides PKCS#12.

A file is a magic number, a version, entries, and a SHA-1 digest of the password and all before it. Private keys are XORed with a
stream of SHA-1 digests. That protects little, so only the mode of the file keeps a key secret.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from itertools import count

MAGIC, VERSION = 0xFEEDFEED, 2
KEY_ENTRY, TRUSTED_ENTRY = 1, 2
WHITENER = b"Mighty Aphrodite"
DIGEST_BYTES = 20
# The algorithm that marks a protected key, 1.3.6.1.4.1.42.2.17.1.1, with NULL as its parameters.
PROTECTED = bytes.fromhex("300e060a2b060104012a021101010500")


def key_store(alias: str, key: bytes, chain: Sequence[bytes], password: str, now_ms: int) -> bytes:
    """A store with one private key (PKCS#8 in DER) and its certificates (DER), the key's own first."""
    protected = _protected(key, password)
    entry = [struct.pack(">I", KEY_ENTRY), _text(alias), struct.pack(">QI", now_ms, len(protected)), protected]
    entry += [struct.pack(">I", len(chain)), *(_certificate(each) for each in chain)]
    return _store([b"".join(entry)], password)


def trust_store(certificates: Sequence[tuple[str, bytes]], password: str, now_ms: int) -> bytes:
    """A store with trusted certificates: (alias, DER)."""
    entries = [
        struct.pack(">I", TRUSTED_ENTRY) + _text(alias) + struct.pack(">Q", now_ms) + _certificate(der)
        for alias, der in certificates
    ]
    return _store(entries, password)


def _store(entries: Sequence[bytes], password: str) -> bytes:
    body = struct.pack(">III", MAGIC, VERSION, len(entries)) + b"".join(entries)
    return body + hashlib.sha1(_encoded(password) + WHITENER + body).digest()


def _protected(key: bytes, password: str) -> bytes:
    """EncryptedPrivateKeyInfo: the salt, the key XORed with the stream, and a digest that shows whether the password is right."""
    secret, salt = _encoded(password), os.urandom(DIGEST_BYTES)
    stream, link = bytearray(), salt
    while len(stream) < len(key):
        link = hashlib.sha1(secret + link).digest()
        stream += link
    hidden = bytes(a ^ b for a, b in zip(key, stream, strict=False))
    content = salt + hidden + hashlib.sha1(secret + key).digest()
    return _der(0x30, PROTECTED + _der(0x04, content))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = next(size.to_bytes(n, "big") for n in count(1) if size < 1 << (8 * n))
    return bytes([tag, 0x80 | len(length)]) + length + content


def _certificate(der: bytes) -> bytes:
    return _text("X.509") + struct.pack(">I", len(der)) + der


def _text(text: str) -> bytes:
    """Java's modified UTF-8, which is ASCII here. Java compares aliases in lower case."""
    encoded = text.lower().encode("ascii") if text != "X.509" else b"X.509"
    return struct.pack(">H", len(encoded)) + encoded


def _encoded(password: str) -> bytes:
    return password.encode("utf-16-be")
