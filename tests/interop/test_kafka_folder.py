"""Log directories that Apache Kafka 4.3.1 wrote, served by our broker; and Kafka's dump tool over what ours wrote.

Apache Kafka (KRaft, one node, two log directories) writes every kind of data, and is stopped or killed; our broker starts
on a copy of its folders.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from apache_kafka import start_apache_kafka, wait_for_answers
from confluent_kafka import OFFSET_BEGINNING, Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from foreign_tools import require
from java_tools import KAFKA_JARS, JavaTools

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
TOPICS = [*CODECS, "segments", "trimmed", "transactions", "time"]
GROUP = "group-of-kafka"
KAFKA_CONFIG = {
    "group.initial.rebalance.delay.ms": "0",
    "log.flush.start.offset.checkpoint.interval.ms": "500",
    "log.retention.ms": "-1",  # the records' timestamps are old, and Kafka looks after 30 s
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "3",
}
Row = tuple[int, int, tuple[int, int], bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]


@dataclass
class Written:
    """What Apache Kafka held before it was stopped."""

    folders: list[Path]
    rows: dict[tuple[str, str], list[Row]]  # (topic, isolation level)
    committed: dict[tuple[str, int], int]
    topic_ids: dict[str, str]


def consume(bootstrap: str, topic: str, partitions: int, isolation: str = "read_uncommitted") -> list[Row]:
    """All records of a topic, by partition and offset."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "reader", "isolation.level": isolation, "enable.auto.commit": False,
         "enable.partition.eof": True, "check.crcs": True}
    )  # fmt: skip
    consumer.assign([TopicPartition(topic, index, OFFSET_BEGINNING) for index in range(partitions)])
    rows: list[Row] = []
    ends: set[int] = set()
    deadline = time.monotonic() + 60
    while len(ends) < partitions:
        assert time.monotonic() < deadline, (topic, len(rows), ends)
        message = consumer.poll(60)
        if message is None:
            continue
        if message.error():
            assert message.error().name() == "_PARTITION_EOF", message.error()
            ends.add(message.partition())
            continue
        headers = tuple((name, value) for name, value in message.headers() or [])
        rows.append(
            (message.partition(), message.offset(), message.timestamp(), message.key(), message.value(), headers)
        )
    consumer.close()
    return sorted(rows, key=lambda row: row[:2])


def write_codecs(bootstrap: str) -> None:
    for codec in CODECS:
        producer = Producer(
            {"bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True, "linger.ms": 5}
        )
        for i in range(2000):
            producer.produce(
                codec, partition=i % 3, key=None if i % 5 == 0 else b"key-%d" % i,
                value=None if i % 7 == 0 else b"value-%d" % i * 9,
                headers=[("h", b"x" * (i % 4)), ("null", None)] if i % 3 == 0 else None, timestamp=1_700_000_000_000 + i,
            )  # fmt: skip
            if i % 200 == 199:
                producer.flush(60)
        assert producer.flush(60) == 0


def write_segments(bootstrap: str) -> None:
    """Nine megabytes in segments of one."""
    source = random.Random(1)
    for topic in ("segments", "trimmed"):
        producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "batch.size": 20_000})
        for i in range(900 if topic == "segments" else 300):
            producer.produce(topic, partition=0, key=b"%d" % i, value=source.randbytes(10_000))
            producer.poll(0)
        assert producer.flush(60) == 0


def write_transactions(bootstrap: str) -> None:
    for name, commit in (("a", True), ("b", False), ("c", True), ("d", False)):
        producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name})
        producer.init_transactions(30)
        producer.begin_transaction()
        for i in range(20):
            producer.produce("transactions", partition=i % 2, value=f"{name}-{i}".encode())
        producer.flush(60)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)


def write_all(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    new = [NewTopic(codec, num_partitions=3, replication_factor=1) for codec in CODECS]
    new += [NewTopic(name, 1, 1, config={"segment.bytes": str(1 << 20)}) for name in ("segments", "trimmed")]
    new += [NewTopic("transactions", 2, 1), NewTopic("time", 1, 1, config={"message.timestamp.type": "LogAppendTime"})]
    for future in admin.create_topics(new).values():
        future.result(60)
    time.sleep(1)
    write_codecs(bootstrap)
    write_segments(bootstrap)
    write_transactions(bootstrap)
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce("time", value=b"x", timestamp=5)
    assert producer.flush(60) == 0
    for future in admin.delete_records([TopicPartition("trimmed", 0, 250)]).values():
        future.result(60)
    offsets = [TopicPartition("zstd", index, 10 + index) for index in range(3)]
    committed = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP, offsets)])
    committed[GROUP].result(60)


def what_is_there(bootstrap: str) -> Written:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    metadata = admin.list_topics(timeout=60).topics
    rows = {
        (topic, isolation): consume(bootstrap, topic, len(metadata[topic].partitions), isolation)
        for topic in TOPICS
        for isolation in ("read_uncommitted", "read_committed")
        if isolation == "read_uncommitted" or topic == "transactions"
    }
    listed = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP)])[GROUP].result(60)
    committed = {(each.topic, each.partition): each.offset for each in listed.topic_partitions}
    from confluent_kafka import TopicCollection

    described = admin.describe_topics(TopicCollection(TOPICS))
    return Written([], rows, committed, {name: str(each.result(60).topic_id) for name, each in described.items()})


