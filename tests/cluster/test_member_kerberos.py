"""GSSAPI between the brokers of a cluster, with MIT's KDC: tickets that end, a KDC that goes away, keys that are wrong."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic

from tests.certificates import Authority
from tests.cluster.guarded_members import (
    OWN,
    GuardedCluster,
    check_a_killed_leader,
    check_beside_kafka,
    guarded,
    over_tls,
)
from tests.cluster.member_broker import MemberBroker
from tests.cluster.test_member_cluster import isrs
from tests.cluster.test_member_tls import TOPIC, produce, stores
from tests.cluster.zookeeper_ensemble import wait_until
from tests.kerberos import REALM, Realm, missing_program, running_realm

try:
    from gssapi import raw
except ImportError:
    if os.environ.get("CI"):
        raise
    pytest.skip("python-gssapi is missing", allow_module_level=True)

EXIT_CLUSTER = 5
SERVICE = "kafka/localhost"


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    """Clocks agree to one second, so that the end of a ticket is the end."""
    program = missing_program()
    if program is not None:
        text = f"{program} is missing (scripts/install-test-tools.sh)"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    with running_realm(tmp_path / "realm", "clockskew = 1") as made:
        yield made


def settings_of(realm: Realm, **more: str) -> dict[str, str]:
    jaas = (
        "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true "
        f'keyTab="{realm.key_tab}" principal="{SERVICE}@{REALM}";'
    )
    return {
        **guarded("GSSAPI", jaas, **more),
        "sasl.kerberos.service.name": "kafka",
        OWN + "sasl.kerberos.min.time.before.relogin": "1000",
        "min.insync.replicas": "1",
    }


class KerberosCluster(GuardedCluster):
    def __init__(self, folder: Path, connect: str, count: int, realm: Realm, **more: object) -> None:
        settings = {**settings_of(realm, connections_max_reauth_ms="4000"), **more.pop("settings", {})}  # type: ignore[dict-item]
        super().__init__(folder, connect, count, settings, "localhost", **more)  # type: ignore[arg-type]
        for member in self.members:
            member.environment = {
                "KRB5_CONFIG": str(realm.krb5_conf), "KRB5RCACHENAME": f"file2:{realm.folder}/replays-{member.broker_id}",
            }  # fmt: skip


def test_three_brokers(tmp_path: Path, zookeeper_connect: str, realm: Realm) -> None:
    """Tickets last for 8 s, and are replaced before they end."""
    realm.limit(SERVICE, 8)
    with KerberosCluster(tmp_path, zookeeper_connect, 3, realm, settings={"min.insync.replicas": "2"}) as cluster:
        admin = cluster.start()
        check_a_killed_leader(cluster, admin)
        assert realm.logins() > 4, "more than one for each start"


def test_no_ticket_at_the_start(tmp_path: Path, zookeeper_connect: str, realm: Realm) -> None:
    """As in Kafka, the broker does not start."""
    with KerberosCluster(tmp_path, zookeeper_connect, 1, realm) as cluster:
        (member,) = cluster.members
        why = "REPL: this broker has nothing to log in to other brokers with by GSSAPI: "
        realm.stop()
        member.start()
        assert member.process is not None and member.process.wait(60) == EXIT_CLUSTER
        assert f"{why}Cannot contact any KDC for realm '{REALM}'" in member.log()
        realm.start()
        realm.replace_key(SERVICE)
        member.start()
        assert member.process.wait(60) == EXIT_CLUSTER
        assert f"{why}Decrypt integrity check failed" in member.log() or f"{why}Preauthentication failed" in member.log()
        assert not (member.logs / "meta.properties").exists()


def warned(member: MemberBroker) -> list[str]:
    text = "there is no new credential for logins to other brokers; the one of before stays in use"
    return [line for line in member.log().splitlines() if text in line]


def test_the_kdc_goes_away(tmp_path: Path, zookeeper_connect: str, realm: Realm) -> None:
    """Brokers go on while their tickets last; then they cannot log in, until there are new ones."""
    realm.limit(SERVICE, 8)
    with KerberosCluster(tmp_path, zookeeper_connect, 2, realm) as cluster:
        admin = cluster.start()
        admin.create_topics([NewTopic(TOPIC, 1, replica_assignment=[[1, 2]])])[TOPIC].result()
        produce(cluster.client, 10)
        wait_until(lambda: isrs(admin, TOPIC) == [{1, 2}], "the full ISR")
        realm.stop()
        for member in cluster.members:
            wait_until(lambda: warned(member), "the line of a renewal")  # noqa: B023
            assert "Cannot contact any KDC for realm" in warned(member)[0]
        why = "the login with GSSAPI failed: this broker's ticket has ended: Cannot contact any KDC for realm"
        wait_until(lambda: why in cluster.members[1].log(), "the end of the ticket")
        realm.start()
        for member in cluster.members:
            wait_until(lambda: "there is a new credential" in member.log(), "the line")  # noqa: B023
            assert len(warned(member)) == 1, "each cause is told once"
        produce({**cluster.client, "acks": "all"}, 10)
        wait_until(lambda: isrs(admin, TOPIC) == [{1, 2}], "the full ISR")
        assert [line for member in cluster.members for line in member.errors()] == []


def test_a_broker_without_a_principal(tmp_path: Path, zookeeper_connect: str, realm: Realm) -> None:
    """The other one is known by an address that the KDC does not know. A line says so, and the rest goes on."""
    with KerberosCluster(tmp_path, zookeeper_connect, 2, realm) as cluster:
        first = cluster.members[0]
        first.settings["listeners"] = first.settings["listeners"].replace("localhost", "127.0.0.1")
        admin = cluster.start(in_turn=True)
        admin.create_topics([NewTopic(TOPIC, 1, replica_assignment=[[1, 2]])])[TOPIC].result()
        why = "the login with GSSAPI failed: no ticket of kafka@127.0.0.1: Server kafka/127.0.0.1@TEST.EXAMPLE not found"
        wait_until(lambda: why in cluster.members[1].log(), "the reason")
        produce({**cluster.client, "acks": "1", "enable.idempotence": False}, 10)


def exchange(connection: socket.socket, api_key: int, body: bytes) -> bytes:
    """The body of the response to a request of version 1 with an empty client id."""
    request = struct.pack(">hhih", api_key, 1, 7, 0) + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    with connection.makefile("rb") as stream:
        (size,) = struct.unpack(">i", stream.read(4))
        return stream.read(size)[4:]


def answer_to(host: str, port: int, token: bytes) -> bytes:
    """What a broker answers to the first token of a client."""
    with socket.create_connection((host, port), timeout=30) as connection:
        assert exchange(connection, 17, struct.pack(">h", 6) + b"GSSAPI")[:2] == b"\0\0"
        answer = exchange(connection, 36, struct.pack(">i", len(token)) + token)
        assert connection.recv(1) == b"", "the connection is closed"
        return answer


def ended_token(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A token that was good for three seconds."""
    monkeypatch.setenv("KRB5_CONFIG", str(realm.krb5_conf))
    environment = realm.log_in("ann", "-l", "3s")
    begun = time.monotonic()
    credential = raw.acquire_cred_from({b"ccache": environment["KRB5CCNAME"].encode()}, usage="initiate").creds
    target = raw.import_name(f"{SERVICE}@{REALM}".encode(), raw.NameType.kerberos_principal)
    token = raw.init_sec_context(target, credential, mech=raw.MechType.kerberos).token
    assert token
    wait_until(lambda: time.monotonic() > begun + 6, "the end of the ticket, and of the difference of clocks that is allowed")
    return bytes(token)


