"""Sets up TLS for one listener from its `ssl.*` keys (Kafka's DefaultSslEngineFactory; PEM: KIP-651)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final, NamedTuple

from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.config.types import ConfigError
from kafka_cy.network.tls import PROTOCOLS, TlsContext, TlsError
from kafka_cy.security.openssl_library import trust_authorities

IDENTIFICATION: Final = "ssl.endpoint.identification.algorithm"
#: What contexts are made of, and ssl.client.auth.
TLS_KEYS: Final = (
    "ssl.cipher.suites",
    "ssl.enabled.protocols",
    IDENTIFICATION,
    "ssl.engine.factory.class",
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
)
FILE_BYTES_MAX: Final = 4 << 20
STORE_TYPES: Final = ("JKS", "PKCS12", "PEM")
_JKS_MAGIC: Final = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
_PEM_BLOCK: Final = re.compile(rb"(-----BEGIN [A-Z0-9 ]+-----)([A-Za-z0-9+/=\s]+)(-----END [A-Z0-9 ]+-----)")


def tls_contexts(config: BrokerConfig, listener: str, connects: bool) -> tuple[TlsContext, TlsContext | None]:
    """The TLS context of the listener `listener`, and that of connections to it of other brokers, if this one `connects` to them.

    Each file is read once. Raises ConfigError that names the invalid key.
    """
    keys = _ListenerKeys(config, listener)
    server = _context(keys)
    _show_certificate(keys, server)
    client_auth = _client_auth(keys)
    if client_auth != "none":
        _trust(keys, server)
        server.ask_clients(client_auth == "required")
        return server, server if connects else None
    if not connects:
        return server, None
    client = _context(keys)
    client.present_as(server)
    _trust(keys, client)
    return server, client


class TlsNeeds(NamedTuple):
    """What the contexts of a listener are made of: the values of its keys, and of each file, when it was changed."""

    values: list[Any]
    files: list[tuple[int, ...] | None]  # None: it is not there

    def differ_from(self, before: TlsNeeds, with_files: bool) -> bool:
        """Whether the contexts made of `before` are outdated. As in Kafka, a file that is gone is no change."""
        changed = [now for now, then in zip(self.files, before.files, strict=True) if now is not None and now != then]
        return self.values != before.values or (with_files and bool(changed))

    def lack_file_of(self, before: TlsNeeds) -> bool:
        """Whether a file is gone."""
        return any(now is None and then is not None for now, then in zip(self.files, before.files, strict=True))


def tls_needs(config: BrokerConfig, listener: str) -> TlsNeeds:
    """Compares in microseconds what takes some 100 ms to make."""
    keys = _ListenerKeys(config, listener)
    values = [_client_auth(keys), *(keys[name] for name in TLS_KEYS)]
    return TlsNeeds(values, [_file_state(keys[name]) for name in ("ssl.keystore.location", "ssl.truststore.location")])


def _file_state(path: str | None) -> tuple[int, ...] | None:
    if not path:
        return None
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _client_auth(keys: _ListenerKeys) -> str:
    """As in Kafka (KIP-684), a listener with SASL asks for certificates only if a key of its own says so."""
    name, value = keys.config.of_listener(keys.listener, "ssl.client.auth")
    protocols = {each.name: each.security_protocol for each in keys.config.listeners}
    if name == "ssl.client.auth" and protocols[keys.listener] == "SASL_SSL":
        return "none"
    return str(value)


def verifies_host(config: BrokerConfig, listener: str) -> bool:
    """Whether the certificate of another broker must have its name or address. Raises ConfigError."""
    keys = _ListenerKeys(config, listener)
    algorithm = (keys[IDENTIFICATION] or "").strip().lower()
    if algorithm not in ("", "https"):
        raise keys.error(IDENTIFICATION, "https, or empty for no check", f"{algorithm} is not known")
    return bool(algorithm)


def _context(keys: _ListenerKeys) -> TlsContext:
    """With the listener's rules; it has no certificate and trusts nobody yet."""
    context = TlsContext()
    if keys["ssl.engine.factory.class"]:
        raise keys.error("ssl.engine.factory.class", "unset", "Java classes cannot be loaded")
    keys.apply("ssl.enabled.protocols", context.set_protocols, f"a list of: {', '.join(PROTOCOLS)}")
    if keys["ssl.cipher.suites"]:
        keys.apply("ssl.cipher.suites", context.set_cipher_suites, "names of cipher suites that OpenSSL has")
    return context


