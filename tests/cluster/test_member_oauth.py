"""OAUTHBEARER between the brokers of a cluster: tokens that they write, and those of an issuer that goes away or refuses."""

from __future__ import annotations

import os
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
from tests.security.issuer_server import CLIENT_ID, SECRET, Issuer

PACKAGE = "org.apache.kafka.common.security.oauthbearer."
MODULE = PACKAGE + "OAuthBearerLoginModule"
EXIT_CLUSTER = 5
WRITTEN = f'{MODULE} required unsecuredLoginStringClaim_sub="broker" unsecuredLoginLifetimeSeconds="6";'


def issued(issuer: Issuer, secret: str = SECRET) -> dict[str, str]:
    """Tokens of the issuer, which brokers replace after three quarters of their lifetime."""
    jaas = f'{MODULE} required clientId="{CLIENT_ID}" clientSecret="{secret}" scope="kafka";'
    settings = guarded("OAUTHBEARER", jaas)
    own = OWN + "oauthbearer."
    return {
        **settings,
        own + "sasl.login.callback.handler.class": PACKAGE + "OAuthBearerLoginCallbackHandler",
        own + "sasl.server.callback.handler.class": PACKAGE + "OAuthBearerValidatorCallbackHandler",
        own + "sasl.oauthbearer.token.endpoint.url": issuer.tokens,
        own + "sasl.oauthbearer.jwks.endpoint.url": issuer.keys,
        OWN + "sasl.login.refresh.min.period.seconds": "1",
        OWN + "sasl.login.refresh.buffer.seconds": "1",
        OWN + "sasl.login.retry.backoff.max.ms": "300",
    }


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer().running() as running:
        yield running


def test_three_brokers_with_tokens_that_they_write(tmp_path: Path, zookeeper_connect: str) -> None:
    """They last for 6 s: brokers log in again and again on open connections."""
    with GuardedCluster(tmp_path, zookeeper_connect, 3, guarded("OAUTHBEARER", WRITTEN)) as cluster:
        check_a_killed_leader(cluster, cluster.start())


def test_three_brokers_with_tokens_of_an_issuer(tmp_path: Path, zookeeper_connect: str, issuer: Issuer) -> None:
    issuer.lifetime_s = 8.0
    with GuardedCluster(tmp_path, zookeeper_connect, 3, issued(issuer)) as cluster:
        admin = cluster.start()
        at_start = issuer.issued
        check_a_killed_leader(cluster, admin)
        assert at_start == 3 and issuer.issued > 4, "tokens are replaced"
        assert SECRET not in cluster.lines() and "eyJ" not in cluster.lines()


def test_the_issuer_refuses_at_the_start(tmp_path: Path, zookeeper_connect: str, issuer: Issuer) -> None:
    """As in Kafka, the broker does not start; nor does it when nobody listens."""
    with GuardedCluster(tmp_path, zookeeper_connect, 1, issued(issuer, "canary")) as cluster:
        (member,) = cluster.members
        member.start()
        assert member.process is not None and member.process.wait(60) == EXIT_CLUSTER
        why = "REPL: this broker has nothing to log in to other brokers with by OAUTHBEARER: the token endpoint answers 401"
        assert f"{why} (invalid_client)" in member.log() and "canary" not in member.log()
        key = OWN + "oauthbearer.sasl.oauthbearer.token.endpoint.url"
        member.settings[key] = issuer.tokens.replace(str(issuer.port), "1")
        member.start()
        assert member.process.wait(60) == EXIT_CLUSTER
        assert "by OAUTHBEARER: the token endpoint cannot be asked: Connection refused" in member.log()
        assert not member.logs.exists() or not (member.logs / "meta.properties").exists()


def warned(member: MemberBroker, reason: str) -> list[str]:
    text = "there is no new credential for logins to other brokers; the one of before stays in use"
    return [line for line in member.log().splitlines() if text in line and reason in line]


def test_the_issuer_goes_away(tmp_path: Path, zookeeper_connect: str, issuer: Issuer) -> None:
    """While tokens last, nothing else happens. Then brokers cannot log in, until the issuer is back."""
    issuer.lifetime_s = 6.0
    settings = {**issued(issuer), "min.insync.replicas": "1"}
    with GuardedCluster(tmp_path, zookeeper_connect, 2, settings) as cluster:
        admin = cluster.start()
        admin.create_topics([NewTopic(TOPIC, 1, replica_assignment=[[1, 2]])])[TOPIC].result()
        produce(cluster.client, 10)
        wait_until(lambda: isrs(admin, TOPIC) == [{1, 2}], "the full ISR")
        issuer.refusal = (503, b"")
        for member in cluster.members:
            wait_until(lambda: warned(member, "the token endpoint answers 503"), "the reason")  # noqa: B023
        wait_until(lambda: "the login with OAUTHBEARER was refused" in cluster.lines(), "the end of the tokens")
        refused = issuer.refused
        wait_until(lambda: issuer.refused > refused + 2, "it is tried again")
        issuer.refusal = None
        wait_until(lambda: isrs(admin, TOPIC) == [{1, 2}], "the full ISR")
        produce(cluster.client, 10)
        for member in cluster.members:
            wait_until(lambda: "there is a new credential" in member.log(), "the line")  # noqa: B023
            assert len(warned(member, "503")) == 1, "each cause is told once"
        assert SECRET not in cluster.lines() and "eyJ" not in cluster.lines()


def test_other_brokers_refuse_the_token(tmp_path: Path, zookeeper_connect: str) -> None:
    """Its lifetime is over at once. A line says why, and the cluster goes on."""
    settings = {**guarded("OAUTHBEARER", WRITTEN), "min.insync.replicas": "1"}
    with GuardedCluster(tmp_path, zookeeper_connect, 2, settings) as cluster:
        jaas = OWN + "oauthbearer.sasl.jaas.config"
        good = cluster.members[1].settings[jaas]
        cluster.members[1].settings[jaas] = good.replace('Seconds="6"', 'Seconds="0"')
        admin = cluster.start(in_turn=True)
        admin.create_topics([NewTopic(TOPIC, 1, replica_assignment=[[1, 2]])])[TOPIC].result()
        why = 'tried again: the login with OAUTHBEARER was refused: error 58 {"status":"invalid_token"}'
        wait_until(lambda: why in cluster.members[1].log(), "the reason")
        produce({**cluster.client, "acks": "1", "enable.idempotence": False}, 10)
        cluster.members[1].settings[jaas] = good
        cluster.members[1].kill()
        cluster.members[1].start()
        wait_until(lambda: isrs(admin, TOPIC) == [{1, 2}], "the full ISR")


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
@pytest.mark.parametrize(
    ("kind", "protocol"), [("written", "SASL_PLAINTEXT"), ("issued", "SASL_PLAINTEXT"), ("issued", "SASL_SSL")]
)
def test_beside_apache_kafka(tmp_path: Path, zookeeper_connect: str, issuer: Issuer, kind: str, protocol: str) -> None:
    issuer.lifetime_s = 15.0
    settings = guarded("OAUTHBEARER", WRITTEN) if kind == "written" else issued(issuer)
    settings["offsets.topic.replication.factor"] = "3"
    kafka: dict[str, str] = {}
    if protocol == "SASL_SSL":
        authority = Authority(tmp_path / "authority")
        settings, kafka = over_tls(settings, authority), stores(authority)
    with GuardedCluster(tmp_path, zookeeper_connect, 3, settings, kafka=kafka) as cluster:
        cluster.brokers[1].jvm = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer.tokens},{issuer.keys}"]  # type: ignore[union-attr]
        check_beside_kafka(cluster, cluster.start())