REFUSED = b"Authentication failed during authentication due to invalid credentials with SASL mechanism GSSAPI"
EXPECTED = struct.pack(">hh", 58, len(REFUSED)) + REFUSED + struct.pack(">iq", 0, 0)


def test_a_client_whose_ticket_has_ended(
    tmp_path: Path, zookeeper_connect: str, realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    with KerberosCluster(tmp_path, zookeeper_connect, 1, realm) as cluster:
        cluster.start()
        assert answer_to("localhost", cluster.members[0].port, ended_token(realm, monkeypatch)) == EXPECTED
        assert "Ticket expired" in cluster.lines()


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_beside_apache_kafka(
    tmp_path: Path, zookeeper_connect: str, realm: Realm, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    settings = {"offsets.topic.replication.factor": "3", "min.insync.replicas": "2"}
    kafka: dict[str, str] = {}
    if protocol == "SASL_SSL":
        authority = Authority(tmp_path / "authority")
        settings, kafka = over_tls({**settings_of(realm), **settings}, authority), stores(authority)
    with KerberosCluster(tmp_path, zookeeper_connect, 3, realm, settings=settings, kafka=kafka) as cluster:
        apache = cluster.brokers[1]
        apache.jvm = [f"-Djava.security.krb5.conf={realm.krb5_conf}"]  # type: ignore[union-attr]
        admin = cluster.start()
        if protocol == "SASL_PLAINTEXT":
            token = ended_token(realm, monkeypatch)
            answers = [answer_to("localhost", port, token) for port in (apache.port, cluster.members[0].port)]
            assert answers == [EXPECTED, EXPECTED]
        check_beside_kafka(cluster, admin)
