"""Several log directories on a live broker: moves, failures at start and at run time, refused requests."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from live_client import Client, string

from kafka_cy.testing import Broker
from tests.waiting import wait_until


def broker_with_dirs(folder: Path, **more: object) -> Broker:
    return Broker({"log.dirs": f"{folder}/d1,{folder}/d2", "log.segment.delete.delay.ms": 0, **more}, folder=folder)


def produce(broker: Broker, topic: str, partition: int, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(60) == 0


def consume(broker: Broker, topic: str, partition: int, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "reader"})
    consumer.assign([TopicPartition(topic, partition, 0)])
    messages = consumer.consume(count, timeout=60)
    consumer.close()
    return [message.value() or b"" for message in messages]


def create(broker: Broker, topic: str, partitions: int) -> AdminClient:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(60)
    return admin


def move(broker: Broker, path: str, topic: str, partition: int) -> int:
    with Client(broker.host, broker.port) as client:
        topics = struct.pack(">i", 1) + string(topic) + struct.pack(">ii", 1, partition)
        answer = client.call(34, 1, struct.pack(">i", 1) + string(path) + topics)
    return int(struct.unpack(">h", answer[-2:])[0])


def test_move_between_log_dirs(tmp_path: Path) -> None:
    with broker_with_dirs(tmp_path) as broker:
        create(broker, "t", 1)
        values = [b"%d" % i for i in range(1000)]
        produce(broker, "t", 0, values)
        assert (tmp_path / "d1/t-0").is_dir()
        assert move(broker, f"{tmp_path}/d3", "t", 0) == 57  # LOG_DIR_NOT_FOUND
        assert move(broker, f"{tmp_path}/d2", "missing", 0) == 3
        assert move(broker, f"{tmp_path}/d2", "t", 0) == 0
        wait_until(lambda: (tmp_path / "d2/t-0").is_dir() and not (tmp_path / "d1/t-0").exists(), "the move")
        produce(broker, "t", 0, [b"after"])
        assert consume(broker, "t", 0, 1001) == [*values, b"after"]
        broker.kill()
        broker.start()
        assert consume(broker, "t", 0, 1001) == [*values, b"after"]


def restart_without_d2(broker: Broker, folder: Path) -> None:
    broker.terminate()
    (folder / "d2").rename(folder / "aside")
    (folder / "d2").write_text("")  # not a directory: a failed disk
    broker.start()


def restart_with_d2(broker: Broker, folder: Path) -> None:
    broker.terminate()
    (folder / "d2").unlink()
    (folder / "aside").rename(folder / "d2")
    broker.start()


def test_failed_dir_at_start_hides_its_partitions_only(tmp_path: Path) -> None:
    with broker_with_dirs(tmp_path) as broker:
        create(broker, "t", 2)
        lost = next(i for i in (0, 1) if (tmp_path / f"d2/t-{i}").is_dir())
        for index in (0, 1):
            produce(broker, "t", index, [b"kept"])
        restart_without_d2(broker, tmp_path)
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        partitions = admin.list_topics("t", timeout=60).topics["t"].partitions
        assert [partitions[i].leader for i in (lost, 1 - lost)] == [-1, 1]
        assert not (tmp_path / f"d1/t-{lost}").exists()
        assert consume(broker, "t", 1 - lost, 1) == [b"kept"]
        restart_with_d2(broker, tmp_path)
        assert consume(broker, "t", lost, 1) == [b"kept"]


def test_topic_made_anew_while_its_dir_was_away(tmp_path: Path) -> None:
    with broker_with_dirs(tmp_path) as broker:
        create(broker, "t", 2)
        away = next(i for i in (0, 1) if (tmp_path / f"d2/t-{i}").is_dir())
        produce(broker, "t", away, [b"old"])
        restart_without_d2(broker, tmp_path)
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        admin.delete_topics(["t"])["t"].result(60)
        create(broker, "t", 2)
        produce(broker, "t", away, [b"new"])
        restart_with_d2(broker, tmp_path)
        assert consume(broker, "t", away, 1) == [b"new"]
        (stray,) = tmp_path.glob("d2/*-stray")
        assert stray.name.startswith(f"t-{away}.") and b"old" in (stray / f"{0:020d}.log").read_bytes()
        assert f"stray and was renamed folder={tmp_path}/d2/t-{away} to={stray}" in broker.log_text()


def refused(broker: Broker, *overrides: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "kafka_cy", "server", "--override", "listeners=PLAINTEXT://127.0.0.1:0"]
    command += ["--override", "kafkacy.metrics.listen=", "--override", "kafkacy.lag.listen=", "--log-level", "warning"]
    for override in overrides:
        command += ["--override", override]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stderr


def test_refusals_are_one_sentence(tmp_path: Path) -> None:
    with broker_with_dirs(tmp_path) as broker:
        for dirs in (f"{tmp_path}/d1", f"{tmp_path}/other,{tmp_path}/d2"):
            code, text = refused(broker, f"log.dirs={dirs}")
            assert code == 3 and "another broker" in text and text.count("\n") == 1, text
    code, text = refused(broker, f"log.dirs={tmp_path}/d2", "node.id=5")
    assert code == 3 and "belongs to broker 1" in text and text.count("\n") == 1, text
