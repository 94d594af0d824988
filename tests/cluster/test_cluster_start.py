"""`kafka-cy cluster start`: what it writes and refuses, and a cluster with real processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kafka_cy.testing.broker import free_ports
from kafka_cy.tools.client import ToolError
from kafka_cy.tools.local_cluster import layout as layouts
from kafka_cy.tools.local_cluster import zookeeper
from kafka_cy.tools.local_cluster.layout import Layout, load
from tests.cluster.zookeeper_ensemble import need_zookeeper
from tests.waiting import wait_until

HASTY = "zookeeper.session.timeout.ms=4000\ncontrolled.shutdown.max.retries=0\ncontroller.socket.timeout.ms=500\n"
START = [sys.executable, "-m", "kafka_cy", "cluster", "start"]


@pytest.fixture
def first_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Have this process choose ports that no other test wants; the port of the first broker."""
    metrics, lag, server = free_ports(3)
    first = next(port for port in iter(lambda: free_ports(1)[0], 0) if all(layouts.is_free(port + each) for each in range(4)))
    monkeypatch.setattr(layouts, "METRICS_PORT", metrics)
    monkeypatch.setattr(layouts, "LAG_PORT", lag)
    monkeypatch.setattr(layouts, "ZOOKEEPER_PORT", server)
    return first


def prepared(folder: Path, count: int, first_port: int) -> list[str]:
    """Prepare the folder as the command does; the brokers' addresses."""
    layout = Layout(folder)
    layout.prepare(count, first_port)
    layout.release()
    return [broker.address for broker in layout.brokers]


# -- the folder --


def test_a_later_start_finds_the_same_cluster(tmp_path: Path, first_port: int) -> None:
    addresses = prepared(tmp_path, 3, first_port)
    assert addresses == [f"127.0.0.1:{first_port + each}" for each in range(3)]
    texts = {path: path.read_text() for path in [*tmp_path.rglob("*.properties"), *tmp_path.rglob("zoo.cfg")]}
    assert len(texts) == 4
    # Neither another --port nor ports that are free again change what was chosen.
    assert prepared(tmp_path, 3, first_port + 100) == addresses
    assert {path: path.read_text() for path in texts} == texts
    # A broker that is added has the port after the others'.
    assert prepared(tmp_path, 4, 9092) == [*addresses, f"127.0.0.1:{first_port + 3}"]


def test_an_interrupted_first_start_goes_on(tmp_path: Path, first_port: int) -> None:
    addresses = prepared(tmp_path, 3, first_port)
    for number in (2, 3):
        (tmp_path / f"broker{number}/server.properties").rename(tmp_path / f"broker{number}/server.properties.new")
    assert prepared(tmp_path, 3, first_port) == addresses


def test_settings_fit_the_number_of_brokers(tmp_path: Path, first_port: int) -> None:
    prepared(tmp_path / "one", 1, first_port)
    prepared(tmp_path / "five", 5, first_port)
    keys = ("default.replication.factor", "min.insync.replicas", "offsets.topic.replication.factor")
    for folder, expected in (("one", [1, 1, 1]), ("five", [3, 2, 3])):
        config = load(tmp_path / folder / "broker1/server.properties")
        assert config.warnings == []
        assert [config[key] for key in keys] == expected


def test_ports_of_pages_are_those_that_are_free(tmp_path: Path, first_port: int) -> None:
    with socket.create_server(("127.0.0.1", layouts.METRICS_PORT)):
        prepared(tmp_path, 2, first_port)
    pages = [load(tmp_path / f"broker{each}/server.properties")["kafkacy.metrics.listen"] for each in (1, 2)]
    ports = [int(page.rpartition(":")[2]) for page in pages]
    assert len({*ports, layouts.METRICS_PORT}) == 3


def refused(folder: Path, count: int, first_port: int) -> str:
    layout = Layout(folder)
    with pytest.raises(ToolError) as refusal:
        layout.prepare(count, first_port)
    layout.release()
    return str(refusal.value)


def test_fewer_brokers_are_refused(tmp_path: Path, first_port: int) -> None:
    prepared(tmp_path, 3, first_port)
    assert "has 3 brokers: start 3 or more" in refused(tmp_path, 2, first_port)


def test_records_without_metadata_are_refused(tmp_path: Path, first_port: int) -> None:
    prepared(tmp_path, 3, first_port)
    (tmp_path / "broker2/data/meta.properties").write_text("version=0\nbroker.id=2\ncluster.id=abc\n")
    assert "the cluster's metadata is missing" in refused(tmp_path, 3, first_port)
    (tmp_path / "zookeeper/data/version-2").mkdir()
    assert len(prepared(tmp_path, 3, first_port)) == 3


