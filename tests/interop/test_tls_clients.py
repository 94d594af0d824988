"""Real clients over TLS: with the broker's certificate only, and with client certificates (mutual TLS)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from foreign_tools import require, run_go_test, run_kafkajs
from java_tools import JavaTools
from kafka import KafkaConsumer, KafkaProducer

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports
from tests.certificates import PASSWORD, Authority
from tests.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Secure:
    """A broker with a listener of each kind: SSL, MUTUAL (clients have a certificate), PLAINTEXT."""

    broker: Broker
    authority: Authority
    certificate: Path  # a client's
    ports: Mapping[str, int]

    def address(self, mutual: bool) -> str:
        return f"localhost:{self.ports['MUTUAL' if mutual else 'SSL']}"

    def librdkafka(self, mutual: bool) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "bootstrap.servers": self.address(mutual),
            "security.protocol": "ssl",
            "log_level": 0,  # refused clients log a lot
            "ssl.ca.location": str(self.authority.trusted),
        }
        own = str(self.certificate)
        return {**settings, "ssl.certificate.location": own, "ssl.key.location": own} if mutual else settings

    def context(self, mutual: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority.trusted)
        if mutual:
            context.load_cert_chain(self.certificate)
        return context


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    metrics_port, *listening = free_ports(4)
    ports = dict(zip(("PLAINTEXT", "SSL", "MUTUAL"), listening, strict=True))
    config: dict[str, object] = {
        "listeners": ",".join(f"{name}://localhost:{port}" for name, port in ports.items()),
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SSL:SSL,MUTUAL:SSL",
        "offsets.topic.num.partitions": 5,
        "num.network.threads": 3,
        **authority.broker_config(),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": authority.trusted,
        "listener.name.mutual.ssl.client.auth": "required",
    }
    broker = Broker(config, folder=tmp_path_factory.mktemp("secure"))
    broker.port, broker.metrics_port = ports["PLAINTEXT"], metrics_port
    with broker:
        yield Secure(broker, authority, authority.issue("client.example.org"), ports)


both_ways = pytest.mark.parametrize("mutual", [False, True], ids=["TLS", "mutual TLS"])


@both_ways
def test_confluent_kafka(secure: Secure, group: str, mutual: bool) -> None:
    settings = secure.librdkafka(mutual)
    admin = AdminClient(settings)
    topic = f"confluent-{group}"
    admin.create_topics([NewTopic(topic, num_partitions=3)])[topic].result(60)
    metadata = admin.list_topics(timeout=60)
    assert [(b.host, b.port) for b in metadata.brokers.values()] == [
        ("localhost", int(settings["bootstrap.servers"][10:]))
    ]
    producer = Producer({**settings, "linger.ms": 5, "message.max.bytes": 4_000_000})
    values = [
        os.urandom(900_000),
        *(b"%d" % i for i in range(5000)),
    ]  # one record over many TLS records, and many in one
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error) if error else None)
    errors: list[object] = []
    assert producer.flush(60) == 0 and errors == []
    consumer = Consumer({**settings, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    seen: list[bytes | None] = []
    while len(seen) < len(values):
        for message in consumer.consume(min(1000, len(values) - len(seen)), 60):
            assert message.error() is None
            seen.append(message.value())
    assert sorted(seen) == sorted(values)  # type: ignore[type-var]
    consumer.close()


@both_ways
def test_kafka_python(secure: Secure, group: str, mutual: bool) -> None:
    where = {"bootstrap_servers": secure.address(mutual), "security_protocol": "SSL"}
    where["ssl_cafile"] = str(secure.authority.trusted)
    if mutual:
        where["ssl_certfile"] = where["ssl_keyfile"] = str(secure.certificate)
    producer = KafkaProducer(**where)
    topic = f"python-{group}"
    sent = [producer.send(topic, b"%d" % i) for i in range(500)]
    assert [each.get(timeout=60).offset for each in sent] == list(range(500))
    producer.close()
    consumer = KafkaConsumer(topic, **where, group_id=group, auto_offset_reset="earliest", consumer_timeout_ms=60_000)
    assert [record.value for _, record in zip(range(500), consumer, strict=False)] == [b"%d" % i for i in range(500)]
    consumer.close()


@both_ways
def test_aiokafka(secure: Secure, group: str, mutual: bool) -> None:
    where: dict[str, Any] = {"bootstrap_servers": secure.address(mutual), "security_protocol": "SSL"}
    where["ssl_context"] = secure.context(mutual)
    topic = f"aiokafka-{group}"

    async def scenario() -> list[Any]:
        async with AIOKafkaProducer(**where) as producer:
            for i in range(100):
                await producer.send(topic, b"%d" % i)
        async with AIOKafkaConsumer(topic, **where, group_id=group, auto_offset_reset="earliest") as consumer:
            return [(await asyncio.wait_for(consumer.getone(), 60)).value for _ in range(100)]

    assert asyncio.run(scenario()) == [b"%d" % i for i in range(100)]


@both_ways
def test_kcat(secure: Secure, kcat: str, group: str, mutual: bool) -> None:
    settings = secure.librdkafka(mutual)
    del settings["log_level"]
    command = [kcat, "-b", settings.pop("bootstrap.servers"), "-t", f"kcat-{group}"]
    for key, value in settings.items():
        command += ["-X", f"{key}={value}"]
    lines = "".join(f"line {i}\n" for i in range(1000))
    subprocess.run([*command, "-P", "-z", "snappy"], input=lines, text=True, check=True, timeout=60)
    read = subprocess.run([*command, "-C", "-e", "-q"], capture_output=True, text=True, check=True, timeout=60)
    assert read.stdout == lines


@both_ways
def test_kafkajs(secure: Secure, node: str, group: str, mutual: bool) -> None:
    own = [str(secure.certificate)] if mutual else []
    seen = run_kafkajs(node, secure.address(mutual), f"js-{group}", group, str(secure.authority.trusted), *own)
    assert seen["created"] is True and len(seen["messages"]) == 23


@both_ways
@pytest.mark.parametrize("name", ["FranzCodecs", "FranzCooperativeGroup", "SaramaCodecs", "SaramaGroup"])
def test_go(secure: Secure, go_tests: Path, name: str, mutual: bool) -> None:
    environment = {
        "KAFKA_BOOTSTRAP": secure.address(mutual),
        "KAFKA_CA": str(secure.authority.trusted),
        "KAFKA_CERTIFICATE": str(secure.certificate) if mutual else "",
    }
    run_go_test(go_tests, name, environment)


@pytest.fixture
def java_settings(secure: Secure, tmp_path: Path) -> Callable[[bool], Path]:
    """The properties of a client: PEM, and for mutual TLS the stores that keytool creates."""

    def properties(mutual: bool) -> Path:
        lines = ["security.protocol=SSL"]
        if not mutual:
            lines += ["ssl.truststore.type=PEM", f"ssl.truststore.location={secure.authority.trusted}"]
        else:
            require(shutil.which("keytool"), "keytool")
            trusted, own = tmp_path / "trusted.jks", secure.authority.key_store(secure.certificate)
            command = ["keytool", "-importcert", "-noprompt", "-alias", "ca", "-keystore", str(trusted)]
            command += ["-file", str(secure.authority.trusted), "-storepass", PASSWORD]
            subprocess.run(command, check=True, capture_output=True)
            lines += [f"ssl.truststore.location={trusted}", f"ssl.truststore.password={PASSWORD}"]
            lines += [f"ssl.keystore.location={own}", "ssl.keystore.type=PKCS12"]
            lines += [f"ssl.keystore.password={PASSWORD}", f"ssl.key.password={PASSWORD}"]
        path = tmp_path / "client.properties"
        path.write_text("\n".join(lines) + "\n")
        return path

    return properties


@both_ways
def test_java(secure: Secure, java: JavaTools, java_settings: Callable[[bool], Path], group: str, mutual: bool) -> None:
    settings, topic = java_settings(mutual), f"java-{group}"
    where = ("--bootstrap-server", secure.address(mutual), "--command-config", settings)
    java.check("TopicCommand", *where, "--create", "--topic", topic, "--partitions", "2")
    produced = java.check(
        "VerifiableProducer", "--bootstrap-server", secure.address(mutual), "--command-config", settings,
        "--topic", topic, "--max-messages", "1000",
    )  # fmt: skip
    assert '"acked":1000' in produced.out.replace(" ", "")
    consumed = java.check(
        "VerifiableConsumer", "--bootstrap-server", secure.address(mutual), "--command-config", settings,
        "--topic", topic, "--group-id", group, "--max-messages", "1000", "--reset-policy", "earliest",
    )  # fmt: skip
    assert sum(json.loads(line)["count"] for line in consumed.lines if '"records_consumed"' in line) == 1000
    described = java.check("consumer.group.ConsumerGroupCommand", *where, "--describe", "--group", group)
    assert topic in described.out


def test_our_own_tools(secure: Secure, java_settings: Callable[[bool], Path], group: str) -> None:
    """They read the file that Kafka's tools read."""
    topic = f"own-{group}"
    where = ["--bootstrap-server", secure.address(False), "--command-config", str(java_settings(False))]

    def run(*arguments: str, stdin: str = "") -> str:
        command = [sys.executable, "-m", "kafka_cy", *arguments, *where]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True, timeout=60).stdout

    run("topics", "create", topic)
    run("produce", "--topic", topic, stdin="a\nb\n")
    assert run("consume", "--topic", topic, "--from-beginning", "--max-messages", "2") == "a\nb\n"
    assert topic in run("topics", "list").split()