class KeysOfTls(ABC):
    """Configuration keys of TLS by their names `ssl.x`."""

    @abstractmethod
    def __getitem__(self, name: str) -> Any:
        """The typed value."""

    @abstractmethod
    def error(self, name: str, allowed: str, reason: str) -> ConfigError:
        """What is wrong with the value."""

    def apply(self, name: str, function: Any, allowed: str) -> None:
        try:
            function(self[name])
        except TlsError as error:
            raise self.error(name, allowed, str(error)) from None

    def store_type(self, name: str) -> str:
        kind = str(self[name]).upper()
        if kind not in STORE_TYPES:
            raise self.error(name, f"one of: {', '.join(STORE_TYPES)}", f"{self[name]} is not read")
        return kind

    def password(self, name: str) -> bytes:
        return (self[name] or "").encode()

    def content(self, name: str) -> bytes:
        """The content of the file that the key names."""
        try:
            with open(self[name], "rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise self.error(name, "a file that can be read", error.strerror or str(error)) from None
        if len(content) > FILE_BYTES_MAX:
            raise self.error(name, f"a file of at most {FILE_BYTES_MAX} bytes", "it is larger")
        if content[:4] in _JKS_MAGIC:
            reason = "this is Java's old JKS format; convert it: keytool -importkeystore -deststoretype PKCS12"
            raise self.error(name, "a PKCS12 file (even if its name ends in .jks), or PEM", reason)
        return content

    def pem(self, name: str) -> bytes:
        """The same, for a PEM file."""
        return _pem(self.content(name))

    def trust_file(self, context: TlsContext) -> None:
        """Trust the certificates in the file ssl.truststore.location."""
        name = "ssl.truststore.location"
        if self.store_type("ssl.truststore.type") == "PEM":
            text = self.pem(name)
            self.apply(name, lambda _: context.trust_pem(text), "a PEM file with certificates")
        else:
            store, password = self.content(name), self.password("ssl.truststore.password")
            self.apply(name, lambda _: context.trust_pkcs12(store, password), "a PKCS12 file")


class _ListenerKeys(KeysOfTls):
    """Configuration of a listener: its own keys take precedence (`listener.name.<listener>.ssl...`)."""

    def __init__(self, config: BrokerConfig, listener: str) -> None:
        self.config = config
        self.listener = listener

    def __getitem__(self, name: str) -> Any:
        return self.config.of_listener(self.listener, name)[1]

    def error(self, name: str, allowed: str, reason: str) -> ConfigError:
        key, value = self.config.of_listener(self.listener, name)
        secret = name.endswith((".password", ".key", ".chain", ".certificates"))
        return ConfigError(key, "[hidden]" if secret and value else value, allowed, f"{self.listener}: {reason}")


def _show_certificate(keys: _ListenerKeys, context: TlsContext) -> None:
    kind = keys.store_type("ssl.keystore.type")
    location, key, chain = (keys[f"ssl.keystore.{name}"] for name in ("location", "key", "certificate.chain"))
    if kind != "PEM":
        if not location:
            raise keys.error("ssl.keystore.location", "a file with the broker's key and certificates", "it is not set")
        if not keys["ssl.keystore.password"]:
            reason = "SSL key store is specified, but key store password is not specified."
            raise keys.error("ssl.keystore.password", "the password of the key store", reason)
        store, password = keys.content("ssl.keystore.location"), keys.password("ssl.keystore.password")
        keys.apply("ssl.keystore.location", lambda _: context.use_pkcs12(store, password), "a PKCS12 file")
        return
    if keys["ssl.keystore.password"]:
        reason = "SSL key store password cannot be specified with PEM format, only key password may be specified."
        raise keys.error("ssl.keystore.password", "unset", reason)
    if location and key:
        reason = "Both SSL key store location and separate private key are specified."
        raise keys.error("ssl.keystore.key", "unset, or ssl.keystore.location unset", reason)
    if key and not chain:
        reason = "SSL private key is specified, but certificate chain is not specified."
        raise keys.error("ssl.keystore.certificate.chain", "certificates as PEM text", reason)
    if not location and not key:
        raise keys.error("ssl.keystore.key", "a key as PEM text, or ssl.keystore.location", "it is not set")
    name = "ssl.keystore.location" if location else "ssl.keystore.key"
    content = _pem(keys.content(name) if location else key.encode())
    certificates = content if location else _pem(chain.encode())
    password = keys.password("ssl.key.password")
    keys.apply(name, lambda _: context.use_pem(content, certificates, password), "a private key and its certificates")


def _trust(keys: _ListenerKeys, context: TlsContext) -> None:
    kind = keys.store_type("ssl.truststore.type")
    location, certificates = keys["ssl.truststore.location"], keys["ssl.truststore.certificates"]
    if kind == "PEM":
        if keys["ssl.truststore.password"]:
            reason = "SSL trust store password cannot be specified for PEM format."
            raise keys.error("ssl.truststore.password", "unset", reason)
        if location and certificates:
            reason = "Both SSL trust store location and separate trust certificates are specified."
            raise keys.error("ssl.truststore.certificates", "unset, or ssl.truststore.location unset", reason)
    if certificates and kind == "PEM":
        text = _pem(certificates.encode())
        keys.apply("ssl.truststore.certificates", lambda _: context.trust_pem(text), "certificates as PEM text")
    elif not location:
        trust_authorities(context)  # as Java falls back to its own list
    else:
        keys.trust_file(context)


def _pem(text: bytes) -> bytes:
    """PEM with the line breaks that OpenSSL needs: a properties file may have spaces instead."""

    def block(match: re.Match[bytes]) -> bytes:
        base64 = b"".join(match[2].split())
        lines = [base64[at : at + 64] for at in range(0, len(base64), 64)]
        return b"\n".join([b"", match[1], *lines, match[3], b""])

    return _PEM_BLOCK.sub(block, text)
