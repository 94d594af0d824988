"""Listeners with TLS, and with TLS and SASL, for the brokers of a comparison; their certificate is made for it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kafka_cy.bench.brokers import BrokerError, Target
from kafka_cy.bench.process_sampler import Pids
from kafka_cy.testing.broker import free_ports

Security = Literal["PLAINTEXT", "SSL", "SASL_SSL"]
PROTOCOLS: tuple[Security, ...] = ("SSL", "SASL_SSL")
USER, PASSWORD = "bench", "bench-secret"
JAAS = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
RSA_2048 = ("-newkey", "rsa:2048")
COMMAND = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]


class Certificate:
    """A key and a certificate for 127.0.0.1 that signs itself. `key` are options of `openssl req`. Raises BrokerError."""

    def __init__(self, key: tuple[str, ...] = RSA_2048) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="kafka-cy-bench-certificate-"))
        self.trusted, self.store = self._folder / "certificate.pem", self._folder / "store.pem"
        key_file = self._folder / "key.pem"
        try:
            subprocess.run(
                [*COMMAND, *key, "-keyout", key_file, "-out", self.trusted], check=True, capture_output=True
            )
        except (OSError, subprocess.CalledProcessError):
            self.delete()
            raise BrokerError("Loads with TLS need the command openssl.") from None
        self.store.write_text(key_file.read_text() + self.trusted.read_text())

    def delete(self) -> None:
        """Delete its files."""
        shutil.rmtree(self._folder, ignore_errors=True)


class SecuredListeners:
    """Free ports for the listeners of one broker, with the configuration of broker and clients."""

    def __init__(self, certificate: Certificate) -> None:
        ports = free_ports(len(PROTOCOLS))
        self._addresses = {name: f"127.0.0.1:{port}" for name, port in zip(PROTOCOLS, ports, strict=True)}
        self._certificate = certificate

    @property
    def listeners(self) -> list[str]:
        """As in the key `listeners`."""
        return [f"{name}://{address}" for name, address in self._addresses.items()]

    def broker_config(self) -> dict[str, object]:
        """The keys of a broker that has them."""
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self._certificate.store,
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": JAAS,
        }

    def through(self, target: Target, security: Security) -> Target:
        """The broker through its listener with this security protocol."""
        if security == "PLAINTEXT":
            return target
        properties = {"security.protocol": security, "ssl.ca.location": str(self._certificate.trusted)}
        if security == "SASL_SSL":
            properties |= {"sasl.mechanism": "PLAIN", "sasl.username": USER, "sasl.password": PASSWORD}
        return SecuredTarget(target, self._addresses[security], properties)


@dataclass
class SecuredTarget:
    """A broker through another one of its listeners."""

    broker: Target
    bootstrap_servers: str
    client_properties: dict[str, str]

    def __post_init__(self) -> None:
        self.name = self.broker.name

    @property
    def pid(self) -> Pids:
        return self.broker.pid

    def alive(self) -> bool:
        return self.broker.alive()

    def stop(self) -> None:
        self.broker.stop()
