"""Secrets of a running broker: they work, and they are shown nowhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports

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
