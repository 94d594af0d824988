"""TLS to ZooKeeper, from the `zookeeper.ssl.*` keys, which Kafka passes on to ZooKeeper's client."""

from __future__ import annotations

from typing import Any, Final

from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.config.types import ConfigError
from kafka_cy.network.tls import PROTOCOLS, TlsContext
from kafka_cy.network.tls_client import TlsClient
from kafka_cy.security.listener_tls import STORE_TYPES, KeysOfTls
from kafka_cy.security.openssl_library import trust_authorities

_TYPE_OF_SUFFIX: Final = {"jks": "JKS", "p12": "PKCS12", "pem": "PEM"}


class _Keys(KeysOfTls):
    """`ssl.x` is `zookeeper.ssl.x`."""

    def __init__(self, config: BrokerConfig) -> None:
        self.config = config

    def __getitem__(self, name: str) -> Any:
        return self.config[f"zookeeper.{name}"]

    def error(self, name: str, allowed: str, reason: str) -> ConfigError:
        value = self[name]
        return ConfigError(f"zookeeper.{name}", "[hidden]" if name.endswith(".password") and value else value, allowed, reason)

    def store_type(self, name: str) -> str:
        """As ZooKeeper's client, by the file's name if it is not set."""
        location = name.removesuffix("type") + "location"
        if self[name]:
            return super().store_type(name)
        kind = _TYPE_OF_SUFFIX.get(str(self[location]).rpartition(".")[2].lower())
        if kind is None:
            raise self.error(name, f"one of: {', '.join(STORE_TYPES)}", f"the name of {self[location]} does not tell its format")
        return kind


def zookeeper_client(config: BrokerConfig) -> TlsClient:
    """What connections to ZooKeeper are made with. Raises ConfigError that names the invalid key."""
    keys = _Keys(config)
    context = TlsContext()
    if keys["ssl.enabled.protocols"]:
        keys.apply("ssl.enabled.protocols", context.set_protocols, f"a list of: {', '.join(PROTOCOLS)}")
    if keys["ssl.cipher.suites"]:
        keys.apply("ssl.cipher.suites", context.set_cipher_suites, "names of cipher suites that OpenSSL has")
    if keys["ssl.keystore.location"]:
        name, password = "ssl.keystore.location", keys.password("ssl.keystore.password")
        if keys.store_type("ssl.keystore.type") == "PEM":
            text = keys.pem(name)
            keys.apply(name, lambda _: context.use_pem(text, text, password), "a private key and its certificates")
        else:
            store = keys.content(name)
            keys.apply(name, lambda _: context.use_pkcs12(store, password), "a PKCS12 file")
    if not keys["ssl.truststore.location"]:
        trust_authorities(context)
    else:
        keys.trust_file(context)
    return TlsClient(context, str(keys["ssl.endpoint.identification.algorithm"]).upper() == "HTTPS")
