"""The same load on Apache Kafka 4.3.1 and on our broker: both count the same values as the clients.

Kafka's JmxTool reads its values over JMX; they are renamed by jmx_exporter's rules.
"""

from __future__ import annotations

import re
import shutil
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from apache_kafka import start_apache_kafka, wait_for_answers, wait_for_topics
from confluent_kafka import Consumer, Producer, TopicPartition
from differential_cases import (
    batch,
    commit,
    fetch_values,
    heartbeat,
    new_topic,
    produce_values,
    with_field,
)
from foreign_tools import require
from java_tools import KAFKA_JARS, JavaTools
from prometheus_client.parser import text_string_to_metric_families as parse_text
from raw_client import RawClient

from kafka_cy.records import Record, build_batch
from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

PRODUCE, FETCH = 0, 1
CONFIG = {"auto.create.topics.enable": "false", "offsets.topic.num.partitions": "5"}
TOPICS = ("plain", "keyed", "clients")
TOPIC_METRICS = "kafka_server_brokertopicmetrics_"
REQUESTS = "kafka_network_requestmetrics_requests_total"
NOT_COMPARED = {"BrokerHeartbeat"}  # Kafka's broker asks its controller
KAFKAS_OWN_TOPICS = {"__cluster_metadata"}
TIMES = (
    "requestqueuetimems",
    "localtimems",
    "remotetimems",
    "responsequeuetimems",
    "responsesendtimems",
    "totaltimems",
)
Series = tuple[str, frozenset[tuple[str, str]]]
Numbers = dict[Series, float]


def series(name: str, **labels: str) -> Series:
    return name, frozenset(labels.items())


