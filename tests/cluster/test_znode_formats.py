"""Every node that Apache Kafka 3.9.2 wrote in a live cluster is read, and written again with the same JSON content."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from kafka_cy.cluster import znode_formats, znodes
from kafka_cy.cluster.change_formats import AclChange, ConfigChange, LogDirEvent
from kafka_cy.cluster.znode_formats import (
    MALFORMED,
    BrokerInfo,
    Endpoint,
    PartitionState,
    ProducerIdBlock,
    TopicAssignment,
)

GOLDEN = json.loads((Path(__file__).parent / "golden_data" / "zookeeper_nodes.json").read_text())
VARIANTS = GOLDEN.pop("variants")


def broker_again(data: bytes) -> bytes:
    return BrokerInfo.decode(data).encode(json.loads(data)["version"])


def controller_again(data: bytes) -> bytes:
    return znodes.controller_data(znode_formats.decode_controller_id(data), int(json.loads(data)["timestamp"]))


def block_again(data: bytes) -> bytes:
    block = ProducerIdBlock.decode(data)
    assert block is not None
    return block.encode()


#: Path -> reads and writes the node again. What follows the path in the names of variants is a remark.
FORMATS: dict[str, Callable[[bytes], bytes]] = {
    r"/brokers/ids/\d+": broker_again,
    r"/brokers/topics/[^/]+": lambda data: TopicAssignment.decode(data).encode(),
    r"/brokers/topics/[^/]+/partitions/\d+/state|state": lambda data: PartitionState.decode(data).encode(),
    r"/cluster/id": lambda data: znode_formats.cluster_id_data(znode_formats.decode_cluster_id(data)),
    r"/controller": controller_again,
    r"/controller_epoch": lambda data: str(int(data)).encode(),
    r"/config/changes/config_change_\d+": lambda data: ConfigChange.decode(data).encode(),
    r"/config/(?!changes)[^ ]+": lambda data: znodes.config_data(znode_formats.decode_config(data)),
    r"/feature": lambda data: znodes.feature_data(znodes.from_json(data)["features"]),
    r"/latest_producer_id_block": block_again,
    r"/kafka-acl(-extended)?-changes/acl_changes_\d+": lambda data: AclChange.decode(data).encode(),
    r"/isr_change_notification/isr_change_\d+": lambda data: znode_formats.partitions_data(
        znode_formats.decode_partitions(data)
    ),
    r"/admin/preferred_replica_election": lambda data: znode_formats.partitions_data(
        znode_formats.decode_partitions(data)
    ),
    r"/admin/reassign_partitions": lambda data: znode_formats.reassignment_data(
        znode_formats.decode_reassignment(data)
    ),
    r"/log_dir_event_notification/log_dir_event_\d+": lambda data: LogDirEvent.decode(data).encode(),
}
#: ACLs and delegation tokens come with security.
LATER = re.compile(r"/kafka-acl(-extended)?/|/delegation_token/")
NODES = [(path, node["data"]) for path, node in GOLDEN.items()] + list(VARIANTS.items())


def content(text: str | bytes) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text if isinstance(text, str) else text.decode()


@pytest.mark.parametrize(("path", "text"), NODES, ids=[path for path, _ in NODES])
def test_a_node_of_kafka_is_read_and_written_again(path: str, text: str | None) -> None:
    if not text or LATER.match(path):
        return
    again = next(each for pattern, each in FORMATS.items() if re.match(rf"(?:{pattern})(?![^ ,])", path))
    assert content(again(text.encode())) == content(text)


def test_every_format_is_among_kafkas_nodes() -> None:
    used = {
        pattern for pattern in FORMATS for path, text in NODES if text and re.match(rf"(?:{pattern})(?![^ ,])", path)
    }
    assert used == set(FORMATS)


def test_values_of_a_broker_and_a_topic() -> None:
    broker = BrokerInfo.decode(GOLDEN["/brokers/ids/1"]["data"].encode())
    assert broker.endpoints[2] == Endpoint("SASL", "SASL_PLAINTEXT", "127.0.0.1", 39491)
    assert (broker.rack, broker.timestamp_ms) == ("r1", 1795355059899)
    topic = TopicAssignment.decode(VARIANTS["/brokers/topics/t2 during reassignment [1,2]->[3,2]"].encode())
    assert (topic.partitions, topic.adding, topic.removing) == ({0: (3, 2, 1)}, {0: (3,)}, {0: (1,)})
    assert isinstance(topic.topic_id, uuid.UUID)


def test_older_forms_are_read() -> None:
    assert BrokerInfo.decode(b'{"version":1,"host":"h","port":9092,"jmx_port":-1,"timestamp":"5"}').endpoints == (
        Endpoint("PLAINTEXT", "PLAINTEXT", "h", 9092),
    )
    old = b'{"version":2,"host":"h","port":1,"endpoints":["SSL://[::1]:9093"],"jmx_port":-1,"timestamp":"5"}'
    broker = BrokerInfo.decode(old)
    assert broker.endpoints == (Endpoint("SSL", "SSL", "::1", 9093),)
    assert json.loads(broker.encode())["endpoints"] == ["SSL://[::1]:9093"]
    assert TopicAssignment.decode(b'{"version":1,"partitions":{"0":[1]}}') == TopicAssignment(None, {0: (1,)})
    assert ConfigChange.decode(b'{"version":1,"entity_type":"topics","entity_name":"t"}') == ConfigChange("topics/t")
    assert ProducerIdBlock.decode(None) is None and znode_formats.decode_config(None) == {}


@pytest.mark.parametrize("resource_type", ["Topic", "TransactionalId", "DelegationToken", "Cluster", "Group", "User"])
def test_changes_of_acls(resource_type: str) -> None:
    for pattern_type in ("LITERAL", "PREFIXED"):
        change = AclChange(resource_type, "a:b", pattern_type)
        assert AclChange.decode(change.encode()) == change
    assert AclChange("TransactionalId", "x").encode() == b"TRANSACTIONAL_ID:x"


@pytest.mark.parametrize(
    "data",
    [
        *(None, b"", b"[]", b"{}", b"x", b"\xff", b'{"version":1}', b'{"version":5,"endpoints":7}'),
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_what_is_malformed_is_an_error_of_its_kind(data: bytes | None) -> None:
    decoders = (BrokerInfo.decode, TopicAssignment.decode, PartitionState.decode, ConfigChange.decode, AclChange.decode)
    others = (LogDirEvent.decode, znode_formats.decode_controller_id, znode_formats.decode_reassignment)
    for decode in (*decoders, *others, znode_formats.decode_partitions, znode_formats.decode_cluster_id):
        with pytest.raises(MALFORMED):
            decode(data)  # type: ignore[operator]
