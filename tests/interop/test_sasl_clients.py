"""Real clients with SASL, in plaintext and over TLS."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from foreign_tools import run_go_test, run_kafkajs
from java_tools import JavaTools
from kafka import KafkaConsumer, KafkaProducer

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports
from tests.certificates import Authority
from tests.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

MODULES = "org.apache.kafka.common.security"
PLAIN, SHA256, SHA512, OAUTH = "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"
PASSWORD = "p,=%w"  # in SCRAM, names with , and = are escaped; passwords are not
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
        if mechanism == OAUTH:
            return {
                **settings,
                "enable.sasl.oauthbearer.unsecure.jwt": "true",
                "sasl.oauthbearer.config": "principal=ann",
            }
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
        "sasl.enabled.mechanisms": ",".join((PLAIN, SHA256, SHA512, OAUTH)),
        "offsets.topic.num.partitions": 5,
        **authority.broker_config(),
    }
    for name in ("sasl_plaintext", "sasl_ssl"):
        for mechanism, module in (
            (PLAIN, f'plain.PlainLoginModule required user_ann="{PASSWORD}"'),
            (SHA256, "scram.ScramLoginModule required"),
            (SHA512, "scram.ScramLoginModule required"),
            (OAUTH, "oauthbearer.OAuthBearerLoginModule required"),
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


both_protocols = pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])


@pytest.fixture
def group(request: pytest.FixtureRequest) -> str:
    return "".join(each if each.isalnum() else "-" for each in request.node.name)


@both_protocols
@pytest.mark.parametrize("mechanism", [PLAIN, SHA256, SHA512, OAUTH])
def test_confluent_kafka(secured: Secured, group: str, protocol: str, mechanism: str) -> None:
    settings = secured.librdkafka(protocol, mechanism)
    admin = AdminClient(settings)
    admin.poll(0)
    admin.create_topics([NewTopic(group, 1)])[group].result(60)
    producer = Producer(settings)
    values = [b"%d" % i for i in range(1000)]
    for value in values:
        producer.produce(group, value)
    assert producer.flush(60) == 0
    consumer = Consumer({**settings, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([group])
    seen: list[bytes | None] = []
    while len(seen) < len(values):
        seen += [each.value() for each in consumer.consume(len(values) - len(seen), 60) if each.error() is None]
    assert seen == values
    consumer.close()


@pytest.mark.parametrize("mechanism", [PLAIN, SHA256, SHA512])
def test_a_wrong_password(secured: Secured, mechanism: str) -> None:
    """librdkafka tries again and again; it says why."""
    told: list[KafkaError] = []
    producer = Producer({**secured.librdkafka("SASL_PLAINTEXT", mechanism, "wrong"), "error_cb": told.append})
    wait_until(
        lambda: producer.poll(0.1) or any(each.code() == KafkaError._AUTHENTICATION for each in told), "the reason"
    )
    assert "authentication failed client=127.0.0.1 mechanism=" in secured.broker.log_text()


@both_protocols
@pytest.mark.parametrize("mechanism", [PLAIN, SHA256, SHA512])
def test_kafka_python(secured: Secured, group: str, protocol: str, mechanism: str) -> None:
    where = {
        "bootstrap_servers": secured.address(protocol), "security_protocol": protocol, "sasl_mechanism": mechanism,
        "sasl_plain_username": "ann", "sasl_plain_password": PASSWORD, "ssl_cafile": str(secured.authority.trusted),
    }  # fmt: skip
    producer = KafkaProducer(**where)
    sent = [producer.send(group, b"%d" % i) for i in range(100)]
    assert [each.get(timeout=60).offset for each in sent] == list(range(100))
    producer.close()
    consumer = KafkaConsumer(group, **where, group_id=group, auto_offset_reset="earliest", consumer_timeout_ms=60_000)
    assert [record.value for _, record in zip(range(100), consumer, strict=False)] == [b"%d" % i for i in range(100)]
    consumer.close()


@pytest.mark.parametrize("mechanism", [PLAIN, SHA256, SHA512])
def test_aiokafka(secured: Secured, group: str, mechanism: str) -> None:
    where: dict[str, Any] = {
        "bootstrap_servers": secured.address("SASL_PLAINTEXT"), "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism, "sasl_plain_username": "ann", "sasl_plain_password": PASSWORD,
    }  # fmt: skip

    async def scenario() -> list[Any]:
        async with AIOKafkaProducer(**where) as producer:
            for i in range(100):
                await producer.send(group, b"%d" % i)
        async with AIOKafkaConsumer(group, **where, group_id=group, auto_offset_reset="earliest") as consumer:
            return [(await asyncio.wait_for(consumer.getone(), 60)).value for _ in range(100)]

    assert asyncio.run(scenario()) == [b"%d" % i for i in range(100)]


@pytest.mark.parametrize("mechanism", [PLAIN, SHA256, SHA512])
def test_kafkajs(secured: Secured, node: str, group: str, mechanism: str) -> None:
    sasl = f"{mechanism}:ann:{PASSWORD}"
    seen = run_kafkajs(node, secured.address("SASL_PLAINTEXT"), group, group, sasl=sasl)
    assert seen["created"] is True and len(seen["messages"]) == 23


@pytest.mark.parametrize(
    ("name", "mechanism"),
    [("FranzCodecs", PLAIN), ("FranzCodecs", SHA256), ("FranzCodecs", SHA512), ("SaramaCodecs", PLAIN)],
)
def test_go(secured: Secured, go_tests: Path, name: str, mechanism: str) -> None:
    environment = {
        "KAFKA_BOOTSTRAP": secured.address("SASL_SSL"),
        "KAFKA_CA": str(secured.authority.trusted),
        "KAFKA_SASL": f"{mechanism}:ann:{PASSWORD}",
    }
    run_go_test(go_tests, name, environment)


@pytest.mark.parametrize(
    ("protocol", "mechanism"), [("SASL_PLAINTEXT", PLAIN), ("SASL_SSL", SHA256), ("SASL_SSL", SHA512)]
)
def test_java(secured: Secured, java: JavaTools, tmp_path: Path, group: str, protocol: str, mechanism: str) -> None:
    settings, address = secured.java(tmp_path, protocol, mechanism), secured.address(protocol)
    java.check(
        "TopicCommand", "--bootstrap-server", address, "--command-config", settings, "--create", "--topic", group
    )
    where = ("--bootstrap-server", address, "--command-config", settings, "--topic", group, "--max-messages", "500")
    produced = java.check("VerifiableProducer", *where)
    assert '"acked":500' in produced.out.replace(" ", "")
    consumed = java.check("VerifiableConsumer", *where, "--group-id", group, "--reset-policy", "earliest")
    assert sum(json.loads(line)["count"] for line in consumed.lines if '"records_consumed"' in line) == 500


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
