"""`make stack`: the commands and files of the containers as plain processes."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest

import kafka_cy
from kafka_cy.testing.broker import free_ports
from tests.monitoring.running_stack import RunningStack, get_json, wait_for
from tests.monitoring.tools import ROOT

pytestmark = pytest.mark.slow


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_all_of_it_works_together_and_stops(tmp_path: Path) -> None:
    with RunningStack(tmp_path) as stack:
        listed = subprocess.run(
            [sys.executable, "-m", "kafka_cy", "topics", "list", "--bootstrap-server", stack.bootstrap],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert listed.stderr == ""
        assert subprocess.run(health_check(stack), capture_output=True, timeout=60, check=False).returncode == 0
        wait_for("the broker's metrics", lambda: stack.targets().get("kafka") == "up")
        wait_for("records of the demo load", lambda: metric(stack, "kafka_server_brokertopicmetrics_messagesin_total"))
        rules = [rule for group in stack.prometheus("rules")["groups"] for rule in group["rules"]]
        assert len(rules) > 40
        assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
        assert stack.prometheus("alertmanagers")["activeAlertmanagers"]
        status = get_json(f"http://127.0.0.1:{stack.ports[9093]}/api/v2/status")
        assert "KafkaConsumerGroupEmpty" in status["config"]["original"]
        with socket.create_connection(("127.0.0.1", stack.ports[2181]), timeout=60) as zookeeper:
            zookeeper.sendall(b"ruok")
            assert zookeeper.recv(16) == b"imok"
        assert stack.stop() == 0, stack.logs()
    assert [port for port in stack.ports.values() if is_open(port)] == []


def test_a_cluster_works_together_and_stops(tmp_path: Path) -> None:
    with RunningStack(tmp_path, "--cluster", "--scrape-interval", "1") as stack:

        def members() -> int:
            shown = subprocess.run(
                [sys.executable, "-m", "kafka_cy", "cluster", "-o", "json", "-b", stack.bootstrap],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            return len(json.loads(shown.stdout)["brokers"]) if shown.returncode == 0 else 0  # none may answer yet

        wait_for("three brokers", lambda: members() == 3)
        wait_for("the brokers' metrics", lambda: stack.targets().get("kafka") == "up")

        def total(metrics: str) -> float:
            result = stack.prometheus(f"query?query={quote(f'sum({metrics})')}")["result"]
            return float(result[0]["value"][1]) if result else 0.0

        wait_for("one controller", lambda: total("kafka_controller_kafkacontroller_activecontrollercount") == 1)
        wait_for("replicas in sync", lambda: total('kafka_cluster_partition_insyncreplicascount{topic="orders"}') == 18)
        wait_for("bytes to followers", lambda: total("kafka_server_brokertopicmetrics_replicationbytesout_total") > 0)
        wait_for("groups", lambda: total("kafka_coordinator_group_groupmetadatamanager_numgroupsstable") == 3)
        assert stack.stop() == 0, stack.logs()
    assert [port for port in stack.ports.values() if is_open(port)] == []
    for number in (1, 2, 3):
        assert "INFO stopped" in (tmp_path / f"kafka{number}.log").read_text()


def health_check(stack: RunningStack) -> list[str]:
    """The health check of the image, run against the broker of the stack."""
    found = re.search(r"^HEALTHCHECK .*?CMD (\[.*?\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL)
    assert found
    words: list[str] = json.loads(found[1])
    assert words[0] == "python"
    return [sys.executable, *(word.replace(":9404/", f":{stack.ports[9404]}/") for word in words[1:])]


def metric(stack: RunningStack, name: str) -> float:
    """The largest sample of a metric in Prometheus."""
    series = stack.prometheus(f"query?query={name}")["result"]
    return max((float(each["value"][1]) for each in series), default=0.0)


def signal_process(words: str, signal: str) -> None:
    """Send a signal to the only process with these words in its command line."""
    found = subprocess.run(["pgrep", "-f", "--", words], capture_output=True, text=True, check=True).stdout.split()
    assert len(found) == 1
    subprocess.run(["kill", signal, *found], check=True)


def test_a_killed_broker_raises_an_alert_and_its_return_ends_it(tmp_path: Path) -> None:
    without = [word for name in ("kafka", "zookeeper", "demo") for word in ("--without", name)]
    with (
        kafka_cy.Broker(folder=tmp_path / "broker") as broker,
        RunningStack(tmp_path, "--scrape-interval", "1", *without) as stack,
    ):
        configuration = tmp_path / "etc/prometheus/etc/prometheus"
        alerts = configuration / "rules/alerts.yml"
        alerts.write_text(re.sub(r"\bfor: \w+", "for: 1s", alerts.read_text()))
        target = f'- targets: ["{broker.host}:{broker.metrics_port}"]\n  labels: {{kafka_cluster: test}}\n'
        (configuration / "targets/kafka.yml").write_text(target)
        signal_process(f"--storage.tsdb.path={tmp_path}", "-HUP")
        wait_for("the broker's metrics", lambda: stack.targets().get("kafka") == "up")

        def raised() -> bool:
            query = quote('alertname="KafkaBrokerDown"')
            return bool(get_json(f"http://127.0.0.1:{stack.ports[9093]}/api/v2/alerts?active=true&filter={query}"))

        wait_for("no alert", lambda: not raised())  # on a busy machine, the first scrapes may have been too late
        broker.kill()
        wait_for("the alert at Alertmanager", raised)
        broker.start()
        wait_for("its end", lambda: not raised())


def test_a_killed_broker_is_started_again_and_the_alert_is_seen(tmp_path: Path) -> None:
    options = ("--scrape-interval", "1", "--restart-delay", "6", "--without", "demo", "--without", "zookeeper")
    with RunningStack(tmp_path, *options) as stack:
        alerts = tmp_path / "etc/prometheus/etc/prometheus/rules/alerts.yml"
        alerts.write_text(re.sub(r"\bfor: \w+", "for: 1s", alerts.read_text()))
        signal_process(f"--storage.tsdb.path={tmp_path}", "-HUP")
        wait_for("the broker's metrics", lambda: stack.targets().get("kafka") == "up")
        signal_process(f"server {tmp_path}/etc/kafka/", "-KILL")
        assert stack.process.stdout is not None
        while not (line := stack.process.stdout.readline()).startswith("kafka ended"):
            assert line, stack.logs()
        assert line.startswith("kafka ended with exit code -9: ") and line.endswith("; it starts again in 6 s\n")

        def raised() -> list[dict[str, str]]:
            query = quote('alertname="KafkaBrokerDown"')
            alerts = get_json(f"http://127.0.0.1:{stack.ports[9093]}/api/v2/alerts?active=true&filter={query}")
            return [alert["annotations"] for alert in alerts]

        runbook = wait_for("the alert at Alertmanager", raised)[0]["runbook_url"]
        page, _, part = runbook.partition("#")
        with urllib.request.urlopen(page, timeout=60) as answer:
            assert f'<h3 id="{part}">' in answer.read().decode()
        wait_for("the broker's return", lambda: stack.targets().get("kafka") == "up")
        wait_for("the end of the alert", lambda: not raised())
        assert stack.stop() == 0


def test_prometheus_or_alertmanager_that_ends_ends_the_stack(tmp_path: Path) -> None:
    with RunningStack(tmp_path, "--without", "demo", "--without", "zookeeper") as stack:
        signal_process(f"--storage.path={tmp_path}", "-KILL")
        assert stack.process.wait(60) == 1
        assert stack.process.stdout is not None
        assert "make stack: alertmanager ended with exit code -9: " in stack.process.stdout.read()
    assert [port for port in stack.ports.values() if is_open(port)] == []


def test_a_taken_port_is_said_in_a_sentence(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(
            [sys.executable, ROOT / "scripts/stack.py", "--folder", tmp_path, "--port", f"9092={port}"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"make stack: Port {port} of kafka is taken (--port 9092=PORT).\n"
