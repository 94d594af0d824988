"""A broker, topics and third-party clients for the interop tests.

KAFKA_BOOTSTRAP=host:port runs them against another broker (a real Apache Kafka: they must pass there too).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from foreign_tools import HERE, require
from java_flink import FLINK_JARS, compile_flink
from java_streams import compile_streams
from java_tools import KAFKA_JARS, JavaTools


@dataclass(frozen=True)
class OtherBroker:
    """A broker that was started elsewhere."""

    bootstrap_servers: str


@pytest.fixture(scope="session")
def kafka_broker_config() -> Mapping[str, object]:
    # Several reactors, even with few cores, so that work passes between reactors.
    # Members of consumer and streams groups come for news every half second.
    return {
        "group.min.session.timeout.ms": 1000,
        "group.consumer.min.heartbeat.interval.ms": 500,
        "group.consumer.heartbeat.interval.ms": 500,
        "group.streams.min.heartbeat.interval.ms": 500,
        "group.streams.heartbeat.interval.ms": 500,
        "group.streams.min.session.timeout.ms": 6000,
        "group.streams.session.timeout.ms": 6000,
        "offsets.topic.num.partitions": 5,
        "num.network.threads": 3,
    }


@pytest.fixture(scope="session")
def bootstrap(request: pytest.FixtureRequest) -> str:
    """The address of the broker under test."""
    other = os.environ.get("KAFKA_BOOTSTRAP")
    return other if other else str(request.getfixturevalue("kafka_broker").bootstrap_servers)


@pytest.fixture(scope="session")
def admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap})


CreateTopic = Callable[..., str]


@pytest.fixture
def create_topic(admin: AdminClient, request: pytest.FixtureRequest) -> Iterator[CreateTopic]:
    """Creates topics with unique names and deletes them after the test."""
    made: list[str] = []

    def create(partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        name = f"{request.node.originalname[:60]}-{uuid.uuid4().hex[:8]}"
        new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        admin.create_topics([new])[name].result(60)
        made.append(name)
        return name

    yield create
    if made:
        admin.delete_topics(made)


@pytest.fixture
def topic(create_topic: CreateTopic) -> str:
    """A new topic with one partition."""
    return create_topic()


@pytest.fixture
def group() -> str:
    """An unused group id."""
    return f"group-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaTools]:
    """Kafka's command line tools."""
    require(shutil.which("java"), "java")
    require(KAFKA_JARS.is_dir(), f"Apache Kafka in {KAFKA_JARS}")
    tools = JavaTools(tmp_path_factory.mktemp("java") / "stderr.log")
    yield tools
    tools.close()


@pytest.fixture(scope="session")
def streams_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled Kafka Streams applications."""
    require(shutil.which("javac"), "javac")
    require(any(KAFKA_JARS.glob("kafka-streams-*.jar")), "Kafka Streams")
    return compile_streams(tmp_path_factory.mktemp("streams-classes"))


@pytest.fixture(scope="session")
def flink_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled job of Apache Flink."""
    require(shutil.which("javac"), "javac")
    require(FLINK_JARS.is_dir(), f"Apache Flink in {FLINK_JARS} (scripts/install-kafka.sh flink)")
    return compile_flink(tmp_path_factory.mktemp("flink-classes"))


@pytest.fixture(scope="session")
def kcat() -> str:
    require(shutil.which("kcat"), "kcat")
    return "kcat"


@pytest.fixture(scope="session")
def node() -> str:
    require(shutil.which("node"), "node")
    require((HERE / "js" / "node_modules" / "kafkajs").is_dir(), "kafkajs")
    return "node"


@pytest.fixture(scope="session")
def go_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled tests; the modules come from Go's module proxy."""
    require(shutil.which("go"), "go")
    binary = tmp_path_factory.mktemp("go") / "interop.test"
    built = subprocess.run(
        ["go", "test", "-c", "-o", str(binary), "."], cwd=HERE / "go", capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return binary