class Counted:
    """What the clients of one broker have sent and received."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.body_bytes: dict[str, set[int]] = {}
        self.messages: Counter[str] = Counter()
        self.bytes_in: Counter[str] = Counter()
        self.bytes_out: Counter[str] = Counter()
        self.before: Numbers = {}
        self.raw: Numbers = {}  # after the raw requests
        self.after: Numbers = {}  # after librdkafka too

    def grown(self, name: str, **labels: str) -> float:
        """The increase of a counter during the raw requests."""
        key = series(name, **labels)
        return self.raw.get(key, 0) - self.before.get(key, 0)

    def grown_in_all(self, name: str, **labels: str) -> float:
        """The increase of a counter during all requests."""
        key = series(name, **labels)
        return self.after.get(key, 0) - self.before.get(key, 0)


class CountingClient(RawClient):
    """Counts the bytes and requests that actually cross the socket."""

    def __init__(self, address: str, counted: Counted) -> None:
        super().__init__(address)
        self._counted = counted

    def request_bytes(self, api_key: int, version: int, body: bytes, *, flexible: bool) -> bytes:
        name = {PRODUCE: "Produce", FETCH: "FetchConsumer", 8: "OffsetCommit", 12: "Heartbeat", 18: "ApiVersions"}[
            api_key
        ]
        self._counted.requests[name, version] += 1
        self._counted.body_bytes.setdefault(name, set()).add(len(body))
        return super().request_bytes(api_key, version, body, flexible=flexible)

    def produce(self, topic: str, records: bytes, messages: int, version: int = 9, **more: int) -> int:
        """Send one batch; return its error code. Only appended records are counted."""
        answer = self.request(PRODUCE, version, produce_values(topic, records, **more))
        code: int = answer["responses"][0]["partition_responses"][0]["error_code"]
        if code == 0:
            self._counted.messages[topic] += messages
            self._counted.bytes_in[topic] += len(records)
        return code

    def fetch(self, topic: str, offset: int, version: int = 11, **more: object) -> int:
        """Fetch once; return the number of record bytes."""
        answer = self.request(FETCH, version, fetch_values(topic, offset, **more))
        size = sum(len(p["records"] or b"") for t in answer["responses"] for p in t["partitions"])
        self._counted.bytes_out[topic] += size
        return size


def keyless(count: int) -> bytes:
    return build_batch([Record(timestamp_ms=time.time_ns() // 1_000_000, value=b"v") for _ in range(count)])


def raw_load(address: str, counted: Counted) -> None:
    """Every kind of produce and fetch that the counters distinguish."""
    client = CountingClient(address, counted)
    client.request(18, 3, {"client_software_name": "raw", "client_software_version": "1"})
    for version in (3, 7, 9, 12):
        assert client.produce("plain", batch(5), 5, version) == 0
    assert client.produce("plain", batch(100, compression="gzip"), 100, partition=1) == 0
    assert client.produce("plain", batch(1), 1, acks=1, partition=1) == 0
    assert client.produce("keyed", batch(7), 7) == 0
    assert client.produce("keyed", keyless(3), 3) == 87
    assert client.produce("plain", build_batch([Record(value=b"x" * 3000)]), 1) == 10
    assert client.produce("plain", batch(5)[:-1] + b"?", 5) == 2
    assert client.produce("nowhere", batch(5), 5) == 3
    assert client.produce("plain", batch(5), 5, partition=9) == 3
    assert client.produce("plain", batch(2), 2, acks=5) == 21
    assert client.produce("plain", batch(2) + batch(2), 4) == 87
    assert client.produce("plain", batch(2)[:-5], 2) in (2, 87)
    assert client.produce("plain", b"", 0) == 87
    assert client.produce("plain", with_field(batch(2), 16, b"\1"), 2) == 87
    assert client.produce("plain", with_field(batch(2), 16, b"\3"), 2) in (2, 87)
    assert client.produce("__consumer_offsets", batch(2), 2) == 17
    again = batch(2, producer_id=7, producer_epoch=0, base_sequence=0)
    assert client.produce("plain", again, 2) == 0
    assert client.produce("plain", again, 2) == 0  # not appended again, but it was received
    assert client.produce("plain", batch(2, producer_id=7, producer_epoch=0, base_sequence=9), 2) == 45
    assert client.fetch("plain", 0) > 0
    assert client.fetch("plain", 10, 4) > 0
    assert client.fetch("plain", 0, entry={"partition_max_bytes": 1}) > 0  # the first batch is returned whole
    assert client.fetch("plain", 22) == 0
    assert client.fetch("plain", 99) == 0
    assert client.fetch("nowhere", 0) == 0
    assert client.fetch("plain", 22, max_wait=50) == 0  # waits until its time limit
    client.request(8, 8, commit("g", 3, topic="plain"))
    client.request(12, 4, heartbeat("nogroup", "nobody", 1))
    client.close()


def librdkafka_load(address: str, counted: Counted) -> None:
    producer = Producer({"bootstrap.servers": address, "linger.ms": 5})
    for i in range(3000):
        producer.produce("clients", b"value %d" % i, b"key", partition=i % 3)
        producer.poll(0)
    assert producer.flush(30) == 0
    counted.messages["clients"] += 3000
    consumer = Consumer({"bootstrap.servers": address, "group.id": "clients", "enable.auto.commit": False})
    consumer.assign([TopicPartition("clients", i, 0) for i in range(3)])
    got = 0
    while got < 3000:
        got += len(consumer.consume(3000 - got, 5))
    consumer.close()


def measured(address: str, read: Callable[[], Numbers]) -> Counted:
    """Create the topics, run the load, and read the counters before and after."""
    wait_for_answers(address)
    setup = RawClient(address)
    setup.request(19, 5, new_topic("plain", 2, configs={"max.message.bytes": "2000", "retention.ms": "-1"}))
    setup.request(19, 5, new_topic("keyed", configs={"cleanup.policy": "compact"}))
    setup.request(19, 5, new_topic("clients", 3))
    wait_for_topics(setup, list(TOPICS))
    counted = Counted()
    counted.before = read()
    raw_load(address, counted)
    deadline = time.monotonic() + 20
    while True:
        counted.raw = read()
        # A request is timed after its response has been sent, which may be after the client has received it.
        if counted.grown("kafka_network_requestmetrics_totaltimems_count", request="Heartbeat") == 1:
            break
        assert time.monotonic() < deadline
    librdkafka_load(address, counted)
    counted.after = read()
    return counted


@pytest.fixture(scope="module")
def ours() -> Counted:
    with Broker({**CONFIG, "num.network.threads": 3}) as broker:

        def read() -> Numbers:
            with urllib.request.urlopen(broker.metrics_url, timeout=20) as answer:
                families = list(parse_text(answer.read().decode()))
            return {series(sample.name, **sample.labels): sample.value for each in families for sample in each.samples}

        return measured(broker.bootstrap_servers, read)


@pytest.fixture(scope="module")
def kafkas(java: JavaTools, tmp_path_factory: pytest.TempPathFactory) -> Counted:
    require(shutil.which("java"), "java")
    require(KAFKA_JARS.is_dir(), f"Apache Kafka in {KAFKA_JARS}")
    folder: Path = tmp_path_factory.mktemp("kafka")
    port, controller_port, jmx_port = free_ports(3)
    management = "-Dcom.sun.management.jmxremote"
    options = [f"{management}.port={jmx_port}", f"{management}.rmi.port={jmx_port}", f"{management}.host=127.0.0.1"]
    options += [f"{management}.authenticate=false", f"{management}.ssl=false", "-Djava.rmi.server.hostname=127.0.0.1"]
    url = f"service:jmx:rmi:///jndi/rmi://127.0.0.1:{jmx_port}/jmxrmi"
    process = start_apache_kafka(folder, port, controller_port, CONFIG, options)

    def read() -> Numbers:
        where = ["--object-name", "kafka.*:*", "--attributes", "Count,Value,Min,Max"]
        out = java.check("JmxTool", "--one-time", "--jmx-url", url, "--report-format", "properties", *where).out
        return dict(filter(None, map(exported, out.splitlines())))

    try:
        return measured(f"127.0.0.1:{port}", read)
    finally:
        process.kill()
        process.wait()


def exported(line: str) -> tuple[Series, float] | None:
    """A line of JmxTool (`domain:type=T,name=N,key=value:Attribute=number`), renamed by jmx_exporter's rules."""
    found = re.fullmatch(r"kafka\.(\w+):type=([\w-]+),name=(\w+)((?:,[\w-]+=[^,:]*)*):(\w+)=(-?[\d.]+(?:E\d+)?)", line)
    if found is None:
        return None
    domain, kind, name, keys, attribute, number = found.groups()
    labels = dict(pair.split("=", 1) for pair in keys.split(",")[1:])
    if attribute == "Count":
        name = re.sub("PerSec$", "", name) + ("_total" if name.endswith("PerSec") else "_count")
    elif attribute != "Value":
        name += f"_{attribute}"
    return series(f"kafka_{domain}_{kind}_{name}".lower(), **labels), float(number)


