"""Security options reach the clients: `kafka-cy bench` against an Apache Kafka with SASL and TLS listeners."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign_tools import require

from kafka_cy.bench import results, workloads
from kafka_cy.bench.brokers import ApacheKafka, Attached
from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.testing.broker import free_ports

from .apache_kafka import needed_jars

pytestmark = pytest.mark.interop
PASSWORD = "correct-horse"
JAAS = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_bench="{PASSWORD}";'

Addresses = dict[str, tuple[str, Path]]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """By security protocol: the address of the listener and a file with matching client settings."""
    jars = needed_jars()
    require(shutil.which("openssl"), "openssl")
    folder = tmp_path_factory.mktemp("secured")
    key, certificate, store = folder / "key.pem", folder / "certificate.pem", folder / "store.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    store.write_text(key.read_text() + certificate.read_text())
    addresses = {name: f"127.0.0.1:{port}" for name, port in zip(("SASL_PLAINTEXT", "SSL"), free_ports(2), strict=True)}
    protocols = ",".join(f"{each}:{each}" for each in ("PLAINTEXT", *addresses))
    config = {
        "listener.security.protocol.map": f"{protocols},CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": JAAS,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": store,
    }
    clients = {
        "SASL_PLAINTEXT": f"sasl.mechanism=PLAIN\nsasl.username=bench\nsasl.password={PASSWORD}\n",
        "SSL": f"ssl.ca.location={certificate}\n",
    }
    for protocol, text in clients.items():
        (folder / protocol).write_text(f"security.protocol={protocol}\n{text}")
    kafka = ApacheKafka(jars, config, more_listeners=[f"{name}://{address}" for name, address in addresses.items()])
    yield {protocol: (address, folder / protocol) for protocol, address in addresses.items()}
    kafka.stop()


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kafka_cy", "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SSL"])
def test_a_secured_broker_is_loaded(secured: Addresses, protocol: str, tmp_path: Path) -> None:
    address, settings = secured[protocol]
    where = ("--bootstrap-server", address, "--command-config", settings, "--generator", "librdkafka", "--topic", protocol)
    for workload in ("produce", "consume"):
        path = tmp_path / f"{workload}.json"
        done = bench(workload, *where, "--num-records", 2000, "--warm-up", 0, "--json", path)
        assert done.returncode == 0, done.stderr
        [run] = results.load(path).runs
        assert (run.outcome, run.error, run.totals.errors) == ("completed", None, 0)
        assert run.totals.records >= 2000
        assert PASSWORD not in path.read_text() + done.stdout + done.stderr


def test_a_topic_of_its_own_is_filled_through_the_same_door(secured: Addresses) -> None:
    address, _ = secured["SASL_PLAINTEXT"]
    door = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "bench"}
    target = Attached(address, {**door, "sasl.password": PASSWORD})
    options = LoadOptions(generator="librdkafka", fill_bytes=500_000, warm_up_s=0.0, num_records=1000, consumers=1)
    run = workloads.run("consume", target, options)
    assert (run.outcome, run.error) == ("completed", None)
    assert run.totals.records >= 1000


def test_a_wrong_password_is_a_sentence(secured: Addresses) -> None:
    address, settings = secured["SASL_PLAINTEXT"]
    done = bench(
        "produce", "--bootstrap-server", address, "--command-config", settings, "--command-property", "sasl.password=no",
        "--generator", "librdkafka",
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"{address} refuses the connection: " in done.stderr and "Authentication failed" in done.stderr


def test_a_stranger_s_certificate_is_a_sentence(secured: Addresses) -> None:
    address, _ = secured["SSL"]
    done = bench(
        "produce", "--bootstrap-server", address, "--command-property", "security.protocol=SSL", "--generator", "librdkafka"
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"{address} refuses the connection: " in done.stderr and "certificate" in done.stderr


def test_the_native_generator_says_that_it_cannot(secured: Addresses) -> None:
    address, settings = secured["SSL"]
    done = bench("produce", "--bootstrap-server", address, "--command-config", settings)
    assert (done.returncode, done.stderr) == (
        2,
        "kafka-cy bench: the native generator supports only PLAINTEXT, not SSL: use --generator librdkafka.\n",
    )
