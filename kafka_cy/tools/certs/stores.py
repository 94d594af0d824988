"""The files that brokers and clients use: key stores and trust stores as PEM, PKCS#12 and JKS."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from kafka_cy.tools.certs import jks
from kafka_cy.tools.certs.authority import Key, chain_pem, key_pem
from kafka_cy.tools.certs.files import Output


def store_path(folder: Path, name: str, what: str, kind: str) -> Path:
    """`folder/name.keystore.p12`; `what` is keystore or truststore."""
    return folder / f"{name}.{what}.{kind}"


def paths(folder: Path, name: str, what: str, stores: Sequence[str]) -> list[Path]:
    """The files of `key_stores` or `trust_stores`."""
    return [store_path(folder, name, what, kind) for kind in ("pem", *stores)]


def key_stores(
    folder: Path, name: str, key: Key, chain: Sequence[x509.Certificate], stores: Sequence[str], password: str
) -> list[Output]:
    """The key and its certificates as PEM, and in each format of `stores`."""
    contents = {"pem": key_pem(key) + chain_pem(chain)}
    if "p12" in stores:
        contents["p12"] = pkcs12.serialize_key_and_certificates(
            name.encode(), key, chain[0], chain[1:], BestAvailableEncryption(password.encode())
        )
    if "jks" in stores:
        private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        certificates = [each.public_bytes(Encoding.DER) for each in chain]
        contents["jks"] = jks.key_store(name, private, certificates, password, _now_ms())
    return [Output(store_path(folder, name, "keystore", kind), content, True) for kind, content in contents.items()]


def trust_stores(
    folder: Path, name: str, trusted: Sequence[x509.Certificate], stores: Sequence[str], password: str
) -> list[Output]:
    """The certificates of authorities as PEM, and in each format of `stores`."""
    named = [("ca" if index == 0 else f"ca-{index + 1}", each) for index, each in enumerate(trusted)]
    contents = {"pem": chain_pem(trusted)}
    if "p12" in stores:
        marked = [pkcs12.PKCS12Certificate(each, alias.encode()) for alias, each in named]
        contents["p12"] = pkcs12.serialize_java_truststore(marked, BestAvailableEncryption(password.encode()))
    if "jks" in stores:
        certificates = [(alias, each.public_bytes(Encoding.DER)) for alias, each in named]
        contents["jks"] = jks.trust_store(certificates, password, _now_ms())
    return [Output(store_path(folder, name, "truststore", kind), content, False) for kind, content in contents.items()]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