def test_a_folder_that_was_moved_is_refused(tmp_path: Path, first_port: int) -> None:
    prepared(tmp_path / "old", 1, first_port)
    (tmp_path / "old").rename(tmp_path / "new")
    assert f"log directory {tmp_path}/old/broker1/data does not exist" in refused(tmp_path / "new", 1, first_port)
    assert not (tmp_path / "old").exists()


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(ToolError, match="Another process runs the cluster"):
        Layout(tmp_path)
    layout.release()


@pytest.mark.parametrize("place", [".", "lib", "libs"])
def test_a_zookeeper_is_found_in_a_folder(tmp_path: Path, place: str) -> None:
    with pytest.raises(ToolError, match=r"has no zookeeper-VERSION\.jar .*--zookeeper"):
        zookeeper.find_jars(tmp_path)
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "zookeeper-jute-3.8.4.jar").touch()
    with pytest.raises(ToolError):
        zookeeper.find_jars(tmp_path)
    (tmp_path / place / "zookeeper-3.8.4.jar").touch()
    assert zookeeper.find_jars(tmp_path) == f"{tmp_path / place}/*"


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zookeeper, "DEBIAN", tmp_path)
    with pytest.raises(ToolError, match="apt-get install zookeeper"):
        zookeeper.find_jars(None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ToolError, match="apt-get install default-jre-headless"):
        zookeeper.find_java()


def test_a_port_that_is_taken_is_named_and_nothing_is_started(tmp_path: Path, first_port: int) -> None:
    need_zookeeper()
    prepared(tmp_path, 2, first_port)
    with socket.create_server(("127.0.0.1", first_port + 1)):
        done = subprocess.run([*START, "2", "--dir", tmp_path], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"kafka-cy: Port {first_port + 1} of broker 2 is taken by process {os.getpid()} (")
    assert error.endswith(f"Stop it, or change the port in {tmp_path}/broker2/server.properties.")
    assert not (tmp_path / "zookeeper/zookeeper.log").exists()


# -- a cluster --


class Running:
    """The command as a process."""

    def __init__(self, folder: Path, count: int) -> None:
        self.log = folder.with_suffix(".log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*START, str(count), "--dir", folder], stdout=log, stderr=log)

    def __enter__(self) -> Running:
        self.wait("kafka-cy cluster ready: ")
        return self

    def __exit__(self, *failure: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(100)

    def wait(self, text: str) -> None:
        wait_until(lambda: text in self.log.read_text() or self.process.poll() is not None, text)
        assert text in self.log.read_text(), self.log.read_text()


def pid_of(folder: Path, number: int) -> int:
    words = ["pgrep", "-f", f"{folder}/broker{number}/server.properties"]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def tool(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "kafka_cy", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cluster_is_started_watched_stopped_and_continued(tmp_path: Path, first_port: int) -> None:
    """Several seconds: three starts of a Java program."""
    need_zookeeper()
    folder = tmp_path / "cluster"
    addresses = prepared(folder, 3, first_port)
    for path in folder.glob("broker*/server.properties"):  # a user's cluster waits longer for sessions and controllers that end
        path.write_text(path.read_text() + HASTY)
    with Running(folder, 3) as cluster:
        found = re.search(r"cluster ready: (\S+) cluster ([\w-]{22}) in \d+ ms", cluster.log.read_text())
        assert found and found[1] == ",".join(addresses)
        tool("topics", "create", "orders", "--partitions", "1", "--replication-factor", "3", "-b", addresses[0])
        os.kill(pid_of(folder, 2), signal.SIGKILL)
        cluster.wait("ERROR broker 2 ended")
        (line,) = [line for line in cluster.log.read_text().splitlines() if "ERROR" in line]
        assert f"address={addresses[1]}" in line and 'how="SIGKILL' in line
        assert line.endswith(f'start_again="kafka-cy server {folder}/broker2/server.properties"')
        cluster.process.send_signal(signal.SIGTERM)
        assert cluster.process.wait(100) == 0
        assert "INFO stopped" in cluster.log.read_text()
    for number in (1, 3):
        assert "INFO stopped" in (folder / f"broker{number}/broker.log").read_text()
    again = Running(folder, 3)
    with again:
        assert f" cluster {found[2]} in " in again.log.read_text()
        assert "orders" in tool("topics", "list", "-b", addresses[1])
        again.process.kill()  # nobody stops the members
        again.process.wait()
        ports = [*(int(each.rpartition(":")[2]) for each in addresses), layouts.ZOOKEEPER_PORT]
        for port in ports:
            wait_until(lambda port=port: layouts.is_free(port), f"the end of the member with port {port}")  # type: ignore[misc]


def test_a_command_is_run_with_a_cluster(tmp_path: Path, first_port: int) -> None:
    need_zookeeper()
    addresses = prepared(tmp_path, 1, first_port)
    script = 'test "$KAFKA_BOOTSTRAP_SERVERS" = "$1" && exit 7'
    done = subprocess.run(
        [*START, "1", "--dir", tmp_path, "--", "sh", "-c", script, "sh", addresses[0]],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert layouts.is_free(first_port)
