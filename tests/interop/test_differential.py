"""Sends the same raw requests to Apache Kafka 4.3.1 and to our broker: the responses must be the same.

Ids, times, ports and folders are normalized first. KAFKA_BOOTSTRAP_REAL=host:port,folder,folder uses a running, empty
Apache Kafka with these two log directories instead of starting one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from apache_kafka import start_apache_kafka, wait_for_answers, wait_for_topics
from differential_cases import BROKER, Case, State, alter
from differential_table import TABLE
from foreign_tools import require
from java_tools import KAFKA_JARS
from kio.index import UnknownAPIKey, UnknownEntity, load_request_schema
from raw_client import Closed, RawClient

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

CREATE_TOPICS, ALTER_REPLICA_LOG_DIRS = 19, 34
SETTLE_S = 0.4  # Kafka's broker follows its controller within this time
CONFIG = {
    "auto.create.topics.enable": "true",
    "group.initial.rebalance.delay.ms": "0",
    "group.streams.initial.rebalance.delay.ms": "0",
    "group.streams.assignment.interval.ms": "0",
    "offsets.topic.num.partitions": "5",
}
# Intentional differences, each with its reason.
KNOWN = {
    "metadata null name": "Kafka fails over it with UNKNOWN_SERVER_ERROR",
    "alter bad operation": "Kafka fails over it with UNKNOWN_SERVER_ERROR",
    "produce bad, then good": "Kafka appends the good batch, and answers the error of the mention without one",
    "describe partitions bad name": "Kafka fails over it with UNKNOWN_SERVER_ERROR",
    "grow to 10004": "Kafka fails over it with UNKNOWN_SERVER_ERROR",
    "offset fetch group twice": "a group named again gets INVALID_REQUEST, so that a small request gets no huge response",
    "describe producers twice": "a partition named again is described once, so that a small request gets no huge response",
    "describe group twice": "a group named again is described once, so that a small request gets no huge response",
}
Answers = dict[str, Any]


def wait_for_moves(client: RawClient, moves: list[dict[str, Any]], deadline_s: float = 60) -> None:
    """Wait until the partitions of an AlterReplicaLogDirs are only in their new directories."""
    wanted = sorted((move["path"], topic["name"]) for move in moves for topic in move["topics"])
    names = {name for _, name in wanted}
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        found = client.request(35, 4, {"topics": None})["results"]
        if wanted == sorted(
            (each["log_dir"], topic["name"]) for each in found for topic in each["topics"] if topic["name"] in names
        ):
            return
        time.sleep(0.05)
    raise AssertionError(f"not moved: {moves}")


def order(value: Any) -> tuple[str, str]:
    """Sort the elements of an array, because the order of Kafka's hash maps has no meaning."""
    name = value.get("name", value.get("topic", "")) if isinstance(value, dict) else ""
    return str(name), json.dumps(value, default=str, sort_keys=True)


class Normal:
    """Make the responses of one broker comparable."""

    UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    NUMBERS = ("total_bytes", "usable_bytes", "session_id", "producer_id", "last_timestamp", "log_append_time")
    DROPPED = ("throttle_time", "controller_id")  # KRaft answers with a random broker as the controller

    def __init__(self, state: State, port: int) -> None:
        self._state = state
        self._port = port

    def value(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self.value(each, name) for name, each in value.items() if name not in self.DROPPED}
        if isinstance(value, list | tuple):
            each_normal = [self.value(each, key) for each in value]
            return sorted(each_normal, key=order)
        if isinstance(value, uuid.UUID):
            known = [name for name, topic_id in self._state.topic_ids.items() if topic_id == value]
            return f"<id of {known[0]}>" if known else f"<{key}>"
        if key == "cluster_id":
            return "<cluster>"
        if key == "port" and value == self._port:
            return "<port>"
        if key in self.NUMBERS and isinstance(value, int) and value >= 0:
            return f"<{key}>"
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        for index, folder in enumerate(self._state.log_dirs):
            text = text.replace(folder, f"<log dir {index}>")
        return self.UUID.sub("<uuid>", text)


def is_flexible(case: Case) -> bool:
    """Whether the request header has tagged fields; False for versions that do not exist."""
    try:
        return bool(load_request_schema(case.api_key, case.version).__flexible__)
    except (UnknownAPIKey, UnknownEntity):
        return False


def answers_of(address: str, log_dirs: list[str], settle_s: float) -> Answers:
    """The responses of the broker to the whole table."""
    state = State(log_dirs)
    client = RawClient(address)
    normal = Normal(state, client.port)
    answers: Answers = {}
    wait_for_answers(address)
    for case in TABLE:
        values = case.values(state) if callable(case.values) else case.values
        try:
            if case.body is not None:
                # Check only whether there is a response; the other cases compare the responses to real requests.
                client.request_bytes(case.api_key, case.version, case.body, flexible=is_flexible(case))
                answers[case.name] = "answered"
                continue
            answer: Any = client.request(case.api_key, case.version, values)
            if case.save:
                case.save(state, answer)
            answers[case.name] = normal.value(case.view(answer) if case.view else answer)
        except Closed:
            answers[case.name] = "closed"
        if case.settle and case.api_key == CREATE_TOPICS:
            wait_for_topics(client, [topic["name"] for topic in values["topics"]])
        elif case.settle and case.api_key == ALTER_REPLICA_LOG_DIRS:
            wait_for_moves(client, values["dirs"])
        elif case.settle:
            time.sleep(settle_s)
    client.close()
    return answers


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    folder = tmp_path_factory.mktemp("ours")
    dirs = [str(folder / "d1"), str(folder / "d2")]
    with Broker({**CONFIG, "node.id": 1, "log.dirs": ",".join(dirs)}, folder=folder) as broker:
        # Formatting a KRaft cluster stores this default.
        RawClient(broker.bootstrap_servers).request(44, 1, alter(BROKER, "", ("min.insync.replicas", 0, "1")))
        return answers_of(broker.bootstrap_servers, dirs, 0.05)


@pytest.fixture(scope="module")
def kafkas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    other = os.environ.get("KAFKA_BOOTSTRAP_REAL")
    if other:
        address, *dirs = other.split(",")
        yield answers_of(address, dirs, SETTLE_S)
        return
    require(shutil.which("java"), "java")
    require(KAFKA_JARS.is_dir(), f"Apache Kafka in {KAFKA_JARS}")
    folder = tmp_path_factory.mktemp("kafka")
    port, controller_port = free_ports(2)
    process = start_apache_kafka(folder, port, controller_port, CONFIG)
    try:
        yield answers_of(f"127.0.0.1:{port}", [str(folder / "d1"), str(folder / "d2")], SETTLE_S)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_same_answer(case: Case, kafkas: Answers, ours: Answers) -> None:
    if case.name in KNOWN:
        assert ours[case.name] != kafkas[case.name], "no difference any more"
        pytest.xfail(KNOWN[case.name])
    assert ours[case.name] == kafkas[case.name]