def test_key_stores_of_keytool(java: JavaTools, tmp_path: Path) -> None:
    """As in Kafka's documentation: a self-signed key pair, and a broker that uses the .jks file."""
    require(shutil.which("keytool"), "keytool")
    store, trusted = tmp_path / "server.keystore.jks", tmp_path / "client.truststore.jks"
    certificate = tmp_path / "certificate"
    password = ["-storepass", PASSWORD]
    make = [
        "-genkeypair",
        "-alias",
        "localhost",
        "-keyalg",
        "RSA",
        "-dname",
        "CN=localhost",
        "-ext",
        "SAN=DNS:localhost",
    ]
    for command in (
        [*make, "-validity", "30", "-keystore", str(store), "-keypass", PASSWORD],
        ["-exportcert", "-alias", "localhost", "-keystore", str(store), "-file", str(certificate)],
        ["-importcert", "-noprompt", "-alias", "broker", "-keystore", str(trusted), "-file", str(certificate)],
    ):
        subprocess.run(["keytool", *command, *password], check=True, capture_output=True)
    plain, encrypted = free_ports(2)
    config: dict[str, object] = {
        "listeners": f"PLAINTEXT://localhost:{plain},SSL://localhost:{encrypted}",
        "ssl.keystore.location": store,
        "ssl.keystore.password": PASSWORD,
        "ssl.key.password": PASSWORD,
        "ssl.truststore.location": trusted,  # a store without a key
        "ssl.truststore.password": PASSWORD,
        "ssl.client.auth": "requested",
    }
    settings = tmp_path / "client.properties"
    settings.write_text(
        f"security.protocol=SSL\nssl.truststore.location={trusted}\nssl.truststore.password={PASSWORD}\n"
    )
    broker = Broker(config, folder=tmp_path / "broker")
    broker.port = plain
    with broker:
        where = ("--bootstrap-server", f"localhost:{encrypted}", "--command-config", settings)
        java.check("TopicCommand", *where, "--create", "--topic", "t")
        assert java.check("TopicCommand", *where, "--list").lines == ["t"]


