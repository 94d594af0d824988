"""Every API with all sets of rights that tell: Apache Kafka 4.3.1 with its StandardAuthorizer and ours deny the same."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from apache_kafka import start_apache_kafka
from foreign_tools import require
from java_tools import KAFKA_JARS
from raw_client import Closed

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports
from tests.security.authorization_cases import ALL_ERRORS, CASES, Case, Right, errors_in
from tests.security.authorization_world import SECRET, USERS, World, login

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

HEARS_S = 20.0  # in which Kafka's broker hears of ACLs from its controller
LOGIN = " ".join(f'user_{user}="{SECRET}"' for user in USERS)
SETTINGS = {
    "sasl.enabled.mechanisms": "PLAIN",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:admin;User:ANONYMOUS",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "listener.name.plaintext.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'username="admin" password="{SECRET}" {LOGIN};'
    ),
}
OF_KAFKA = {
    "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "sasl.mechanism.inter.broker.protocol": "PLAIN",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}


class Both(NamedTuple):
    kafka: World
    ours: World


def until_logged_in(address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            login(address, "admin").request(3, 12, {"topics": []})
            return
        except (OSError, Closed):
            assert time.monotonic() < deadline, "Kafka does not start"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    require(shutil.which("java"), "java")
    require(KAFKA_JARS.is_dir(), f"Apache Kafka in {KAFKA_JARS}")
    port, controller_port = free_ports(2)
    process = start_apache_kafka(tmp_path_factory.mktemp("kafka"), port, controller_port, SETTINGS | OF_KAFKA)
    try:
        until_logged_in(f"127.0.0.1:{port}")
        with Broker({**SETTINGS, "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT"}) as broker:
            worlds = Both(World(f"127.0.0.1:{port}"), World(broker.bootstrap_servers))
            for each in worlds:
                each.fill()
            yield worlds
            for each in worlds:
                each.close()
    finally:
        process.kill()
        process.wait()


def sets_of(case: Case) -> list[tuple[Right, ...]]:
    """No right, all but one, all, and what stands for them."""
    found = [(), *(tuple(each for each in case.rights if each != without) for without in case.rights)]
    return list(dict.fromkeys([*found, case.rights, *case.instead]))


def verdict(world: World, case: Case) -> tuple[Any, ...]:
    """The errors of authorization, and whether everything is shown."""
    answer = world.ask(case)
    denied = errors_in(answer) & ALL_ERRORS
    return sorted(denied), bool(denied) or case.shows(answer)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_same_verdicts(both: Both, case: Case) -> None:
    for rights in sets_of(case):
        for world in both:
            world.give(rights)
        expected = verdict(both.ours, case)
        deadline = time.monotonic() + HEARS_S
        while (theirs := verdict(both.kafka, case)) != expected and time.monotonic() < deadline:
            time.sleep(0.02)
        assert theirs == expected, f"Kafka's verdict and ours differ with {rights}"
