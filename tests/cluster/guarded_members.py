"""Clusters whose brokers log in to each other on one listener, while clients have another one in plaintext."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.certificates import Authority
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import LISTENER, MemberBroker, seen
from tests.cluster.test_member_cluster import isrs
from tests.cluster.test_member_tls import (
    MORE,
    TOPIC,
    committed,
    encrypted,
    kill_each,
    leader,
    log_of,
    produce,
    transaction,
)
from tests.cluster.zookeeper_ensemble import wait_until

OWN = f"listener.name.{LISTENER.lower()}."


def guarded(mechanism: str, jaas: str, **more: str) -> dict[str, str]:
    """`jaas`: of the mechanism. `more`: keys of the mechanism, with underscores for points."""
    own = f"{OWN}{mechanism.lower()}."
    return {
        **MORE,
        "zookeeper.session.timeout.ms": "6000",
        "listener.security.protocol.map": f"CLIENT:PLAINTEXT,{LISTENER}:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": mechanism,
        "sasl.mechanism.inter.broker.protocol": mechanism,
        f"{own}sasl.jaas.config": jaas,
        **{own + key.replace("_", "."): value for key, value in more.items()},
    }


def over_tls(settings: Mapping[str, str], authority: Authority) -> dict[str, str]:
    """The same with SASL_SSL between brokers."""
    tls = {**encrypted(authority), OWN + "ssl.client.auth": "none"}
    protocols = settings["listener.security.protocol.map"].replace(f"{LISTENER}:SASL_PLAINTEXT", f"{LISTENER}:SASL_SSL")
    return {**tls, **settings, "listener.security.protocol.map": protocols}


class GuardedCluster:
    """Brokers 1 to `count`, which end with the `with` statement; if the test fails, it shows their logs. Broker 1 may be Kafka."""

    def __init__(
        self, folder: Path, connect: str, count: int, settings: Mapping[str, str], host: str = "127.0.0.1",
        kafka: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """`host`: as which brokers know each other. `kafka`: more settings of broker 1, which is Kafka then."""
        ports = free_ports(2 * count)
        self.brokers: dict[int, MemberBroker | Kafka] = {}
        for number in range(1, count + 1):
            port, for_clients = ports[2 * number - 2 : 2 * number]
            more = {**settings, "listeners": f"{LISTENER}://{host}:{port},CLIENT://127.0.0.1:{for_clients}"}
            if number == 1 and kafka is not None:
                self.brokers[1] = Kafka(folder, connect, 1, port, {**more, **kafka})
            else:
                self.brokers[number] = MemberBroker(folder, connect, number, port, more)
        self.members = [each for each in self.brokers.values() if isinstance(each, MemberBroker)]
        self.client: dict[str, object] = {
            "bootstrap.servers": ",".join(f"127.0.0.1:{port}" for port in ports[1::2]), "socket.timeout.ms": 5000,
        }  # fmt: skip

    def start(self, *, in_turn: bool = False) -> AdminClient:
        """Returns when all know each other. Kafka is the controller, if there is one; `in_turn`: the first of ours."""
        first = self.brokers[1]
        if isinstance(first, Kafka):
            first.start()
            wait_until(lambda: "[KafkaServer id=1] started" in first.log(), "Kafka")
        for member in self.members:
            member.start()
            if in_turn:
                member.wait()
        for member in self.members:
            member.wait()
        admin = AdminClient(self.client)
        wait_until(lambda: set(seen(admin).brokers) == set(self.brokers), "all brokers")
        return admin

    def __enter__(self) -> GuardedCluster:
        return self

    def __exit__(self, *failure: object) -> None:
        for each in self.brokers.values():
            each.kill()
            if failure[0] is not None:
                print(each.log()[-20000:], "======", sep="\n")

    def lines(self) -> str:
        """What the logs of our brokers say."""
        return "".join(member.log() for member in self.members)


def check_a_killed_leader(cluster: GuardedCluster, admin: AdminClient) -> None:
    """Three brokers of ours: the one that is controller and leader is killed and comes back; all have all records in the end."""
    first = seen(admin).controller_id
    others = [each for each in (1, 2, 3) if each != first]
    admin.create_topics([NewTopic(TOPIC, 1, replica_assignment=[[first, *others]])])[TOPIC].result()
    produce(cluster.client, 300)
    one_each = NewTopic("one-each", 3, replica_assignment=[[1], [2], [3]], config={"min.insync.replicas": "1"})
    admin.create_topics([one_each])[one_each.topic].result()
    transaction(cluster.client, one_each.topic, "x")
    assert committed(cluster.client, one_each.topic, 3) == [b"0", b"1", b"2"], "the markers came to all brokers"
    cluster.brokers[first].kill()
    wait_until(lambda: isrs(admin, TOPIC) == [set(others)] and leader(admin) in others, "a new leader")
    produce(cluster.client, 300)
    cluster.brokers[first].start()
    wait_until(lambda: isrs(admin, TOPIC) == [{1, 2, 3}], "full ISRs")
    produce(cluster.client, 300)
    for member in cluster.members:
        assert member.terminate() == 0
    logs = {log_of(member) for member in cluster.members}
    assert len(logs) == 1 and b"" not in logs
    assert [line for member in cluster.members for line in member.errors()] == []
    assert "authentication failed" not in cluster.lines() and "session has expired" not in cluster.lines()
    assert "the login with" not in cluster.lines()


def check_beside_kafka(cluster: GuardedCluster, admin: AdminClient) -> None:
    """Kafka is the controller, then one of ours; each broker leads and follows, is killed, and comes back."""
    wait_until(lambda: seen(admin).controller_id == 1, "Kafka is the controller")
    admin.create_topics([NewTopic(TOPIC, 3, replica_assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]])])[TOPIC].result()
    kill_each(admin, cluster.brokers, cluster.client)
    for member in cluster.members:
        assert member.terminate() == 0
    cluster.brokers[1].terminate()
    assert [line for member in cluster.members for line in member.errors()] == []