def test_messages_and_bytes_are_what_the_clients_counted(ours: Counted, kafkas: Counted) -> None:
    for each in (kafkas, ours):
        for topic in ("plain", "keyed"):
            for name, number in (
                ("messagesin", each.messages),
                ("bytesin", each.bytes_in),
                ("bytesout", each.bytes_out),
            ):
                assert each.grown(f"{TOPIC_METRICS}{name}_total", topic=topic) == number[topic], (name, topic)
        assert each.grown_in_all(TOPIC_METRICS + "messagesin_total", topic="clients") == each.messages["clients"]


def test_sums_over_all_topics_are_the_sums_of_the_topics(ours: Counted, kafkas: Counted) -> None:
    for each in (kafkas, ours):
        for name in ("messagesin", "bytesin", "bytesout"):
            name = f"{TOPIC_METRICS}{name}_total"
            topics = (*TOPICS, "__consumer_offsets")
            assert each.grown_in_all(name) == sum(each.grown_in_all(name, topic=topic) for topic in topics) > 0


def test_requests_are_what_the_clients_counted(ours: Counted, kafkas: Counted) -> None:
    for each in (kafkas, ours):
        for (request, version), count in each.requests.items():
            assert each.grown(REQUESTS, request=request, version=str(version)) == count
        for request in {request for request, _ in each.requests}:
            total = sum(count for (name, _), count in each.requests.items() if name == request)
            for time_name in TIMES:
                counted = each.grown(f"kafka_network_requestmetrics_{time_name}_count", request=request)
                assert counted == total, (request, time_name)


@pytest.mark.parametrize(
    "family",
    ["server_brokertopicmetrics_", "network_requestmetrics_", "log_log_", "cluster_partition_"],
)
def test_counters_move_as_kafkas(ours: Counted, kafkas: Counted, family: str) -> None:
    differences = {}
    moved = 0
    both = {name for name, _ in kafkas.raw} & {name for name, _ in ours.raw}
    for name, labels in kafkas.raw.keys() | ours.raw.keys():
        known = dict(labels)
        if name not in both or not name.startswith(f"kafka_{family}") or "quantile" in known:
            continue
        if known.get("request") in NOT_COMPARED or known.get("topic", "") in KAFKAS_OWN_TOPICS:
            continue
        pair = ours.grown(name, **known), kafkas.grown(name, **known)
        moved += pair[1] != 0
        if pair[0] != pair[1]:
            differences[name, *sorted(known.items())] = pair
    assert differences == {}
    assert moved or family == "cluster_partition_"


def test_request_bytes_are_those_of_the_body(ours: Counted, kafkas: Counted) -> None:
    name = "kafka_network_requestmetrics_requestbytes"
    (size,) = ours.body_bytes["Heartbeat"]
    assert kafkas.raw[series(name + "_max", request="Heartbeat")] == size
    assert ours.raw[series(name, request="Heartbeat", quantile="0.50")] == pytest.approx(size, rel=0.07)
