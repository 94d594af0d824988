"""`kafka-cy doctor` finds what newcomers stumble on, and says what to do."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import check, tool
from confluent_kafka import Consumer, Producer

import kafka_cy
from kafka_cy.config import BrokerConfig
from kafka_cy.server import check_config
from kafka_cy.testing.broker import free_ports
from kafka_cy.tools.doctor import clock, cluster, machine
from kafka_cy.tools.doctor.check import FAIL, OK, WARN, Check
from kafka_cy.tools.doctor.port_owner import owner_of_port
from kafka_cy.tools.exposition import Samples
from tests.waiting import wait_until

Found = list[tuple[str, str, str, str]]


@pytest.fixture(scope="module")
def broker() -> Iterator[kafka_cy.Broker]:
    with kafka_cy.Broker({"num.partitions": 1}) as running:
        yield running


def doctor(address: str, *arguments: str) -> tuple[int, Found]:
    done = tool(address, "doctor", "-o", "json", *arguments)
    rows = json.loads(done.stdout)
    assert done.returncode == int(any(row["status"] == FAIL for row in rows)), done.stderr
    for row in rows:
        assert (row["remedy"] is None) == (row["status"] == OK), row
    return done.returncode, [(row["status"], row["check"], row["finding"], row["remedy"] or "") for row in rows]


def of(found: Found, name: str) -> Found:
    return [row for row in found if row[1] == name]


def sent(broker: kafka_cy.Broker, topic: str, *, timestamp_ms: int = 0) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for _ in range(3):
        producer.produce(topic, b"x", timestamp=timestamp_ms)
    assert producer.flush(60) == 0


def test_a_healthy_broker(broker: kafka_cy.Broker) -> None:
    code, found = doctor(broker.bootstrap_servers, "--metrics", broker.metrics_url)
    names = {name for _, name, _, _ in found}
    assert names >= {
        "bootstrap",
        "advertised listener",
        "versions",
        "disk",
        "clock",
        "groups",
        "partitions",
        "descriptors",
    }
    # The disk of the machine that runs the test may be full.
    assert [row for row in found if row[0] != OK and row[1] != "disk"] == []
    assert code == int(any(row[0] == FAIL for row in of(found, "disk")))
    text = check(broker.bootstrap_servers, "doctor") if code == 0 else ""
    assert code or text.startswith("STATUS\tCHECK\tFINDING\tREMEDY\nok\tbootstrap\t")


def test_settings_records_and_groups_that_cannot_work(broker: kafka_cy.Broker) -> None:
    where = broker.bootstrap_servers
    check(where, "topics", "create", "strict", "--config", "min.insync.replicas=2")
    sent(broker, "later", timestamp_ms=int(time.time() * 1000) + 1_800_000)
    check(where, "consume", "-t", "later", "-g", "left", "--from-beginning", "-c", "1")
    code, found = doctor(where)
    assert code == 1
    ((status, _, finding, remedy),) = of(found, "topics")
    assert (status, "strict (2, 1 replicas)" in finding, "min.insync.replicas=1" in remedy) == (FAIL, True, True)
    ((status, _, finding, _),) = of(found, "record times")
    assert status == WARN and "later-0 (1," in finding
    assert of(found, "groups") == [
        (
            WARN,
            "groups",
            "left has no active members, and a lag of 2 records",
            "start its consumers, or delete it: kafka-cy groups delete left",
        )
    ]
    check(where, "topics", "delete", "strict", "later")
    check(where, "groups", "delete", "left")


def test_a_group_whose_members_do_not_commit(broker: kafka_cy.Broker) -> None:
    where = broker.bootstrap_servers
    sent(broker, "slow")
    settings = {
        "bootstrap.servers": where,
        "group.id": "stuck",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    consumer = Consumer(settings)
    consumer.subscribe(["slow"])
    message = consumer.poll(60)
    assert message is not None and message.error() is None
    consumer.commit(message, asynchronous=False)
    _, found = doctor(where, "--watch", "0.1")
    ((status, _, finding, remedy),) = of(found, "groups")
    assert status == WARN and finding == "stuck has members and lag, but committed nothing within 0.1 s"
    assert "auto.commit.interval.ms" in remedy
    stop = threading.Event()

    def progress() -> None:  # offsets that change between the two looks
        offset = 0
        while not stop.is_set():
            offset = (offset + 1) % 3
            consumer.commit(offsets=[_place("slow", offset)], asynchronous=False)

    thread = threading.Thread(target=progress)
    thread.start()
    try:
        wait_until(lambda: of(doctor(where, "--watch", "0.1")[1], "groups")[0][0] == OK, "progress")
    finally:
        stop.set()
        thread.join()
        consumer.close()


def _place(topic: str, offset: int) -> Any:
    from confluent_kafka import TopicPartition

    return TopicPartition(topic, 0, offset)


def test_an_advertised_address_that_nobody_can_reach() -> None:
    port, refused = free_ports(2)
    config = {
        "listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{refused}",
    }
    broker = kafka_cy.Broker(config)
    broker.port, (broker.metrics_port, broker.lag_port) = port, free_ports(2)
    with broker:
        code, found = doctor(f"127.0.0.1:{port}")
    ((status, _, finding, remedy),) = of(found, "advertised listener")
    assert (code, status) == (1, FAIL)
    assert finding == f"broker 1 advertises 127.0.0.1:{refused}, but from here: connection refused"
    assert "advertised.listeners" in remedy and "docs/connecting.md" in remedy


def test_before_the_first_start(tmp_path: Path) -> None:
    free = free_ports(3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = tmp_path / "server.properties"
        config.write_text(
            f"listeners=PLAINTEXT://127.0.0.1:{free[0]}\nlog.dirs={tmp_path}/data\nnum.partitons=3\n"
            f"kafkacy.metrics.listen=127.0.0.1:{port}\nkafkacy.lag.listen=127.0.0.1:{free[1]}\n"
        )
        code, found = doctor(f"127.0.0.1:{free[2]}", str(config))
    assert code == 1
    ((status, _, finding, remedy),) = of(found, "bootstrap")
    assert status == FAIL and finding.endswith("connection refused") and "kafka-cy server" in remedy
    ((status, _, finding, _),) = of(found, "configuration")
    assert status == WARN and "did you mean num.partitions?" in finding
    assert [row[0] for row in of(found, "ports")] == [OK, FAIL, OK]
    assert "kafkacy.metrics.listen) is in use by process" in of(found, "ports")[1][2]
    assert of(found, "data folder")[0][:3] == (
        OK,
        "data folder",
        f"{tmp_path}/data does not exist yet, and can be created",
    )
    assert not (tmp_path / "data").exists()
    config.write_text("zookeeper.connect=localhost:2181\nzookeeper.ssl.crl.enable=true\n")
    _, found = doctor(f"127.0.0.1:{free[2]}", str(config))
    assert of(found, "configuration")[0][0] == FAIL and not of(found, "ports")


@pytest.mark.parametrize("key", ["kafkacy.metrics.listen", "kafkacy.lag.listen"])
def test_a_page_address_that_is_none(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    checks, config = machine.check_config(None, {key: "9404"})
    assert config is None and [each.status for each in checks] == [FAIL] and key in checks[0].finding
    assert check_config.run(None, {key: "9404"}, printed=False) == 2
    assert f"bad configuration: Invalid value 9404 for configuration {key}" in capsys.readouterr().err


def test_a_data_folder_that_is_a_file_and_an_address_of_another_machine(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    overrides = (f"log.dirs={tmp_path}/data", "listeners=PLAINTEXT://192.0.2.1:9092", "kafkacy.metrics.listen=")
    words = [word for each in overrides for word in ("--override", each)]
    _, found = doctor(f"127.0.0.1:{free_ports(1)[0]}", *words)
    assert of(found, "data folder")[0][:3] == (FAIL, "data folder", f"{tmp_path}/data is not a folder")
    assert of(found, "ports")[0][0] == FAIL and "no network interface has this address" in of(found, "ports")[0][3]


def test_the_configuration_of_the_running_broker(broker: kafka_cy.Broker) -> None:
    overrides = (
        f"log.dirs={broker.data_dir}",
        f"listeners=PLAINTEXT://{broker.bootstrap_servers}",
        f"kafkacy.metrics.listen=127.0.0.1:{broker.metrics_port}",
        f"kafkacy.lag.listen=127.0.0.1:{broker.lag_port}",
    )
    words = [word for each in overrides for word in ("--override", each)]
    _, found = doctor(broker.bootstrap_servers, *words)
    assert [row[2].partition(": ")[2] for row in of(found, "ports")] == ["the running broker has it"] * 3
    assert of(found, "data folder")[0][2].startswith(f"{broker.data_dir} is in use by process {broker.pid} (")
    assert machine.lock_holder(broker.data_dir / ".lock") == broker.pid == owner_of_port(broker.port)


def test_nothing_is_asked_of_a_wrong_port(broker: kafka_cy.Broker) -> None:
    code, found = doctor(f"127.0.0.1:{broker.metrics_port}")
    ((status, _, finding, remedy),) = of(found, "bootstrap")
    assert (code, status) == (1, FAIL) and finding.endswith("it is an HTTP server, not a Kafka broker")
    assert "not that of the metrics" in remedy
    assert not of(found, "ports")  # a process has the port: this is no first start


def test_metrics_that_were_named_and_do_not_answer(broker: kafka_cy.Broker) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/metrics"
    ((status, _, finding, _),) = of(doctor(broker.bootstrap_servers, "--metrics", url)[1], "metrics")
    assert (status, finding) == (WARN, f"No broker answers at {url}")


@pytest.mark.parametrize(("ahead_s", "finding"), [(0, "agrees"), (90, "ahead of"), (-4000, "behind")])
def test_a_clock_that_differs(ahead_s: int, finding: str) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=ahead_s)
            self.send_header("Date", moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
            self.end_headers()

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        (found,) = clock.check_clock(f"http://127.0.0.1:{server.server_port}/metrics")
        thread.join()
    assert finding in found.finding and (found.status == OK) == (ahead_s == 0)


def test_partitions_without_leader_or_replicas() -> None:
    def partition(leader: int, replicas: int, isrs: int) -> SimpleNamespace:
        return SimpleNamespace(leader=leader, replicas=range(replicas), isrs=range(isrs))

    topics = {
        "a": SimpleNamespace(partitions={0: partition(1, 3, 3), 1: partition(1, 3, 2)}),
        "b": SimpleNamespace(partitions={index: partition(-1, 1, 0) for index in range(7)}),
    }
    offline, lacking = cluster.check_partitions(SimpleNamespace(topics=topics))
    assert offline == Check(
        FAIL, "partitions", "7 are offline: b-0, b-1, b-2, b-3, b-4 and 2 more", cluster.OFFLINE_REMEDY
    )
    assert (lacking.status, lacking.finding) == (WARN, "1 are under-replicated: a-1")


@pytest.mark.parametrize(("usable", "status"), [(900, OK), (149, WARN), (49, FAIL), (0, FAIL)])
def test_disks(usable: int, status: str) -> None:
    found = cluster.disk_check("/data of broker 1", 1000 << 30, usable << 30)
    assert (found.status, bool(found.remedy)) == (status, status != OK)


@pytest.mark.parametrize(
    ("limit", "used", "status"), [(100_000, 10, OK), (1024, 10, WARN), (10_000, 7500, WARN), (10_000, 9500, FAIL)]
)
def test_descriptors(limit: int, used: int, status: str) -> None:
    samples = Samples()
    samples.add_text(f"process_max_fds {limit}\nprocess_open_fds {used}\n")
    (found,) = machine.check_descriptors(samples)
    assert (found.status, bool(found.remedy)) == (status, status != OK)


def test_a_default_port_that_is_taken_is_no_failure() -> None:
    """The broker takes another one for its pages, unless its user has chosen the port."""
    config = BrokerConfig({"listeners": f"PLAINTEXT://127.0.0.1:{free_ports(1)[0]}"})
    chosen = BrokerConfig({**config.static, "kafkacy.metrics.listen": "127.0.0.1:9404"})
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # another process has it already
            stack.enter_context(socket.create_server(("127.0.0.1", 9404)))
        assert [check.status for check in machine.check_ports(config, set())][:2] == [OK, WARN]
        assert [check.status for check in machine.check_ports(chosen, set())][:2] == [OK, FAIL]
