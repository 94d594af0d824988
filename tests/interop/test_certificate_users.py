"""Users of client certificates, with real clients: their quotas show which names the broker gives them."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from cryptography.x509 import Name
from foreign_tools import require
from java_tools import JavaTools

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports
from tests.certificates import Authority
from tests.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]
API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 7, 0)  # the request of an empty client id


@dataclass(frozen=True)
class Shop:
    """Clients of the shop have names in lower case, others are refused, and those without a certificate are anonymous."""

    broker: Broker
    authority: Authority
    port: int

    def settings(self, certificate: Path | None) -> dict[str, object]:
        settings: dict[str, object] = {
            "bootstrap.servers": f"localhost:{self.port}", "security.protocol": "ssl", "log_level": 0,
            "ssl.ca.location": str(self.authority.trusted),
        }  # fmt: skip
        own = str(certificate)
        return settings | ({"ssl.certificate.location": own, "ssl.key.location": own} if certificate else {})

    def certificate(self, name: str) -> Path:
        return self.authority.issue_to(Name.from_rfc4514_string(name))

    def quota(self, user: str, bytes_per_s: int) -> None:
        command = [
            sys.executable,
            "-m",
            "kafka_cy",
            "configs",
            "alter",
            "-b",
            self.broker.bootstrap_servers,
            "--user",
            user,
        ]
        subprocess.run([*command, "--set", f"producer_byte_rate={bytes_per_s}"], check=True, timeout=60)

    def users_with_quotas(self) -> set[str]:
        """Those who have produced."""
        with urllib.request.urlopen(self.broker.metrics_url, timeout=60) as page:
            lines = re.findall(r"^kafka_server_produce_byte_rate\{.*\} .*$", page.read().decode(), re.MULTILINE)
        return {found[1] for line in lines if (found := re.search(r'user="((?:[^"\\]|\\.)*)"', line))}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    plain, encrypted, metrics = free_ports(3)
    config: dict[str, object] = {
        "listeners": f"PLAINTEXT://localhost:{plain},SSL://localhost:{encrypted}",
        **authority.broker_config(),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": authority.trusted,
        "ssl.client.auth": "requested",
        "listener.name.ssl.ssl.principal.mapping.rules": r"RULE:^CN=((?:[^\\,]|\\.)*),OU=shop$/$1/L",
    }
    broker = Broker(config, folder=tmp_path_factory.mktemp("shop"))
    broker.port, broker.metrics_port = plain, metrics
    with broker:
        yield Shop(broker, authority, encrypted)


def test_quotas_of_users_with_certificates(shop: Shop) -> None:
    shop.quota("alice", 10_000_000)
    shop.quota(r"bob\, the second", 10_000_000)
    for name in ("CN=Alice,OU=shop", r"CN=Bob\, the Second,OU=shop", None):
        producer = Producer(shop.settings(shop.certificate(name) if name else None))
        producer.produce("t", b"x" * 1000)
        assert producer.flush(60) == 0
    assert shop.users_with_quotas() == {"alice", r"bob\\, the second"}


def test_a_quota_slows_only_its_user_down(shop: Shop) -> None:
    shop.quota("slow", 1000)
    throttled: list[float] = []
    for name in ("CN=quick,OU=shop", "CN=Slow,OU=shop"):
        settings = shop.settings(shop.certificate(name))
        producer = Producer({**settings, "throttle_cb": lambda event: throttled.append(event.throttle_time)})
        producer.produce("t", b"x" * 20_000)
        assert producer.flush(60) == 0
        if name == "CN=Slow,OU=shop":
            wait_until(lambda client=producer: client.poll(0.1) >= 0 and bool(throttled), "a throttled response")
        assert bool(throttled) == (name == "CN=Slow,OU=shop")


def test_who_has_no_rule_is_refused(shop: Shop) -> None:
    with pytest.raises(KafkaException):
        AdminClient(shop.settings(shop.certificate("CN=eve,OU=other"))).list_topics(timeout=2)
    reason = "Failed to map name for 'CN=eve,OU=other' based on SSL principal mapping rules."
    wait_until(lambda: reason in shop.broker.log_text(), "the reason")
    with urllib.request.urlopen(shop.broker.metrics_url, timeout=60) as page:
        failed = r'^kafka_server_socketservermetrics_failed_authentication_total\{listener="SSL".*\} (\S+)$'
        found = re.findall(failed, page.read().decode(), re.MULTILINE)
    assert found and sum(map(float, found)) >= 1


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl(shop: Shop, version: str) -> None:
    require(shutil.which("openssl"), "openssl")
    command = [
        "openssl",
        "s_client",
        "-quiet",
        "-connect",
        f"localhost:{shop.port}",
        version,
        "-CAfile",
        str(shop.authority.trusted),
    ]
    good = str(shop.certificate("CN=openssl,OU=shop"))
    answered = talk([*command, "-cert", good, "-key", good])
    assert len(answered) > 100 and answered[4:8] == struct.pack(">i", 7)
    bad = str(shop.certificate("CN=openssl"))
    assert talk([*command, "-cert", bad, "-key", bad]) == b""
    assert talk(command)[4:8] == struct.pack(">i", 7)


def talk(command: list[str]) -> bytes:
    """The first response through the program; empty: the connection was closed."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(API_VERSIONS)
        process.stdin.flush()
        head = process.stdout.read(4)
        answered = head + process.stdout.read(struct.unpack(">i", head)[0]) if head else b""
        process.terminate()
        return answered


def test_java(shop: Shop, java: JavaTools, tmp_path: Path) -> None:
    shop.quota("duke", 10_000_000)
    settings = tmp_path / "client.properties"
    settings.write_text(
        f"security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={shop.authority.trusted}\n"
        f"ssl.keystore.type=PEM\nssl.keystore.location={shop.certificate('CN=Duke,OU=shop')}\n"
    )
    java.check(
        "VerifiableProducer", "--bootstrap-server", f"localhost:{shop.port}", "--command-config", settings,
        "--topic", "t", "--max-messages", "10",
    )  # fmt: skip
    assert "duke" in shop.users_with_quotas()
