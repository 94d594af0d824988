"""Sets up TLS for one listener from its `ssl.*` keys (Kafka's DefaultSslEngineFactory; PEM: KIP-651)."""

import re
from typing import Any, Final

from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.config.types import ConfigError
from kafka_cy.network.tls import PROTOCOLS, TlsContext, TlsError
from kafka_cy.security.openssl_library import trust_authorities

FILE_BYTES_MAX: Final = 4 << 20
_TYPES: Final = ("JKS", "PKCS12", "PEM")
_JKS_MAGIC: Final = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
_PEM_BLOCK: Final = re.compile(rb"(-----BEGIN [A-Z0-9 ]+-----)([A-Za-z0-9+/=\s]+)(-----END [A-Z0-9 ]+-----)")


def tls_context(config: BrokerConfig, listener: str) -> TlsContext:
    """The TLS context of the listener `listener`. Raises ConfigError that names the invalid key."""
    keys = _ListenerKeys(config, listener)
    context = TlsContext()
    if keys["ssl.engine.factory.class"]:
        raise keys.error("ssl.engine.factory.class", "unset", "Java classes cannot be loaded")
    keys.apply("ssl.enabled.protocols", context.set_protocols, f"a list of: {', '.join(PROTOCOLS)}")
    if keys["ssl.cipher.suites"]:
        keys.apply("ssl.cipher.suites", context.set_cipher_suites, "names of cipher suites that OpenSSL has")
    _show_certificate(keys, context)
    if keys["ssl.client.auth"] != "none":
        _trust(keys, context)
        context.ask_clients(keys["ssl.client.auth"] == "required")
    return context


class _ListenerKeys:
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

    def apply(self, name: str, function: Any, allowed: str) -> None:
        try:
            function(self[name])
        except TlsError as error:
            raise self.error(name, allowed, str(error)) from None

    def store_type(self, name: str) -> str:
        kind = str(self[name]).upper()
        if kind not in _TYPES:
            raise self.error(name, f"one of: {', '.join(_TYPES)}", f"{self[name]} is not read")
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
    elif kind == "PEM":
        text = _pem(keys.content("ssl.truststore.location"))
        keys.apply("ssl.truststore.location", lambda _: context.trust_pem(text), "a PEM file with certificates")
    else:
        store, password = keys.content("ssl.truststore.location"), keys.password("ssl.truststore.password")
        keys.apply("ssl.truststore.location", lambda _: context.trust_pkcs12(store, password), "a PKCS12 file")


def _pem(text: bytes) -> bytes:
    """PEM with the line breaks that OpenSSL needs: a properties file may have spaces instead."""

    def block(match: re.Match[bytes]) -> bytes:
        base64 = b"".join(match[2].split())
        lines = [base64[at : at + 64] for at in range(0, len(base64), 64)]
        return b"\n".join([b"", match[1], *lines, match[3], b""])

    return _PEM_BLOCK.sub(block, text)