def wait_for_start_offset(folder: Path, line: str) -> None:
    """Until Apache Kafka has written the log start offset down."""
    deadline = time.monotonic() + 60
    while not any(line in each.read_text() for each in folder.glob("d?/log-start-offset-checkpoint")):
        assert time.monotonic() < deadline, line
        time.sleep(0.05)


@pytest.fixture(scope="module", params=["stopped", "killed"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """Apache Kafka's folders, after a clean stop and after a kill -9."""
    require(shutil.which("java"), "java")
    require(KAFKA_JARS.is_dir(), f"Apache Kafka in {KAFKA_JARS}")
    folder = tmp_path_factory.mktemp(f"kafka-{request.param}")
    port, controller_port = free_ports(2)
    process = start_apache_kafka(folder, port, controller_port, KAFKA_CONFIG)
    try:
        address = f"127.0.0.1:{port}"
        wait_for_answers(address)
        write_all(address)
        found = what_is_there(address)
        if request.param == "killed":
            wait_for_start_offset(folder, "trimmed 0 250")  # what is not in the checkpoint, Kafka forgets as well
            process.kill()
        else:
            process.terminate()
        process.wait(60)
    except BaseException:
        process.kill()
        process.wait()
        raise
    found.folders = [folder / "d1", folder / "d2"]
    for each in found.folders:
        for cluster_metadata in each.glob("__cluster_metadata-*"):
            shutil.rmtree(cluster_metadata)
    yield found


def start_ours(written: Written, folder: Path) -> Broker:
    copies = [Path(shutil.copytree(each, folder / each.name)) for each in written.folders]
    config = {
        "node.id": 1,
        "log.dirs": ",".join(map(str, copies)),
        "offsets.topic.num.partitions": 5,
        "log.retention.ms": -1,
        "kafkacy.adopt.unknown.partitions": True,
    }
    return Broker(config, folder=folder / "broker")


def test_everything_is_served_as_kafka_served_it(written: Written, tmp_path: Path, java: JavaTools) -> None:
    with start_ours(written, tmp_path) as broker:
        found = what_is_there(broker.bootstrap_servers)
        assert found.topic_ids == written.topic_ids
        assert found.committed == written.committed
        assert found.rows.keys() == written.rows.keys()
        for key, rows in written.rows.items():
            assert found.rows[key] == rows, key
        broker.restart()
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "enable.idempotence": True})
        for topic in TOPICS:
            producer.produce(topic, partition=0, value=b"ours")
        assert producer.flush(60) == 0
        for topic in TOPICS:
            rows = consume(broker.bootstrap_servers, topic, 1)
            theirs = [row for row in written.rows[topic, "read_uncommitted"] if row[0] == 0]
            assert rows[:-1] == theirs
            assert rows[-1][4] == b"ours"
            if topic != "transactions":  # ends with a marker
                assert rows[-1][1] == theirs[-1][1] + 1
        assert broker.terminate() == 0
    check_with_kafkas_tool(java, tmp_path)


def test_kafka_reads_what_ours_wrote(tmp_path: Path, java: JavaTools) -> None:
    with Broker({"log.segment.bytes": 1 << 20, "node.id": 1}, folder=tmp_path / "broker") as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        for future in admin.create_topics([NewTopic(name, 3, 1) for name in [*CODECS, "segments", "trimmed"]]).values():
            future.result(60)
        write_codecs(broker.bootstrap_servers)
        write_segments(broker.bootstrap_servers)
        assert broker.terminate() == 0
    check_with_kafkas_tool(java, tmp_path)


def check_with_kafkas_tool(java: JavaTools, folder: Path) -> None:
    """DumpLogSegments over every file: batches valid, indexes in order and pointing at batches."""
    logs = [path for path in folder.rglob("*.log") if len(path.stem) == 20 and path.stat().st_size]
    assert logs
    dumped = java.check("DumpLogSegments", "--deep-iteration", "--files", ",".join(map(str, logs)), timeout_s=120).out
    assert dumped.count("isvalid: true") > len(logs)
    assert "isvalid: false" not in dumped
    indexes = [
        path
        for suffix in ("index", "timeindex")
        for path in folder.rglob(f"*.{suffix}")
        if path.with_suffix(".log").stat().st_size
    ]
    for arguments in (("--verify-index-only",), ("--index-sanity-check",), ()):
        result = java.check("DumpLogSegments", *arguments, "--files", ",".join(map(str, indexes)), timeout_s=120)
        for bad in ("Mismatches", "Mismatch", "out of order", "Exception", "corrupt", "is not"):
            assert bad not in result.out + result.err, (bad, result.out[-2000:], result.err[-2000:])
    others = [path for suffix in ("snapshot", "txnindex") for path in folder.rglob(f"*.{suffix}")]
    if others:
        java.check("DumpLogSegments", "--files", ",".join(map(str, others)), timeout_s=120)
