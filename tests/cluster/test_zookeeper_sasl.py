"""SASL to ZooKeeper and ACLs there, with a real ZooKeeper, beside Apache Kafka 3.9.2."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError

from kafka_cy.cluster.store import Exists
from kafka_cy.cluster.zookeeper_connection import Answered, StateChanged, ZooKeeperConnection
from kafka_cy.cluster.zookeeper_security import ZooKeeperSecurity
from kafka_cy.config import BrokerConfig, ConfigError
from kafka_cy.security.zookeeper_login import zookeeper_security
from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.zookeeper_ensemble import Ensemble, Proxy, wait_until

PASSWORD = 'pä"ss, =word'
DIGEST = "org.apache.zookeeper.server.auth.DigestLoginModule"
PROVIDER = "authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
SET_ACL = {"zookeeper.set.acl": "true"}
Acls = dict[str, list[str]]


def quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sasl")
    for name, password in (("right", PASSWORD), ("wrong", "hunter2")):
        client = f'Client {{ {DIGEST} required username="kafka" password={quoted(password)}; }};'
        (folder / name).write_text(f"{client} KafkaServer {{ Other required; }};")
    (folder / "server").write_text(f'Server {{ {DIGEST} required user_kafka={quoted(PASSWORD)} user_other="x"; }};')
    return folder


@pytest.fixture(scope="module")
def zookeeper(folder: Path) -> Iterator[Ensemble]:
    with Ensemble(folder, more=[PROVIDER], jvm=[login_option(folder / "server")]) as ensemble:
        yield ensemble


def login_option(path: Path) -> str:
    return f"-Djava.security.auth.login.config={path}"


def member(folder: Path, tmp_path: Path, connect: str, broker_id: int, jaas: str = "right", **more: str) -> MemberBroker:
    settings = {key.replace("_", "."): value for key, value in more.items()}
    broker = MemberBroker(tmp_path, connect, broker_id, free_ports(1)[0], SET_ACL | settings)
    broker.environment["KAFKA_OPTS"] = login_option(folder / jaas) if jaas else ""
    return broker


def acls(client: KazooClient, path: str = "") -> Acls:
    """The ACL of each node below a path, without what is different in every cluster."""
    found, _ = client.get_acls(path or "/")
    result = {path or "/": sorted(f"{acl.id.scheme}:{acl.id.id}:{acl.perms}" for acl in found)}
    for name in client.get_children(path or "/"):
        result |= acls(client, f"{path}/{name}")
    return result


def use(port: int) -> None:
    """A topic, a user, and settings of each kind."""
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
    seen(admin)
    admin.create_topics([NewTopic("topic", 1, 1)], request_timeout=30)["topic"].result(60)
    credential = UserScramCredentialUpsertion("ann", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), b"x")
    admin.alter_user_scram_credentials([credential])["ann"].result(60)
    for kind, name, key in (
        (ConfigResource.Type.BROKER, "1", "log.cleaner.threads"),
        (ConfigResource.Type.TOPIC, "topic", "retention.ms"),
    ):
        entry = ConfigEntry(key, "2", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(kind, name, incremental_configs=[entry])
        admin.incremental_alter_configs([resource], request_timeout=30)[resource].result(60)


def chroot_client(zookeeper: Ensemble, chroot: str) -> KazooClient:
    """A client that is logged in as the brokers are."""
    options = {"mechanism": "DIGEST-MD5", "username": b"kafka", "password": PASSWORD.encode("latin-1")}
    client = KazooClient(zookeeper.hosts + chroot, timeout=10, sasl_options=options)
    client.start(timeout=60)
    return client


@pytest.mark.timeout(300)
def test_nodes_get_the_acls_that_kafka_gives_them(
    folder: Path, tmp_path: Path, zookeeper: Ensemble, chroot: str
) -> None:
    ours = member(folder, tmp_path, zookeeper.hosts + f"{chroot}/ours", 1)
    kafka = Kafka(tmp_path, zookeeper.hosts + f"{chroot}/kafka", 1, free_ports(1)[0], SET_ACL)
    kafka.jvm = [login_option(folder / "right")]
    found: list[Acls] = []
    try:
        for broker, name in ((ours, "ours"), (kafka, "kafka")):
            broker.start()
            use(broker.port)
            client = chroot_client(zookeeper, f"{chroot}/{name}")
            try:
                found.append(acls(client))
            finally:
                client.stop()
                client.close()
            broker.kill()
    finally:
        ours.kill()
        kafka.kill()
    both = found[0].keys() & found[1].keys()
    assert {path: found[0][path] for path in both} == {path: found[1][path] for path in both}
    assert {"/config/users/ann", "/config/brokers/1", "/brokers/ids/1", "/consumers", "/controller"} <= both
    assert found[0]["/config/users/ann"] == ["sasl:kafka:31"]
    assert found[0]["/brokers/topics/topic/partitions/0/state"] == ["sasl:kafka:31", "world:anyone:1"]
    assert found[0]["/consumers"] == ["world:anyone:31"]
    assert "no login" not in ours.log() and not ours.errors()


@pytest.mark.timeout(300)
def test_a_cluster_of_both(folder: Path, tmp_path: Path, zookeeper: Ensemble, chroot: str) -> None:
    """Each uses what the other has created; somebody without a login does not."""
    connect = zookeeper.hosts + chroot
    ours, kafka = member(folder, tmp_path, connect, 1), Kafka(tmp_path, connect, 2, free_ports(1)[0], SET_ACL)
    kafka.jvm = [login_option(folder / "right")]
    try:
        ours.start()
        ours.wait()
        use(ours.port)
        kafka.start()
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{kafka.port}", "log_level": 0})
        wait_until(lambda: len(seen(admin).brokers) == 2, "both brokers")
        ours.kill()  # Kafka becomes the controller
        wait_until(lambda: seen(admin).controller_id == 2, "Kafka to be the controller")
        admin.create_topics([NewTopic("of-kafka", 1, 1)], request_timeout=30)["of-kafka"].result(60)
        ours.start()
        wait_until(lambda: len(seen(admin).brokers) == 2, "both brokers again")
        kafka.terminate()
        own = AdminClient({"bootstrap.servers": f"127.0.0.1:{ours.port}", "log_level": 0})
        wait_until(lambda: seen(own).controller_id == 1, "kafka-cy to be the controller")
        own.delete_topics(["topic"], request_timeout=30)["topic"].result(60)
        with zookeeper.client(chroot) as stranger:
            assert stranger.get("/brokers/ids/1")
            for attempt in (
                lambda: stranger.get("/config/users/ann"),
                lambda: stranger.get_children("/config/users"),
                lambda: stranger.set("/brokers/topics/of-kafka", b"{}"),
                lambda: stranger.create("/brokers/ids/9", b"{}"),
                lambda: stranger.delete("/controller"),
            ):
                with pytest.raises(NoAuthError):
                    attempt()
        assert not ours.errors()
    finally:
        ours.kill()
        kafka.kill()


@pytest.mark.timeout(120)
def test_a_lost_connection_logs_in_again(folder: Path, tmp_path: Path, zookeeper: Ensemble, chroot: str) -> None:
    ours = member(folder, tmp_path, zookeeper.hosts + chroot, 1)
    try:
        ours.start()
        ours.wait()
        zookeeper.servers[0].kill()
        zookeeper.servers[0].start()
        zookeeper.wait()
        wait_until(lambda: ours.log().count("connected to ZooKeeper") >= 2, "another connection")
        use(ours.port)
        assert not ours.errors()
    finally:
        ours.kill()


SASL_REQUEST = 102


def logged_in(proxy: Proxy) -> ZooKeeperConnection:
    """A connection through the proxy that begins to log in."""
    security = ZooKeeperSecurity(login={"username": b"kafka", "password": PASSWORD.encode("latin-1")})
    logger = logging.Logger("kazoo", logging.CRITICAL)
    connection = ZooKeeperConnection(f"127.0.0.1:{proxy.port}", 20_000, lambda: None, logger, security, lambda _: None)
    connection.start()
    return connection


def states(connection: ZooKeeperConnection) -> list[StateChanged]:
    return [event for event in list(connection.events) if isinstance(event, StateChanged)]


def read(connection: ZooKeeperConnection, token: int) -> None:
    """Wait for an answer to a read, which comes after the login."""
    connection.open(states(connection)[-1].number)
    assert connection.read(token, Exists("/"), "/")
    answers = lambda: [each for each in list(connection.events) if isinstance(each, Answered) and each.token == token]  # noqa: E731
    wait_until(lambda: bool(answers()), "an answer")
    assert answers()[0].error is None


@pytest.mark.timeout(120)
def test_a_connection_lost_during_the_login_keeps_the_session(zookeeper: Ensemble) -> None:
    """Servers close connections when they are restarted, one after the other."""
    with Proxy(zookeeper.servers[0].port) as proxy:
        connection = logged_in(proxy)
        try:
            wait_until(lambda: bool(states(connection)), "a connection")
            read(connection, 1)
            proxy.lose_replies_of.add(SASL_REQUEST)
            proxy.cut()
            proxy.mend()

            def is_over() -> bool:
                found = [each.state for each in states(connection)]
                return found.count("CONNECTED") == 3 or "LOST" in found

            wait_until(is_over, "another connection")
            assert proxy.lost == 1
            found = states(connection)
            assert [each.state for each in found] == ["CONNECTED", "SUSPENDED", "CONNECTED", "SUSPENDED", "CONNECTED"]
            assert found[0].session_id == found[-1].session_id
            read(connection, 2)
        finally:
            connection.close(10)
        proxy.lose_replies_of.add(SASL_REQUEST)
        first = logged_in(proxy)  # there is no session to keep
        try:
            wait_until(lambda: any(each.denied for each in states(first)), "a refusal")
        finally:
            first.close(10)


@pytest.mark.timeout(180)
def test_a_broker_that_is_not_authenticated_any_more_tries_again(folder: Path, tmp_path: Path) -> None:
    jaas = tmp_path / "server"
    jaas.write_text((folder / "server").read_text())
    with Ensemble(tmp_path, more=[PROVIDER], jvm=[login_option(jaas)]) as zookeeper:
        ours = member(folder, tmp_path, zookeeper.hosts, 1)
        (server,) = zookeeper.servers
        try:
            ours.start()
            ours.wait()
            for text, count in ((jaas.read_text().replace("user_kafka", "user_gone"), 3), (jaas.read_text(), 0)):
                jaas.write_text(text)
                server.kill()
                server.start()
                zookeeper.wait()
                wait_until(lambda count=count: len(ours.errors()) >= count, "errors")  # type: ignore[misc]
            use(ours.port)
            assert ours.log().count("ZooKeeper did not authenticate this broker") <= 5  # it waits longer each time
        finally:
            ours.kill()


@pytest.mark.timeout(120)
def test_a_wrong_password_stops_the_start(folder: Path, tmp_path: Path, zookeeper: Ensemble, chroot: str) -> None:
    ours = member(folder, tmp_path, zookeeper.hosts + chroot, 1, "wrong", zookeeper_connection_timeout_ms="3000")
    ours.start()
    assert ours.process is not None
    assert ours.process.wait(60) == 5
    assert "ZooKeeper did not authenticate this broker" in ours.log()
    assert "hunter2" not in ours.log()


@pytest.mark.timeout(120)
def test_a_zookeeper_without_sasl_stops_the_start(
    folder: Path, tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str
) -> None:
    """As in Kafka: it was told to log in."""
    ours = member(folder, tmp_path, zookeeper_connect, 1)
    kafka = Kafka(tmp_path, zookeeper_connect, 1, free_ports(1)[0])
    kafka.jvm = [login_option(folder / "right")]
    for broker, code in ((ours, 5), (kafka, 1)):
        broker.start()
        assert broker.process is not None and broker.process.wait(60) == code
    assert "ZooKeeper did not authenticate this broker" in ours.log()


@pytest.mark.timeout(120)
def test_acls_without_a_login_are_refused(folder: Path, tmp_path: Path, zookeeper: Ensemble, chroot: str) -> None:
    ours = member(folder, tmp_path, zookeeper.hosts + chroot, 1, "")
    ours.start()
    assert ours.process is not None and ours.process.wait(60) == 2
    (line,) = ours.errors()
    expected = "zookeeper.set.acl is true, but ZooKeeper client TLS configuration identifying at least"
    assert expected in line and "the verification of the JAAS login file failed" in line
    kafka = Kafka(tmp_path, zookeeper.hosts + chroot, 1, free_ports(1)[0], SET_ACL)
    kafka.start()
    assert kafka.process is not None and kafka.process.wait(60) == 1
    assert expected in kafka.log()
    with zookeeper.client() as client:
        assert client.exists(chroot) is None


@pytest.mark.timeout(120)
def test_open_credentials_are_said(folder: Path, tmp_path: Path, zookeeper: Ensemble, chroot: str) -> None:
    ours = member(folder, tmp_path, zookeeper.hosts + chroot, 1, zookeeper_set_acl="false")
    line = "who reaches ZooKeeper needs no login for credentials and ACLs there"
    try:
        ours.start()
        ours.wait()
        assert line not in ours.log()  # there are none
        use(ours.port)
        assert ours.terminate() == 0
        with zookeeper.client(chroot) as client:
            client.create("/delegation_token/tokens/t", b"{}", makepath=True)
        ours.start()
        wait_until(lambda: ours.log().count("kafka-cy ready") == 2, "the broker")
        (warning,) = (each for each in ours.log().splitlines() if line in each)
        for path in ("/config/users/ann", "/delegation_token/tokens/t"):
            assert f"{path} (read, change, give rights)" in warning
    finally:
        ours.kill()


@pytest.mark.timeout(120)
def test_open_nodes_from_before_the_acls_are_said(folder: Path, tmp_path: Path, zookeeper: Ensemble) -> None:
    """Who creates nodes below them needs no user that exists."""
    chroot = "/open"  # not below /test: a broker of another test may have closed that
    ours = member(folder, tmp_path, zookeeper.hosts + chroot, 1)
    with zookeeper.client() as client:
        for path in ("/config/users", "/kafka-acl/Topic", "/kafka-acl-extended/prefixed/Group"):
            client.create(f"{chroot}{path}", b"", makepath=True)
    try:
        ours.start()
        ours.wait()
        use(ours.port)  # its credentials are closed
        line = "who reaches ZooKeeper needs no login for credentials and ACLs there"
        (warning,) = (each for each in ours.log().splitlines() if line in each)
        for path in ("/config/users", "/kafka-acl", "/kafka-acl/Topic", "/kafka-acl-extended/prefixed/Group"):
            assert f"{path} (change, give rights)" in warning
        assert "/config/brokers" not in warning and "zookeeper-security-migration" in warning
    finally:
        ours.kill()


def config(**more: str) -> BrokerConfig:
    given = {key.replace("_", "."): text for key, text in more.items()}
    return BrokerConfig({"zookeeper.connect": "h:1", "broker.id": "1"} | given)


def test_where_the_login_comes_from(folder: Path, tmp_path: Path) -> None:
    option = login_option(folder / "right")
    found = zookeeper_security(config(), {"KAFKA_OPTS": option})
    assert found.login == {"username": b"kafka", "password": PASSWORD.encode("latin-1")}
    assert not found.sets_acls
    assert PASSWORD not in repr(found)
    assert zookeeper_security(config(), {}).login is None
    assert zookeeper_security(config(), {"KAFKA_OPTS": f"{option} -Dzookeeper.sasl.clientconfig=Other"}).login is None
    named = tmp_path / "named"
    named.write_text(f'Other {{ {DIGEST} required username=a password="hunter2"; }};')
    options = {"KAFKA_OPTS": f"{login_option(named)} -Dzookeeper.sasl.clientconfig=Other"}
    assert zookeeper_security(config(), options).login is not None
    assert zookeeper_security(config(zookeeper_set_acl="true"), options).sets_acls
    certificate = {"zookeeper_ssl_keystore_location": "x.pem"}
    with pytest.raises(ConfigError):  # without zookeeper.ssl.client.enable, nobody sees the certificate
        zookeeper_security(config(zookeeper_set_acl="true", **certificate), {})


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (f'Client {{ {DIGEST} required username=a password="hunter2"; }};', "-Dzookeeper.sasl.client=false", "set to false"),
        ('Client { com.sun.security.auth.module.Krb5LoginModule required password="hunter2"; };', "", "DIGEST-MD5 only"),
        (f'Client {{ {DIGEST} required password="hunter2"; }};', "", "with username and password"),
        (f'Client {{ {DIGEST} required username=a password="hunter2" }}', "", "Configuration Error"),
    ],
)
def test_a_login_that_is_not_possible_is_refused(tmp_path: Path, text: str, options: str, said: str) -> None:
    (tmp_path / "jaas").write_text(text)
    with pytest.raises(ConfigError) as raised:
        zookeeper_security(config(), {"KAFKA_OPTS": f"{login_option(tmp_path / 'jaas')} {options}"})
    assert said in str(raised.value) and "hunter2" not in str(raised.value)
