"""Passwords as Kafka in ZooKeeper mode stores them (EncryptingPasswordEncoder): `name:value` pairs, separated by commas.

A key for AES is derived with PBKDF2 from `password.encoder.secret` and a salt, which is stored beside the encrypted password, like
everything else that decoding needs. Each encoder uses one salt, so that it derives its key once; each password has its own
initialization vector.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any, Final, NamedTuple

#: Names of Java's key factories, and the hashes of their PBKDF2.
KEY_FACTORIES: Final = {
    "PBKDF2WithHmacSHA512": "sha512",
    "PBKDF2WithHmacSHA384": "sha384",
    "PBKDF2WithHmacSHA256": "sha256",
    "PBKDF2WithHmacSHA224": "sha224",
    "PBKDF2WithHmacSHA1": "sha1",
}
CBC: Final = "AES/CBC/PKCS5Padding"
GCM: Final = "AES/GCM/NoPadding"
CIPHERS: Final = (CBC, GCM)
KEY_BITS: Final = (128, 192, 256)
ITERATIONS_MAX: Final = 100_000  # about 100 ms; a stored text with more would keep the thread busy

_SALT_BYTES: Final = 256
_VECTOR_BYTES: Final = {CBC: 16, GCM: 12}
_TAG_BYTES: Final = 16
_KEYS_MAX: Final = 128  # derived keys that an encoder keeps
_FIELDS: Final = (
    "keyFactoryAlgorithm", "cipherAlgorithm", "keyLength", "salt", "iterations", "encryptedPassword", "passwordLength",
)  # fmt: skip


class PasswordNotDecoded(Exception):
    """A stored password that this secret does not decode; the message has no part of it."""


class _Key(NamedTuple):
    """What a key is derived from, besides the secret."""

    factory: str
    salt: bytes
    iterations: int
    bits: int


class PasswordEncoder:
    """Encodes and decodes with one secret. Owner: the controller's thread. Limit: _KEYS_MAX derived keys.

    ImportError: the library `cryptography` is missing.
    """

    def __init__(self, secret: str, factory: str | None, cipher: str, key_bits: int, iterations: int) -> None:
        self._secret = secret.encode()
        self._cipher = cipher
        self._own = _Key(factory or "PBKDF2WithHmacSHA512", os.urandom(_SALT_BYTES), iterations, key_bits)
        self._derived: dict[_Key, bytes] = {}

    def encode(self, password: str) -> str:
        """The text to store."""
        key, vector = self._own, os.urandom(_VECTOR_BYTES[self._cipher])
        fields = {
            "initializationVector": _to_text(vector),
            "keyLength": str(key.bits),
            "salt": _to_text(key.salt),
            "keyFactoryAlgorithm": key.factory,
            "cipherAlgorithm": self._cipher,
            "iterations": str(key.iterations),
            "passwordLength": str(_java_length(password)),
            "encryptedPassword": _to_text(_encrypted(self._cipher, self._derive(key), vector, password.encode())),
        }
        if self._cipher == GCM:
            fields["authenticationTagSize"] = str(_TAG_BYTES * 8)
        return ",".join(f"{name}:{value}" for name, value in fields.items())

    def decode(self, text: str) -> str:
        """The password in a stored text. Raises PasswordNotDecoded."""
        fields = _fields(text)
        try:
            key = _Key(
                fields["keyFactoryAlgorithm"], _from_text(fields["salt"]), int(fields["iterations"]), int(fields["keyLength"])
            )
            cipher, length = fields["cipherAlgorithm"], int(fields["passwordLength"])
            vector, encrypted = _from_text(fields["initializationVector"]), _from_text(fields["encryptedPassword"])
        except (KeyError, ValueError):
            raise PasswordNotDecoded("it is malformed") from None
        if key.factory not in KEY_FACTORIES or cipher not in CIPHERS or key.bits not in KEY_BITS:
            raise PasswordNotDecoded("it has an algorithm that does not exist here")
        if not 0 < key.iterations <= ITERATIONS_MAX:
            raise PasswordNotDecoded(f"it has more than {ITERATIONS_MAX} iterations")
        try:
            password = _decrypted(cipher, self._derive(key), vector, encrypted).decode()
        except ValueError:  # padding, or no UTF-8
            raise PasswordNotDecoded("password.encoder.secret is not the one that it was encoded with") from None
        if _java_length(password) != length:
            raise PasswordNotDecoded("Password could not be decoded, sanity check of length failed")
        return password

    def _derive(self, key: _Key) -> bytes:
        derived = self._derived.get(key)
        if derived is None:
            if len(self._derived) == _KEYS_MAX:
                self._derived.clear()
            hash_name = KEY_FACTORIES[key.factory]
            derived = hashlib.pbkdf2_hmac(hash_name, self._secret, key.salt, key.iterations, key.bits // 8)
            self._derived[key] = derived
        return derived


def is_encoded(text: str) -> bool:
    """Whether a stored text has the fields of an encoded password."""
    return text.count(",") < 16 and all(f"{name}:" in text for name in _FIELDS)


def _fields(text: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in text.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _encrypted(cipher: str, key: bytes, vector: bytes, data: bytes) -> bytes:
    if cipher == GCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(key).encrypt(vector, data, None)
    padding = 16 - len(data) % 16
    encryptor = _cbc(key, vector).encryptor()
    return bytes(encryptor.update(data + bytes([padding]) * padding) + encryptor.finalize())


def _decrypted(cipher: str, key: bytes, vector: bytes, data: bytes) -> bytes:
    """Raises ValueError if the key is another one."""
    if cipher == GCM:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(key).decrypt(vector, data, None)
        except InvalidTag:
            raise ValueError("the tag is wrong") from None
    decryptor = _cbc(key, vector).decryptor()
    padded = bytes(decryptor.update(data) + decryptor.finalize())
    count = padded[-1] if padded else 0
    if not 1 <= count <= 16 or padded[-count:] != bytes([count]) * count:
        raise ValueError("the padding is wrong")
    return padded[:-count]


def _cbc(key: bytes, vector: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher(algorithms.AES(key), modes.CBC(vector))


def _java_length(text: str) -> int:
    """Java counts UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2


def _to_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_text(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