def test_refused_clients(secure: Secure, tmp_path: Path) -> None:
    """Clients with no certificate, with an untrusted one, and one that does not trust the broker: each gets an error."""
    stranger = Authority(tmp_path / "stranger")
    own = str(stranger.issue("client.example.org"))
    mutual = {**secure.librdkafka(False), "bootstrap.servers": secure.address(True)}
    attempts = [
        mutual,
        {**mutual, "ssl.certificate.location": own, "ssl.key.location": own},
        {**secure.librdkafka(False), "ssl.ca.location": str(stranger.trusted)},
        {"bootstrap.servers": secure.address(False), "log_level": 0},  # plaintext
    ]
    for settings in attempts:
        with pytest.raises(KafkaException) as raised:
            AdminClient(settings).list_topics(timeout=2)
        assert raised.value.args[0].code() in (KafkaError._TRANSPORT, KafkaError._SSL, KafkaError._TIMED_OUT)
    for reason in ("peer did not return a certificate", "unknown ca", "this is plaintext"):
        wait_until(lambda reason=reason: reason in secure.broker.log_text(), f"{reason} in the log")
    assert AdminClient(secure.librdkafka(True)).list_topics(timeout=60).brokers
    with urllib.request.urlopen(secure.broker.metrics_url, timeout=60) as page:
        counted = re.findall(
            r'^kafka_server_socketservermetrics_(successful|failed)_authentication_total{listener="(\w+)".*} (\S+)$',
            page.read().decode(),
            re.MULTILINE,
        )
    happened = {(what, listener) for what, listener, count in counted if float(count)}
    assert happened >= {("failed", "SSL"), ("failed", "MUTUAL"), ("successful", "MUTUAL")}
    assert not happened & {("failed", "PLAINTEXT"), ("successful", "PLAINTEXT")}


