"""The containers' commands and files as plain processes: `make stack`."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.monitoring.running_stack import RunningStack, get_json, wait_for
from tests.monitoring.tools import ROOT, free_ports

pytestmark = pytest.mark.slow


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_all_of_it_works_together_and_stops(tmp_path: Path) -> None:
    with RunningStack(tmp_path) as stack:
        listed = subprocess.run(
            [sys.executable, "-m", "kafka_cy", "topics", "list", "--bootstrap-server", stack.bootstrap],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        assert listed.stderr == ""
        wait_for("the broker's metrics", lambda: stack.targets().get("kafka") == "up")
        wait_for("records of the demo load", lambda: metric(stack, "kafka_server_brokertopicmetrics_messagesin_total"))
        rules = [rule for group in stack.prometheus("rules")["groups"] for rule in group["rules"]]
        assert len(rules) > 40
        assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
        assert stack.prometheus("alertmanagers")["activeAlertmanagers"]
        status = get_json(f"http://127.0.0.1:{stack.ports[9093]}/api/v2/status")
        assert "KafkaConsumerGroupEmpty" in status["config"]["original"]
        with socket.create_connection(("127.0.0.1", stack.ports[2181]), timeout=10) as zookeeper:
            zookeeper.sendall(b"ruok")
            assert zookeeper.recv(16) == b"imok"
        assert stack.stop() == 0, stack.logs()
    assert [port for port in stack.ports.values() if is_open(port)] == []


def metric(stack: RunningStack, name: str) -> float:
    """The largest sample of a metric at Prometheus."""
    series = stack.prometheus(f"query?query={name}")["result"]
    return max((float(each["value"][1]) for each in series), default=0.0)


def test_a_service_that_ends_ends_the_stack(tmp_path: Path) -> None:
    with RunningStack(tmp_path, "--without", "demo", "--without", "zookeeper") as stack:
        victims = subprocess.run(
            ["pgrep", "-f", "--", f"--storage.path={tmp_path}"], capture_output=True, text=True, check=True
        ).stdout.split()
        assert len(victims) == 1
        subprocess.run(["kill", "-9", *victims], check=True)
        assert stack.process.wait(30) == 1
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
