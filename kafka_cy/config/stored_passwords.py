"""Dynamic settings that are passwords: encoded in the metadata store, in clear text everywhere else.

A member of a cluster stores them as Apache Kafka in ZooKeeper mode does, so that each reads what the other has stored, and refuses
a change without `password.encoder.secret`. A broker by itself encodes them if that key is set; otherwise it stores them as Apache
Kafka in KRaft mode does, in clear text, in a file that only its user can read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from kafka_cy.config.password_encoder import (
    CIPHERS,
    ITERATIONS_MAX,
    KEY_BITS,
    KEY_FACTORIES,
    PasswordEncoder,
    PasswordNotDecoded,
    is_encoded,
)
from kafka_cy.config.types import ConfigError

if TYPE_CHECKING:
    from kafka_cy.config.broker_config import BrokerConfig

SECRET: Final = "password.encoder.secret"
OLD_SECRET: Final = "password.encoder.old.secret"
NOT_OF_ALL: Final = "Password config can be defined only at broker level"
NO_SECRET: Final = "Password encoder secret not configured"

#: Ends of the names of dynamic passwords (DynamicBrokerConfig.DynamicPasswordConfigs).
_ENDS: Final = (
    "sasl.jaas.config",
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.password",
    "ssl.truststore.certificates",
    "ssl.truststore.password",
)


class PasswordNotStored(Exception):
    """A password that cannot be encoded; the message is a sentence without it."""


def is_password(name: str) -> bool:
    """Whether a dynamic setting of a broker is a password."""
    return name.endswith(_ENDS)


class StoredPasswords:
    """Owner: the controller's thread."""

    def __init__(self, config: BrokerConfig) -> None:
        """Raises ConfigError for algorithms that do not exist here."""
        self._is_required = config.is_member
        self._encoder = _encoder(config, SECRET)
        self._old_encoder = _encoder(config, OLD_SECRET) if self._encoder is not None else None

    def decode(self, name: str, text: str) -> str:
        """The value of a stored setting: decoded if it is an encoded password. Raises PasswordNotDecoded."""
        if not is_password(name) or not is_encoded(text):
            return text
        if self._encoder is None:
            raise PasswordNotDecoded(NO_SECRET)
        try:
            return self._encoder.decode(text)
        except PasswordNotDecoded:
            if self._old_encoder is None:
                raise
            return self._old_encoder.decode(text)
        except ImportError:
            raise PasswordNotDecoded(_missing_library()) from None

    def decode_all(self, stored: Mapping[str, str]) -> dict[str, str]:
        """The stored settings of a broker in clear text; what cannot be decoded is left as it is."""
        result = {}
        for name, text in stored.items():
            try:
                result[name] = self.decode(name, text)
            except PasswordNotDecoded:
                result[name] = text
        return result

    def readable(self, stored: Mapping[str, str], warn: Callable[[str], object]) -> dict[str, str]:
        """The stored settings of a broker in clear text, without what cannot be decoded, as in Kafka; `warn` hears of it."""
        result = {}
        for name, text in stored.items():
            try:
                result[name] = self.decode(name, text)
            except PasswordNotDecoded as error:
                warn(f"Dynamic password config {name} could not be decoded, ignoring: {error}")
        return result

    def encode_all(self, settings: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
        """What is stored for the settings, of which `stored` are the stored ones. Raises PasswordNotStored.

        A password that does not change keeps its text if that is encoded with the current secret. What no secret decodes stays.
        """
        result = {}
        for name, text in settings.items():
            if is_password(name):
                before = stored.get(name)
                text = before if before is not None and self._keeps(name, before, text) else self._encode(text)
            result[name] = text
        return result

    def check_of_all(self, settings: Mapping[str, str]) -> None:
        """Check the settings of all brokers, whose secrets may differ. Raises PasswordNotStored."""
        if (self._is_required or self._encoder is not None) and any(is_password(name) for name in settings):
            raise PasswordNotStored(NOT_OF_ALL)

    def renewed(self, stored: Mapping[str, str]) -> dict[str, str] | None:
        """The stored settings encoded with the current secret; None if they are already, or if there is no secret.

        Passwords in clear text, and those encoded with `password.encoder.old.secret`, are encoded. What no secret decodes stays.
        """
        if self._encoder is None:
            return None
        result = dict(stored)
        for name, text in stored.items():
            if is_password(name) and not self._is_current(text):
                try:
                    result[name] = self._encode(self.decode(name, text))
                except (PasswordNotDecoded, PasswordNotStored):
                    continue
        return result if result != stored else None

    def _is_current(self, text: str) -> bool:
        assert self._encoder is not None
        try:
            self._encoder.decode(text)
        except (PasswordNotDecoded, ImportError):
            return False
        return True

    def _keeps(self, name: str, stored: str, text: str) -> bool:
        """Whether a stored password that shall be `text` stays as it is stored.

        One of the old secret does not: that secret may go, and the renewal at the start may have been written meanwhile.
        """
        if not is_encoded(stored):
            return False
        try:
            return self.decode(name, stored) == text and self._is_current(stored)
        except PasswordNotDecoded:
            return stored == text

    def _encode(self, text: str) -> str:
        if self._encoder is None:
            if self._is_required:
                raise PasswordNotStored(NO_SECRET)
            return text
        try:
            return self._encoder.encode(text)
        except ImportError:
            raise PasswordNotStored(_missing_library()) from None


def _encoder(config: BrokerConfig, name: str) -> PasswordEncoder | None:
    secret = config.static.get(name, "").strip()
    if not secret:
        return None
    given = {}
    for end, allowed in (("keyfactory.algorithm", (None, *KEY_FACTORIES)), ("cipher.algorithm", CIPHERS), ("key.length", KEY_BITS)):
        key = f"password.encoder.{end}"
        given[end] = config[key]
        if given[end] not in allowed:
            raise ConfigError(key, given[end], "one of: " + ", ".join(str(each) for each in allowed if each is not None))
    iterations = config["password.encoder.iterations"]
    if iterations > ITERATIONS_MAX:
        raise ConfigError("password.encoder.iterations", iterations, f"at most {ITERATIONS_MAX}")
    return PasswordEncoder(secret, given["keyfactory.algorithm"], given["cipher.algorithm"], given["key.length"], iterations)


def _missing_library() -> str:
    return "it needs the library cryptography: pip install 'kafka-cy[secrets]'"
