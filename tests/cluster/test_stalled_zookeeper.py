"""A controller without ZooKeeper: clients get an answer after their time-out, and what they asked for is done later."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka.admin import AdminClient
from raw_client import RawClient

from kafka_cy.cluster.znode_formats import decode_config
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.testing.broker import free_ports
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.zookeeper_ensemble import Ensemble, Proxy, wait_until


def test_requests_while_zookeeper_is_away(tmp_path: Path, one_zookeeper: Ensemble, chroot: str) -> None:
    (port,) = free_ports(1)
    with Proxy(one_zookeeper.servers[0].port) as proxy:
        settings = {"zookeeper.session.timeout.ms": "60000"}
        with MemberBroker(tmp_path, f"127.0.0.1:{proxy.port}{chroot}", 1, port, settings) as member:
            member.wait()
            admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
            wait_until(lambda: seen(admin).controller_id == 1, "the controller")
            client = RawClient(f"127.0.0.1:{port}")

            def create(name: str) -> int:
                topic = {"name": name, "num_partitions": 1, "replication_factor": 1, "assignments": [], "configs": []}
                response = client.request(19, 7, {"topics": [topic], "timeout": 500, "validate_only": False})
                return int(response["topics"][0]["error_code"])

            proxy.cut()
            wait_until(lambda: create("first") == ErrorCode.REQUEST_TIMED_OUT, "an answer")
            partitions = [{"topic": "first", "partitions": [0]}]
            elect = {"election_type": 0, "topic_partitions": partitions, "timeout": 500}
            assert client.request(43, 2, elect)["error_code"] == ErrorCode.REQUEST_TIMED_OUT
            assert client.request(46, 0, {"topics": None, "timeout": 500})["error_code"] == ErrorCode.REQUEST_TIMED_OUT
            proxy.mend()
            wait_until(lambda: "first" in seen(admin).topics, "the topic")
            assert "topic created topic=first" in member.log()
            wait_until(lambda: client.request(46, 0, {"topics": None, "timeout": 500})["error_code"] == 0, "the controller")
            assert member.errors() == []


def test_changes_of_quotas_while_zookeeper_is_away(tmp_path: Path, one_zookeeper: Ensemble, chroot: str) -> None:
    (port,) = free_ports(1)
    with Proxy(one_zookeeper.servers[0].port) as proxy:
        settings = {"zookeeper.session.timeout.ms": "60000", "request.timeout.ms": "2000"}
        with MemberBroker(tmp_path, f"127.0.0.1:{proxy.port}{chroot}", 1, port, settings) as member:
            member.wait()
            client = RawClient(f"127.0.0.1:{port}")

            def alter(value: float) -> int:
                ops = [{"key": "producer_byte_rate", "value": value, "remove": False}]
                entry = {"entity": [{"entity_type": "user", "entity_name": "u"}], "ops": ops}
                response = client.request(49, 1, {"entries": [entry], "validate_only": False})
                return int(response["entries"][0]["error_code"])

            assert alter(1.0) == 0
            proxy.cut()
            wait_until(lambda: alter(2.0) == ErrorCode.REQUEST_TIMED_OUT, "an answer")
            proxy.mend()
            wait_until(lambda: alter(3.0) == 0, "a change")
            with one_zookeeper.client() as zookeeper:
                assert decode_config(zookeeper.get(f"{chroot}/config/users/u")[0]) == {"producer_byte_rate": "3"}
