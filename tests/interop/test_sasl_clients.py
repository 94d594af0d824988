"""Real clients with SASL: what is not a cell of test_client_matrix.py."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from client_matrix import MODULES, PASSWORD, PLAIN, SHA256, SHA512
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports
from tests.certificates import Authority
from tests.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

SCRAM = {SHA256: ScramMechanism.SCRAM_SHA_256, SHA512: ScramMechanism.SCRAM_SHA_512}


@dataclass(frozen=True)
class Secured:
    """A broker with listeners SASL_PLAINTEXT, SASL_SSL and, for the test itself, PLAINTEXT."""

    broker: Broker
    authority: Authority
    ports: Mapping[str, int]

    def address(self, protocol: str) -> str:
        return f"localhost:{self.ports[protocol]}"

    def librdkafka(self, protocol: str, mechanism: str, password: str = PASSWORD) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "bootstrap.servers": self.address(protocol), "security.protocol": protocol, "sasl.mechanism": mechanism,
            "log_level": 0, "ssl.ca.location": str(self.authority.trusted),
        }  # fmt: skip
        return {**settings, "sasl.username": "ann", "sasl.password": password}

    def java(self, folder: Path, protocol: str, mechanism: str) -> Path:
        module = "plain.PlainLoginModule" if mechanism == PLAIN else "scram.ScramLoginModule"
        path = folder / f"{protocol}-{mechanism}.properties"
        path.write_text(
            f"security.protocol={protocol}\nsasl.mechanism={mechanism}\n"
            f'sasl.jaas.config={MODULES}.{module} required username="ann" password="{PASSWORD}";\n'
            f"ssl.truststore.type=PEM\nssl.truststore.location={self.authority.trusted}\n"
        )
        return path


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    ports = dict(zip(("PLAINTEXT", "SASL_PLAINTEXT", "SASL_SSL"), free_ports(3), strict=True))
    config: dict[str, object] = {
        "listeners": ",".join(f"{name}://localhost:{port}" for name, port in ports.items()),
        "sasl.enabled.mechanisms": ",".join((PLAIN, SHA256, SHA512)),
        "offsets.topic.num.partitions": 5,
        **authority.broker_config(),
    }
    for name in ("sasl_plaintext", "sasl_ssl"):
        for mechanism, module in (
            (PLAIN, f'plain.PlainLoginModule required user_ann="{PASSWORD}"'),
            (SHA256, "scram.ScramLoginModule required"),
            (SHA512, "scram.ScramLoginModule required"),
        ):
            config[f"listener.name.{name}.{mechanism.lower()}.sasl.jaas.config"] = f"{MODULES}.{module};"
    broker = Broker(config, folder=tmp_path_factory.mktemp("secured"))
    broker.host, broker.port = "localhost", ports["PLAINTEXT"]
    with broker:
        admin = AdminClient({"bootstrap.servers": f"localhost:{ports['PLAINTEXT']}"})
        for mechanism in SCRAM.values():
            change = UserScramCredentialUpsertion("ann", ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
            admin.alter_user_scram_credentials([change])["ann"].result(60)
        yield Secured(broker, authority, ports)


def test_the_certificate_is_changed_while_the_broker_runs(secured: Secured) -> None:
    """KIP-226, on a listener with SASL: a new path, then the same path with other content."""
    admin = AdminClient({"bootstrap.servers": secured.broker.bootstrap_servers})
    path = secured.authority.issue("localhost", "127.0.0.1")
    name = "listener.name.sasl_ssl.ssl.keystore.location"
    entry = ConfigEntry(name, str(path), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])

    def serial() -> str:
        context = ssl.create_default_context(cafile=secured.authority.trusted)
        plain = socket.create_connection(("localhost", secured.ports["SASL_SSL"]), timeout=60)
        with context.wrap_socket(plain, server_hostname="localhost") as tls:
            certificate = tls.getpeercert()
        assert certificate
        return str(certificate["serialNumber"])

    serials = [serial()]
    for _ in range(2):
        admin.incremental_alter_configs([resource])[resource].result(60)
        serials.append(serial())
        path.write_bytes(secured.authority.issue("localhost", "127.0.0.1").read_bytes())
    assert len(set(serials)) == 3
    clients = AdminClient(secured.librdkafka("SASL_SSL", SHA512))
    clients.poll(0)
    assert clients.list_topics(timeout=60).brokers


@pytest.fixture
def group(request: pytest.FixtureRequest) -> str:
    return "".join(each if each.isalnum() else "-" for each in request.node.name)


@pytest.mark.parametrize("mechanism", [PLAIN, SHA256, SHA512])
def test_a_wrong_password(secured: Secured, mechanism: str) -> None:
    """librdkafka tries again and again; it says why."""
    told: list[KafkaError] = []
    producer = Producer({**secured.librdkafka("SASL_PLAINTEXT", mechanism, "wrong"), "error_cb": told.append})
    wait_until(
        lambda: producer.poll(0.1) or any(each.code() == KafkaError._AUTHENTICATION for each in told), "the reason"
    )
    assert "authentication failed client=127.0.0.1 mechanism=" in secured.broker.log_text()


@pytest.mark.parametrize(
    ("protocol", "mechanism"), [("SASL_PLAINTEXT", PLAIN), ("SASL_SSL", SHA256), ("SASL_PLAINTEXT", SHA512)]
)
def test_our_own_tools(secured: Secured, tmp_path: Path, group: str, protocol: str, mechanism: str) -> None:
    """They read the file that Kafka's tools read; log-dirs uses a client of its own, the others librdkafka."""
    settings = secured.java(tmp_path, protocol, mechanism)
    where = ["--bootstrap-server", secured.address(protocol), "--command-config", str(settings)]

    def run(*arguments: str, stdin: str = "", code: int = 0) -> str:
        command = [sys.executable, "-m", "kafka_cy", *arguments, *where]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    run("topics", "create", group)
    run("produce", "--topic", group, stdin="a\nb\n")
    assert "a\nb\n" in run("consume", "--topic", group, "--from-beginning", "--max-messages", "2")
    assert group in run("log-dirs", "--partitions")
    settings.write_text(settings.read_text().replace(PASSWORD, "wrong"))
    told = run("log-dirs", code=1)
    assert "refuses the c" in told and "wrong" not in told
