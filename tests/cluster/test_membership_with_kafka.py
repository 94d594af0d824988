"""A member beside a broker of Apache Kafka 3.9.2: each sees what the other registers, elects and notifies."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_cy.cluster import znodes
from kafka_cy.cluster.change_formats import ConfigChange
from kafka_cy.cluster.change_notifications import CONFIGS, ChangeNotifications, notify
from kafka_cy.cluster.cluster_identity import create_common_nodes, find_cluster_id
from kafka_cy.cluster.store import Create, Get
from kafka_cy.cluster.znode_formats import BrokerInfo, Endpoint, decode_config, decode_controller_id
from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import LISTENER, Kafka
from tests.cluster.test_membership_zookeeper import Member, now_ms
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until


@pytest.mark.interop
@pytest.mark.slow
def test_a_member_beside_kafka(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str) -> None:
    port, ours = free_ports(2)
    info = BrokerInfo((Endpoint(LISTENER, "PLAINTEXT", "127.0.0.1", ours),), "r9")
    with Kafka(tmp_path, zookeeper_connect, 1, port) as kafka, one_zookeeper.client(chroot) as other:

        def controller() -> tuple[int, int]:
            """The broker in /controller, and the epoch."""
            if not other.exists(znodes.CONTROLLER):
                return -1, -1
            data, epoch = other.get(znodes.CONTROLLER)[0], other.get(znodes.CONTROLLER_EPOCH)[0]
            return decode_controller_id(data), int(epoch)

        wait_until(lambda: controller() == (1, 1), "Kafka as the controller")
        wait_until(lambda: "[KafkaServer id=1] started" in kafka.log(), "Kafka")
        with Member(zookeeper_connect, 9, info) as member:
            member.steps(create_common_nodes)
            cluster_id = member.steps(lambda calls: find_cluster_id(calls, None, lambda: "A" * 22))
            assert f"Cluster ID = {cluster_id}" in kafka.log()
            member.run_until(lambda: member.election.controller_id == 1)
            member.run_until(lambda: "Newly added brokers: 9" in kafka.log())
            registered = BrokerInfo.decode(member.read(Get("/brokers/ids/1"))[0].data)
            assert registered.endpoints == (Endpoint(LISTENER, "PLAINTEXT", "127.0.0.1", port),)

            seen: list[ConfigChange] = []
            ChangeNotifications(
                member.store,
                CONFIGS,
                lambda data: seen.append(ConfigChange.decode(data)),
                missed=lambda: None,
                wall_clock_ms=now_ms,
                call_later=member.call_later,
                log=member.log,
            ).start()
            quota = ["--entity-type", "clients", "--entity-name", "c 1", "--add-config", "producer_byte_rate=7"]
            kafka.tool("kafka.admin.ConfigCommand", "--alter", *quota)
            member.run_until(lambda: seen)
            assert seen == [ConfigChange("clients/c%201")]
            (node,) = member.read(Get(f"/config/{seen[0].entity_path}"))
            assert decode_config(node.data) == {"producer_byte_rate": "7"}
            member.change(Create("/config/brokers/<default>", znodes.config_data({"log.cleaner.threads": "2"})))
            member.steps(lambda calls: notify(calls, CONFIGS, ConfigChange("brokers/<default>").encode()))
            member.run_until(lambda: "Processing override for entityPath: brokers/<default>" in kafka.log())

            kafka.kill()
            member.run_until(lambda: member.election.active)
            assert member.terms == [(2, 2)] and controller() == (9, 2)
            kafka.start()
            member.run_until(lambda: other.exists("/brokers/ids/1"))
            assert controller() == (9, 2)
        wait_until(lambda: controller() == (1, 3), "Kafka as the next controller")
        assert [line for line in kafka.log().splitlines() if line.startswith("ERROR")] == []
