"""Our broker serves log directories written by Apache Kafka 4.3.1, and Kafka's dump tool reads what our broker wrote.

Apache Kafka (KRaft, one node, two log directories) writes every kind of data and settings, and is stopped or killed. Our
broker takes over a copy of its folders and serves them. Then Apache Kafka gets them back.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from apache_kafka import restart_apache_kafka, start_apache_kafka, wait_for_answers
from confluent_kafka import OFFSET_BEGINNING, Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from java_tools import JavaTools
from kafka_settings import AUTHORIZER, TOPIC_CONFIGS, make_settings

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports
from tests.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
TOPICS = [*CODECS, "segments", "trimmed", "transactions", "time"]
GROUP = "group-of-kafka"
MADE_BY_US = "made-by-us"
KAFKA_CONFIG = {
    **AUTHORIZER,
    "group.initial.rebalance.delay.ms": "0",
    "log.flush.start.offset.checkpoint.interval.ms": "500",
    "log.retention.ms": "-1",  # the timestamps of the records are old, and Kafka checks retention after 30 s
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "3",
}
OF_THE_TOPIC = 1  # ConfigSource.DYNAMIC_TOPIC_CONFIG
Row = tuple[int, int, tuple[int, int], bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]


@dataclass
class Written:
    """The contents of Apache Kafka before it was stopped."""

    folders: list[Path]
    rows: dict[tuple[str, str], list[Row]]  # (topic, isolation level)
    committed: dict[tuple[str, int], int]
    topic_ids: dict[str, str]
    configs: dict[str, dict[str, str]]  # the settings of the topics themselves
    described: str = ""  # by kafka-topics.sh --describe
    port: int = 0


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
    """Write nine megabytes, in segments of one megabyte."""
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


def write_old_records(bootstrap: str) -> None:
    """Write a hundred records of 1970 with ten keys to each topic that has settings."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for topic in TOPIC_CONFIGS:
        for i in range(100):
            producer.produce(topic, partition=i % 2, key=b"key-%d" % (i % 10), value=b"%d" % i, timestamp=1000 + i)
    assert producer.flush(60) == 0


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
    write_old_records(bootstrap)
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

    described = admin.describe_topics(TopicCollection([*TOPICS, *TOPIC_CONFIGS]))
    topic_ids = {name: str(each.result(60).topic_id) for name, each in described.items()}
    return Written([], rows, committed, topic_ids, configs_of(admin, metadata))


def configs_of(admin: AdminClient, topics: Iterable[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in topics]
    return {
        resource.name: {key: entry.value for key, entry in future.result(60).items() if entry.source == OF_THE_TOPIC}
        for resource, future in admin.describe_configs(resources).items()
    }


def wait_for_start_offset(folder: Path, line: str) -> None:
    """Wait until Apache Kafka has written the log start offset."""
    deadline = time.monotonic() + 60
    while not any(line in each.read_text() for each in folder.glob("d?/log-start-offset-checkpoint")):
        assert time.monotonic() < deadline, line
        time.sleep(0.05)


@pytest.fixture(scope="module", params=["stopped", "killed"])
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, java: JavaTools
) -> Iterator[Written]:
    """Apache Kafka's folders, after a clean stop and after a kill -9."""
    folder = tmp_path_factory.mktemp(f"kafka-{request.param}")
    port, controller_port = free_ports(2)
    process = start_apache_kafka(folder, port, controller_port, KAFKA_CONFIG)
    try:
        address = f"127.0.0.1:{port}"
        wait_for_answers(address)
        make_settings(address, java)
        write_all(address)
        found = what_is_there(address)
        found.described = java.check("TopicCommand", "--bootstrap-server", address, "--describe").out
        found.port = port
        if request.param == "killed":
            wait_for_start_offset(folder, "trimmed 0 250")  # Kafka, too, loses an offset that is not in the checkpoint
            process.kill()
        else:
            process.terminate()
        process.wait(60)
    except BaseException:
        process.kill()
        process.wait()
        raise
    found.folders = [folder / "d1", folder / "d2"]
    yield found


def copy_folders(written: Written, folder: Path) -> list[Path]:
    """The log directories, and the matching server.properties."""
    original = written.folders[0].parent
    text = (original / "server.properties").read_text().replace(str(original), str(folder))
    (folder / "server.properties").write_text(text)
    return [Path(shutil.copytree(each, folder / each.name)) for each in written.folders]


