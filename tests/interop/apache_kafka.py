"""A node of Apache Kafka 4.3.1 for comparison."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from differential_cases import list_offsets
from foreign_tools import HERE
from java_tools import KAFKA_JARS
from raw_client import Closed, RawClient

KRAFT = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
}


def java(*arguments: str) -> list[str]:
    """The command that runs a main class from the jars."""
    log = f"-Dlog4j2.configurationFile={HERE / 'kafka' / 'log4j2.properties'}"
    return ["java", "-Xmx1g", "-XX:TieredStopAtLevel=1", log, "-cp", f"{KAFKA_JARS}/*", *arguments]


def start_apache_kafka(
    folder: Path, port: int, controller_port: int, more: Mapping[str, str], jvm_options: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Format and run one node in KRaft mode; log directories are `d1` and `d2` in the folder."""
    address = f"PLAINTEXT://127.0.0.1:{port}"
    config = {
        **KRAFT,
        **more,
        "listeners": f"{address},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": address,
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
        "log.dirs": f"{folder}/d1,{folder}/d2",
    }
    path = folder / "server.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in config.items()))
    cluster_id = "kafkaCyDifferentialAAA"
    format_command = java("kafka.tools.StorageTool", "format", "--standalone", "-t", cluster_id, "-c", str(path))
    with open(folder / "kafka.log", "wb") as log:
        subprocess.run(format_command, stdout=log, stderr=log, check=True, timeout=60)
    return restart_apache_kafka(folder, jvm_options)


def restart_apache_kafka(folder: Path, jvm_options: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Run the node whose server.properties is in the folder; its log directories are formatted already."""
    with open(folder / "kafka.log", "ab") as log:
        return subprocess.Popen(
            java(*jvm_options, "kafka.Kafka", str(folder / "server.properties")), stdout=log, stderr=log
        )


def wait_for_answers(address: str, deadline_s: float = 60) -> None:
    """Wait until the broker has registered itself and coordinates groups."""
    client = RawClient(address)
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        try:
            if client.request(3, 12, {"topics": []})["brokers"]:
                found = client.request(10, 4, {"key_type": 0, "coordinator_keys": ["g1"]})["coordinators"][0]
                loaded = client.request(9, 7, {"group_id": "g1", "topics": None})["error_code"]
                ids = client.request(22, 4, {"transactional_id": None, "producer_id": -1, "producer_epoch": -1})
                if found["error_code"] == loaded == ids["error_code"] == 0:
                    client.close()
                    return
        except (OSError, Closed):
            pass
        time.sleep(0.1)
    raise AssertionError(f"{address} does not answer")


def wait_for_topics(client: RawClient, names: list[str], deadline_s: float = 20) -> None:
    """Wait until the broker leads every partition of the topics."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        topics = [{"name": name} for name in names]
        known = client.request(3, 12, {"topics": topics, "allow_auto_topic_creation": False})["topics"]
        requests = [
            list_offsets(-1, topic=topic["name"], partition=partition["partition_index"])
            for topic in known
            for partition in topic["partitions"]
        ]
        found = [client.request(2, 8, request)["topics"][0]["partitions"][0]["error_code"] for request in requests]
        if found and not any(found) and all(topic["partitions"] for topic in known):
            return
        time.sleep(0.05)
    raise AssertionError(f"no leaders of {names}")
