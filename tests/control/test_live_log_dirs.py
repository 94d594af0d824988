"""Several log directories on a live broker: moves, failures at start and at run time, refused requests."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from differential_cases import BROKER, alter, new_topic
from live_client import Client, string
from raw_client import RawClient

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


def test_the_log_tells_of_a_partition_that_was_removed_under_the_broker(tmp_path: Path) -> None:
    broker = Broker({"log.dirs": f"{tmp_path}/data"}, folder=tmp_path)
    with broker:
        create(broker, "gone", 1)
        produce(broker, "gone", 0, [b"x"])
        shutil.rmtree(tmp_path / "data/gone-0")
        produce(broker, "gone", 0, [b"y"])
        broker.terminate()
        stopped = [line for line in broker.log_text().splitlines() if "logs could not be closed" in line]
        assert len(stopped) == 1 and "WARNING" in stopped[0] and f"log_dir={tmp_path}/data" in stopped[0], broker.log_text()
        assert "logs=1" in stopped[0] and "gone-0" in stopped[0]
        broker.start()
        assert "WARNING a partition had no log: an empty one was created partition=gone-0" in broker.log_text()


CORDONED = "cordoned.log.dirs"
INVALID_REPLICATION_FACTOR, INVALID_REPLICA_ASSIGNMENT, INVALID_CONFIG, INVALID_REQUEST = 38, 39, 40, 42


def cordon(client: RawClient, text: str) -> int:
    answer = client.request(44, 1, alter(BROKER, "1", (CORDONED, 0, text)))
    return int(answer["responses"][0]["error_code"])


def create_error(client: RawClient, name: str, partitions: int = 1) -> int:
    return int(client.request(19, 7, new_topic(name, partitions))["topics"][0]["error_code"])


def move_error(client: RawClient, path: Path, topic: str) -> int:
    answer = client.request(34, 2, {"dirs": [{"path": str(path), "topics": [{"name": topic, "partitions": [0]}]}]})
    return int(answer["results"][0]["partitions"][0]["error_code"])


def cordoned(client: RawClient) -> list[bool]:
    return [each["is_cordoned"] for each in client.request(35, 5, {"topics": None})["results"]]


def test_cordoned_directories_get_no_partitions(tmp_path: Path) -> None:
    d1, d2 = tmp_path / "d1", tmp_path / "d2"
    with broker_with_dirs(tmp_path) as broker:
        client = RawClient(broker.bootstrap_servers)
        assert create_error(client, "before", 2) == 0
        assert cordon(client, str(d1)) == 0
        assert create_error(client, "t", 5) == 0
        assert not list(d1.glob("t-*")) and len(list(d2.glob("t-*"))) == 5
        assert move_error(client, d1, "t") == INVALID_REPLICA_ASSIGNMENT
        with urllib.request.urlopen(broker.metrics_url) as answer:
            page = answer.read().decode()
        assert "kafka_log_logmanager_cordonedlogdirectorycount 1.0" in page
        assert f'kafka_log_logmanager_logdirectorycordoned{{logDirectory="\\"{d1}\\""' in page
        assert f"cordoned log directories directories={d1}" in broker.log_text()
    with broker_with_dirs(tmp_path) as broker:  # the setting is stored
        client = RawClient(broker.bootstrap_servers)
        assert cordoned(client) == [True, False]
        assert create_error(client, "u", 3) == 0 and not list(d1.glob("u-*"))
        assert move_error(client, d2, "before") == 0
        wait_until(lambda: not list(d1.glob("before-*")), "the move out of the cordoned directory")
        assert cordon(client, "*") == 0 and create_error(client, "nowhere") == INVALID_REPLICATION_FACTOR
        assert client.request(10, 4, {"key_type": 0, "coordinator_keys": ["g"]})["coordinators"][0]["error_code"] == 15
        assert cordon(client, "") == 0 and create_error(client, "v", 3) == 0 and len(list(d1.glob("v-*"))) == 3


def test_an_older_cluster_knows_no_cordoned_directories(tmp_path: Path) -> None:
    """As in Kafka with metadata.version 4.2-IV1: a file cordons them for the broker; the controller creates partitions."""
    older = {"kafkacy.initial.features": "metadata.version=29", CORDONED: str(tmp_path / "d1")}
    with broker_with_dirs(tmp_path, **older) as broker:
        client = RawClient(broker.bootstrap_servers)
        assert cordoned(client) == [False, False]
        assert create_error(client, "t", 2) == 0 and len(list((tmp_path / "d2").glob("t-*"))) == 2
        assert move_error(client, tmp_path / "d1", "t") == INVALID_REPLICA_ASSIGNMENT
        assert cordon(client, str(tmp_path / "d2")) == INVALID_CONFIG
        assert cordon(client, "/nowhere") == INVALID_REQUEST
        upgrade = [{"feature": "metadata.version", "max_version_level": 30, "upgrade_type": 1}]
        client.request(57, 2, {"timeout": 1000, "feature_updates": upgrade, "validate_only": False})
        assert cordoned(client) == [True, False] and cordon(client, "*") == 0
        assert create_error(client, "nowhere") == INVALID_REPLICATION_FACTOR
