"""TLS to a real ZooKeeper, which asks for certificates; the keys of Kafka for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from kazoo.exceptions import NoAuthError

from kafka_cy.config import BrokerConfig, ConfigError
from kafka_cy.security.zookeeper_tls import zookeeper_client
from kafka_cy.testing.broker import free_ports
from tests.certificates import PASSWORD, Authority
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

PREFIX = "zookeeper.ssl."
ON = {PREFIX + "client.enable": "true", "zookeeper.clientCnxnSocket": "org.apache.zookeeper.ClientCnxnSocketNetty"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secure_port() -> int:
    (port,) = free_ports(1)
    return port


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory, authority: Authority, secure_port: int) -> Iterator[Ensemble]:
    lines = [
        "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
        f"secureClientPort={secure_port}", "secureClientPortAddress=127.0.0.1",
        f"ssl.keyStore.location={authority.key_store(authority.broker)}", f"ssl.keyStore.password={PASSWORD}",
        f"ssl.trustStore.location={authority.trusted}", "ssl.trustStore.type=PEM",
    ]  # fmt: skip
    with Ensemble(tmp_path_factory.mktemp("zookeeper"), 1, lines) as made:
        yield made


def keys(authority: Authority, trusted: Path | None = None) -> dict[str, str]:
    return {
        **ON,
        PREFIX + "keystore.location": str(authority.key_store(authority.broker)),
        PREFIX + "keystore.password": PASSWORD,
        PREFIX + "truststore.location": str(trusted or authority.trusted),
        PREFIX + "truststore.type": "PEM",
    }


def test_a_member(tmp_path: Path, ensemble: Ensemble, secure_port: int, authority: Authority, chroot: str) -> None:
    (port,) = free_ports(1)
    member = MemberBroker(tmp_path, f"localhost:{secure_port}{chroot}", 1, port, keys(authority))
    with member, ensemble.client(chroot) as other:
        member.wait()
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
        wait_until(lambda: seen(admin).controller_id == 1, "a controller")
        assert other.exists("/brokers/ids/1")
        topics = [f"t{number}" for number in range(50)]  # many answers and notifications at a time
        created = admin.create_topics([NewTopic(topic, 2, 1) for topic in topics])
        assert [created[topic].result() for topic in topics] == [None] * 50
        producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "acks": "all"})
        for topic in topics:
            producer.produce(topic, b"x")
        assert producer.flush(60) == 0
        session = other.get("/brokers/ids/1")[1].ephemeralOwner
        ensemble.servers[0].kill()
        wait_until(lambda: "the connection to ZooKeeper is lost" in member.log(), "the end of the connection")
        ensemble.servers[0].start()
        ensemble.wait()
        wait_until(lambda: f"connected to ZooKeeper again session=0x{session:x}" in member.log(), "the same session")
        created = admin.create_topics([NewTopic("again", 1, 1)])
        created["again"].result()
        assert member.terminate() == 0
        assert not other.exists("/brokers/ids/1")
        assert member.errors() == []


def test_acls_for_a_certificate(tmp_path: Path, ensemble: Ensemble, secure_port: int, authority: Authority, chroot: str) -> None:
    (port,) = free_ports(1)
    settings = keys(authority) | {"zookeeper.set.acl": "true"}
    member = MemberBroker(tmp_path, f"localhost:{secure_port}{chroot}", 1, port, settings)
    with member, ensemble.client(chroot) as other:
        member.wait()
        with pytest.raises(NoAuthError):  # it has not logged in
            other.get_children("/config/users")
        acls, _ = other.get_acls("/brokers/ids/1")
        assert sorted((acl.id.scheme, acl.perms) for acl in acls) == [("world", 1), ("x509", 31)]
        assert member.errors() == []


def test_what_is_not_accepted(
    tmp_path: Path, ensemble: Ensemble, secure_port: int, authority: Authority, chroot: str
) -> None:
    other = Authority(tmp_path / "other")
    (port,) = free_ports(1)
    short = {"zookeeper.connection.timeout.ms": "3000"}
    for number, (connect, settings, why) in enumerate([
        (f"localhost:{secure_port}", keys(authority, other.trusted), "its certificate is not accepted"),
        (f"localhost:{ensemble.servers[0].port}", keys(authority), "TLS"),  # its port for plaintext
    ]):  # fmt: skip
        member = MemberBroker(tmp_path, connect + chroot, 2 + number, port, {**settings, **short})
        with member:
            wait_until(member.ended, "the refusal")
            assert member.process is not None and member.process.returncode == 5, member.log()
        assert why in member.errors()[-1]
        told = [line.partition(" WARNING ")[2] for line in member.log().splitlines() if "no TLS connection to ZooKeeper" in line]
        assert len(told) == len(set(told)) >= 1, "each reason once"
        assert f'this is tried again reason="{connect}: ' in told[0]


def config(settings: Mapping[str, str]) -> BrokerConfig:
    return BrokerConfig({"zookeeper.connect": "h:1", "broker.id": "1", "listeners": "PLAINTEXT://h:1", **settings})


def test_keys(tmp_path: Path, authority: Authority) -> None:
    store = authority.key_store(authority.broker)
    renamed = tmp_path / "store.jks"
    renamed.write_bytes(store.read_bytes())
    good = keys(authority)
    zookeeper_client(config(ON))
    zookeeper_client(config({**ON, PREFIX + "keystore.location": str(authority.broker)}))  # .pem, without a password
    zookeeper_client(config({**good, PREFIX + "keystore.location": str(renamed)}))
    zookeeper_client(config({**good, PREFIX + "enabled.protocols": "TLSv1.3", PREFIX + "endpoint.identification.algorithm": ""}))
    unknown = tmp_path / "store"
    unknown.write_bytes(store.read_bytes())
    for name, value, reason in (
        ("keystore.location", str(unknown), "does not tell its format"),
        ("keystore.location", "/nowhere.p12", "No such file"),
        ("keystore.password", "wrong", "the password is wrong"),
        ("keystore.type", "BKS", "BKS is not read"),
        ("truststore.location", "/nowhere", "No such file"),
        ("enabled.protocols", "SSLv3", "SSLv3: only TLSv1.2"),
        ("cipher.suites", "TLS_NONSENSE", "TLS_NONSENSE"),
    ):
        with pytest.raises(ConfigError) as raised:
            zookeeper_client(config({**good, PREFIX + name: value}))
        assert raised.value.key.startswith(PREFIX) and reason in raised.value.reason, (name, raised.value.reason)
        assert "wrong" not in str(raised.value.value)
    for name in ("crl.enable", "ocsp.enable"):
        with pytest.raises(ConfigError, match="revoked"):
            config({PREFIX + name: "true"})
