"""The lines that a command prints at its end: settings of brokers and clients that use its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kafka_cy.tools.certs.stores import store_path

TYPES = {"pem": "PEM", "p12": "PKCS12", "jks": "JKS"}
JKS_REMARK = "# JKS is for Apache Kafka and Java clients: the broker kafka-cy reads PEM and PKCS12."


def server_lines(folder: Path, name: str, stores: Sequence[str]) -> list[str]:
    """For server.properties."""
    lines = ["# server.properties", "listeners=SSL://:9093"]
    lines += _choices(folder, name, stores, ("keystore", "truststore"))
    lines += [JKS_REMARK] if "jks" in stores else []
    return [
        *lines,
        "# Clients need a certificate of this authority (kafka-cy certs client):",
        "ssl.client.auth=required",
    ]


def client_lines(folder: Path, name: str, stores: Sequence[str], *, with_key: bool) -> list[str]:
    """For client.properties; `with_key`: the client has a certificate."""
    what = ("keystore", "truststore") if with_key else ("truststore",)
    return [
        "# client.properties",
        "security.protocol=SSL",
        *_choices(folder, name, stores, what),
    ]


def _choices(folder: Path, name: str, stores: Sequence[str], what: Sequence[str]) -> list[str]:
    """PEM, and the other formats behind a #."""
    lines = []
    for kind in ("pem", *stores):
        if kind != "pem":
            lines.append(f"# Or as {TYPES[kind]}:")
        found = []
        for each in what:
            found += [f"ssl.{each}.type={TYPES[kind]}", f"ssl.{each}.location={store_path(folder, name, each, kind)}"]
            if kind != "pem":
                found.append(f"ssl.{each}.password=<the password>")
                found += ["ssl.key.password=<the password>"] if each == "keystore" else []
        lines += found if kind == "pem" else [f"#{line}" for line in found]
    return lines