def adopt(folders: list[Path], *more: str) -> str:
    """Run `kafka-cy server --adopt`; return its output."""
    command = [sys.executable, "-m", "kafka_cy", "server", "--adopt", *more]
    command += ["--override", f"log.dirs={','.join(map(str, folders))}", "--override", "node.id=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def ours(folders: list[Path], folder: Path, **more: object) -> Broker:
    config: dict[str, object] = {
        "node.id": 1,
        "log.dirs": ",".join(map(str, folders)),
        "offsets.topic.num.partitions": 5,
        **{name.replace("_", "."): value for name, value in more.items()},
    }
    return Broker(config, folder=folder / "broker")


def test_everything_is_served_as_kafka_served_it(written: Written, tmp_path: Path, java: JavaTools) -> None:
    folders = copy_folders(written, tmp_path)
    assert "Nothing was changed." in adopt(folders, "--preview")
    assert "start the broker without --adopt now" in adopt(folders)
    with ours(folders, tmp_path, log_retention_ms=-1) as broker:
        found = what_is_there(broker.bootstrap_servers)
        assert found.topic_ids == written.topic_ids
        assert found.configs == written.configs
        assert found.committed == written.committed
        assert found.rows.keys() == written.rows.keys()
        for key, rows in written.rows.items():
            assert found.rows[key] == rows, key
        broker.restart()
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "enable.idempotence": True})
        for topic in TOPICS:
            producer.produce(topic, partition=0, value=b"ours")
        assert producer.flush(60) == 0
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        moved = ConsumerGroupTopicPartitions(GROUP, [TopicPartition("zstd", 0, 77)])
        admin.alter_consumer_group_offsets([moved])[GROUP].result(60)
        admin.create_topics([NewTopic(MADE_BY_US, 1, 1)])[MADE_BY_US].result(60)
        for topic in TOPICS:
            rows = consume(broker.bootstrap_servers, topic, 1)
            theirs = [row for row in written.rows[topic, "read_uncommitted"] if row[0] == 0]
            assert rows[:-1] == theirs
            assert rows[-1][4] == b"ours"
            if topic != "transactions":  # the partition ends with a marker
                assert rows[-1][1] == theirs[-1][1] + 1
        assert broker.terminate() == 0
    check_with_kafkas_tool(java, tmp_path)
    back_to_kafka(written, tmp_path)


def back_to_kafka(written: Written, folder: Path) -> None:
    """Apache Kafka starts on its old folders again and serves its records and ours."""
    process = restart_apache_kafka(folder)
    try:
        address = f"127.0.0.1:{written.port}"
        wait_for_answers(address)
        for topic in TOPICS:
            rows = consume(address, topic, 1)
            theirs = [row for row in written.rows[topic, "read_uncommitted"] if row[0] == 0]
            assert rows[:-1] == theirs
            assert rows[-1][4] == b"ours"
        admin = AdminClient({"bootstrap.servers": address})
        assert configs_of(admin, TOPICS) == {topic: written.configs[topic] for topic in TOPICS}
        listed = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP)])[GROUP].result(60)
        committed = {(each.topic, each.partition): each.offset for each in listed.topic_partitions}
        assert committed == {**written.committed, ("zstd", 0): 77}
        assert MADE_BY_US not in admin.list_topics(timeout=60).topics
        assert len(list(folder.glob(f"d?/{MADE_BY_US}-0.*-stray"))) == 1
    finally:
        process.kill()
        process.wait()


def first_offset(bootstrap: str, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader"})
    first: int = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=60)[0]
    consumer.close()
    return first


def test_retention_and_compaction_spare_what_they_spared_at_kafka(written: Written, tmp_path: Path) -> None:
    folders = copy_folders(written, tmp_path)
    adopt(folders)
    with ours(folders, tmp_path, log_retention_check_interval_ms=50) as broker:
        address = broker.bootstrap_servers
        # Without log.retention.ms=-1 the limit is a week: older records are deleted unless the topic has its own setting.
        wait_until(lambda: first_offset(address, "grown") == 50, "retention has removed old records")
        for topic in ("unlimited", "compacted", "both"):
            assert first_offset(address, topic) == 0
            last = {row[3]: row[4] for row in consume(address, topic, 2)}
            assert last == {b"key-%d" % (i % 10): b"%d" % i for i in range(100)}
        assert [row[4] for row in consume(address, "unlimited", 2)] == [
            b"%d" % i for i in [*range(0, 100, 2), *range(1, 100, 2)]
        ]


def test_folders_without_the_metadata_log_take_their_settings_from_a_file(written: Written, tmp_path: Path) -> None:
    folders = copy_folders(written, tmp_path)
    for each in folders:
        shutil.rmtree(each / "__cluster_metadata-0", ignore_errors=True)
    settings_file = tmp_path / "topics.txt"
    settings_file.write_text(written.described)
    adopt(folders, "--adopt-settings", str(settings_file))
    with ours(folders, tmp_path, log_retention_ms=-1) as broker:
        found = what_is_there(broker.bootstrap_servers)
        assert found.topic_ids == written.topic_ids
        assert found.rows == written.rows
        for topic, own in written.configs.items():
            assert found.configs[topic].items() >= own.items()  # the file also has the broker's settings


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
    """Run DumpLogSegments on all files of a folder: batches are valid, indexes are in order and refer to batches."""
    ours = [
        path for path in folder.rglob("*") if "-" in path.parent.name and path.parent.name != "__cluster_metadata-0"
    ]
    logs = [path for path in ours if path.suffix == ".log" and len(path.stem) == 20 and path.stat().st_size]
    assert logs
    dumped = java.check("DumpLogSegments", "--deep-iteration", "--files", ",".join(map(str, logs)), timeout_s=120).out
    assert dumped.count("isvalid: true") > len(logs)
    assert "isvalid: false" not in dumped
    # An index without a log is left where Apache Kafka was killed while it deleted a segment: it renames the log first.
    indexes = [path for path in ours if path.suffix in (".index", ".timeindex") and path.with_suffix(".log") in logs]
    for arguments in (("--verify-index-only",), ("--index-sanity-check",), ()):
        result = java.check("DumpLogSegments", *arguments, "--files", ",".join(map(str, indexes)), timeout_s=120)
        for bad in ("Mismatches", "Mismatch", "out of order", "Exception", "corrupt", "is not"):
            assert bad not in result.out + result.err, (bad, result.out[-2000:], result.err[-2000:])
    others = [path for path in ours if path.suffix in (".snapshot", ".txnindex")]
    if others:
        java.check("DumpLogSegments", "--files", ",".join(map(str, others)), timeout_s=120)
