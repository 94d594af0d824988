"""Secrets of a running broker: they work, and they are shown nowhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports
from tests.waiting import wait_until

PACKAGE = "org.apache.kafka.common.config.provider."
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
JAAS = "listener.name.sasl_plaintext.plain.sasl.jaas.config"


def client(port: int, password: str) -> AdminClient:
    return AdminClient({
        "bootstrap.servers": f"127.0.0.1:{port}", "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
        "sasl.username": "ann", "sasl.password": password, "log_level": 0,
    })  # fmt: skip


def described(admin: AdminClient) -> dict[str, str | None]:
    (answer,) = admin.describe_configs([ConfigResource(ConfigResource.Type.BROKER, "1")], request_timeout=20).values()
    return {name: entry.value for name, entry in answer.result().items()}


def pages(broker: Broker) -> str:
    texts = []
    for page in ("metrics", "debug/threads"):
        with urlopen(f"{broker.metrics_url.removesuffix('/metrics')}/{page}", timeout=20) as answer:
            texts.append(answer.read().decode())
    return "".join(texts)


@pytest.mark.timeout(120)
def test_a_password_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/ann").write_text("hunter2-from-a-file")
    plain, sasl = free_ports(2)
    settings = {
        "node.id": "1",
        "listeners": f"PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl}",
        "sasl.enabled.mechanisms": "PLAIN",
        "config.providers": "dir",
        "config.providers.dir.class": PACKAGE + "DirectoryConfigProvider",
        "config.providers.dir.param.allowed.paths": f"{tmp_path}/secrets",
        JAAS: f'{PLAIN} required user_ann="${{dir:{tmp_path}/secrets:ann}}";',
    }
    broker = Broker(config=settings, log_level="debug")
    broker.port, broker.metrics_port, broker.lag_port = plain, *free_ports(2)
    with broker:
        values = described(client(sasl, "hunter2-from-a-file"))
        assert values["config.providers"] == "dir"
        assert values[JAAS] is None
        with pytest.raises(KafkaException):
            client(sasl, "wrong").list_topics(timeout=1)
        shown = pages(broker) + broker.log_text() + "".join(map(str, values.values()))
        assert "hunter2" not in shown
        overrides = [word for pair in settings.items() for word in ("--override", "=".join(pair))]
        command = [sys.executable, "-m", "kafka_cy", "server", "--print-config", *overrides]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "[hidden]" in done.stdout and "hunter2" not in done.stdout + done.stderr


SECRET = "password.encoder.secret"
DYNAMIC = ("listener.name.other.ssl.keystore.password", "listener.name.other.plain.sasl.jaas.config", "my.own.password")


def stored(broker: Broker) -> bytes:
    """Everything in the files of the metadata."""
    return b"".join(path.read_bytes() for path in broker.data_dir.glob("kafka-cy-metadata.sqlite*"))


def passwords_of(broker: Broker, secret: str) -> list[str | None]:
    """What is stored for the first of DYNAMIC and the second, decoded after the broker has ended."""
    from kafka_cy.cluster.embedded_store import EmbeddedStore
    from kafka_cy.cluster.znodes import from_json
    from kafka_cy.config import BrokerConfig

    store = EmbeddedStore(str(broker.data_dir / "kafka-cy-metadata.sqlite"))
    try:
        settings = from_json(store.get("/config/brokers/1").data)["config"]
    finally:
        store.close()
    readable = BrokerConfig({SECRET: secret}).passwords.readable(settings, lambda _: None)
    return [readable.get(name) for name in DYNAMIC[:2]]


@pytest.mark.timeout(120)
def test_dynamic_passwords_are_stored_encrypted_and_shown_nowhere(tmp_path: Path) -> None:
    broker = Broker(config={"node.id": "1", SECRET: "first-secret"}, folder=tmp_path, log_level="debug")
    with broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
        entries = [
            ConfigEntry(name, f"hunter2-{number}", incremental_operation=AlterConfigOpType.SET)
            for number, name in enumerate(DYNAMIC)
        ]
        resource = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=entries)
        admin.incremental_alter_configs([resource], request_timeout=20)[resource].result(20)
        values = described(admin)
        assert [values[name] for name in DYNAMIC] == [None] * 3
        assert "hunter2" not in pages(broker) + broker.log_text() + "".join(map(str, values.values()))
        assert b"hunter2-0" not in stored(broker) and b"hunter2-1" not in stored(broker)
        assert b"hunter2-2" in stored(broker)  # nobody knows that it is a password; Kafka does not encrypt it either
    assert passwords_of(broker, "first-secret") == ["hunter2-0", "hunter2-1"]
    broker.config |= {SECRET: "second-secret", "password.encoder.old.secret": "first-secret"}
    with broker:
        renewed = "stored passwords are encoded with the current password.encoder.secret"
        wait_until(lambda: renewed in broker.log_text(), "the stored passwords to be encoded again")
    assert passwords_of(broker, "second-secret") == ["hunter2-0", "hunter2-1"]
    broker.config |= {SECRET: "third-secret", "password.encoder.old.secret": ""}
    with broker:
        assert f"Dynamic password config {DYNAMIC[0]} could not be decoded, ignoring" in broker.log_text()
    assert "hunter2" not in broker.log_text() and "-secret" not in broker.log_text()
    assert passwords_of(broker, "second-secret") == ["hunter2-0", "hunter2-1"]  # and they are not lost