def test_certificates_are_changed_while_the_broker_runs(secure: Secure, tmp_path: Path) -> None:
    """KIP-226: new connections get the new certificate. One with another name, or an unreadable one, is refused."""
    admin = AdminClient({"bootstrap.servers": secure.broker.bootstrap_servers})
    key = "listener.name.ssl.ssl.keystore.location"

    def alter(value: object, name: str = key) -> None:
        entry = ConfigEntry(name, str(value), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])
        next(iter(admin.incremental_alter_configs([resource]).values())).result(60)

    def serial() -> int:
        plain = socket.create_connection(("localhost", secure.ports["SSL"]), timeout=60)
        with secure.context(False).wrap_socket(plain, server_hostname="localhost") as tls:
            certificate = tls.getpeercert()
        assert certificate
        return int(str(certificate["serialNumber"]), 16)

    first = serial()
    alter(secure.authority.issue("localhost", "127.0.0.1"))
    second = serial()
    assert second != first
    path = secure.authority.issue("localhost", "127.0.0.1", "more.example.org")
    alter(path)
    third = serial()
    path.write_bytes(secure.authority.issue("localhost", "127.0.0.1", "more.example.org").read_bytes())
    alter(path)  # the same file with different content
    assert serial() not in (first, second, third)
    fourth = serial()
    other = secure.authority.issue("other.example.org", common_name="other")
    for value, name, reason in (
        (other, key, "Keystore DistinguishedName does not match"),
        (secure.authority.issue("localhost"), key, "Keystore SubjectAltNames do not match"),
        (tmp_path / "nowhere.pem", key, "No such file"),
        (path, "ssl.keystore.location", "only per-listener"),
        ("required", "listener.name.ssl.ssl.client.auth", "Cannot update these configs dynamically"),
    ):
        with pytest.raises(KafkaException, match=reason):
            alter(value, name)
    assert serial() == fourth
    resource = ConfigResource(ResourceType.BROKER, "1")
    described = next(iter(admin.describe_configs([resource]).values())).result(60)
    assert described[key].value == str(path) and described[key].source == 2  # the broker's own, dynamic
    assert described[key].is_read_only  # as Kafka reports for the keys of a single listener
    assert list(described[key].synonyms) == [key, "ssl.keystore.location"]
    alter("required", "ssl.client.auth")
    with pytest.raises(KafkaException):
        AdminClient(secure.librdkafka(False)).list_topics(timeout=2)
    alter("none", "ssl.client.auth")
    secure.broker.restart()
    assert serial() == fourth
