"""Measures kafka-cy beside Apache Kafka and beside the machine's own floor, in interleaved runs, and prints one table.

    python bench/compare.py [--seconds 5] [--rounds 3] [--rows TEXT] [--no-kafka] [--touch-gib 6] [--json FILE]

The load is pre-encoded C (load.c), the floor a bare epoll loop (floor.c). CPU time is the server process's, from
/proc; judge by the ratios of one run. Apache Kafka is started from the jars in .cache/kafka-4.3.1.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient, NewTopic

HERE = Path(__file__).parent
KAFKA_JARS = HERE.parent / ".cache" / "kafka-4.3.1"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
JAVA_WARM_UP_S = 15.0


@dataclass(frozen=True)
class Row:
    """One line of the table; `unit` is what the CPU time is divided by."""

    name: str
    mode: str
    options: dict[str, int]
    unit: str  # "GB", "request" or "latency"


ROWS = [
    Row("produce 16 KiB batches, 5 in flight, acks=1", "produce", {"records": 150, "depth": 5}, "GB"),
    Row("the same, acks=all", "produce", {"records": 150, "depth": 5, "acks": -1}, "GB"),
    Row("produce 900 kB batches", "produce", {"records": 8200, "depth": 5}, "GB"),
    Row("produce one 100 B record, 1 in flight", "produce", {"records": 1, "depth": 1}, "request"),
    Row("the same, 64 connections", "produce", {"records": 1, "depth": 1, "connections": 64}, "request"),
    Row("the same, 4 connections, 32 in flight", "produce", {"records": 1, "depth": 32}, "request"),
    Row(
        "1000 acks=all requests/s of 1 kB",
        "produce",
        {"records": 1, "record-bytes": 1000, "acks": -1, "rate": 1000},
        "latency",
    ),
    Row("fetch 1 MiB", "fetch", {"bytes": 1 << 20}, "GB"),
    Row("fetch 64 KiB", "fetch", {"bytes": 1 << 16}, "GB"),
]


@dataclass
class Target:
    """A server under load."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def resident_mib(self) -> float:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"a server ended with exit code {process.returncode}: {process.args!r}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing answers on port {port}")


def compile_c(folder: Path) -> None:
    for name in ("floor", "load"):
        subprocess.run(["cc", "-O2", "-o", folder / name, HERE / f"{name}.c"], check=True)


def touch_memory(gib: float) -> None:
    """Have the machine back its memory with pages once: first use is what costs."""
    with mmap.mmap(-1, int(gib * 2**30)) as area:
        for at in range(0, len(area), mmap.PAGESIZE):
            area[at] = 1


def start_ours(folder: Path) -> Target:
    port = free_port()
    overrides = {
        "listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "log.dirs": str(folder / "ours"),
        "num.partitions": 4,
        "kafkacy.metrics.listen": f"127.0.0.1:{free_port()}",
        "kafkacy.lag.listen": "",
    }
    command = [sys.executable, "-m", "kafka_cy", "server"]
    for key, value in overrides.items():
        command += ["--override", f"{key}={value}"]
    process = subprocess.Popen(command, stderr=(folder / "ours.log").open("wb"), cwd=HERE.parent)
    wait_for(port, process)
    return Target("kafka-cy", port, process)


def start_kafka(folder: Path) -> Target:
    port, controller = free_port(), free_port()
    properties = folder / "server.properties"
    values = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": folder / "kafka",
        "offsets.topic.replication.factor": 1,
        "log.segment.delete.delay.ms": 1000,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
    }
    properties.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
    java = ["java", "-Xmx1g", "-Xms1g", "-cp", f"{KAFKA_JARS}/*"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    cluster = subprocess.run(
        [*java, "kafka.tools.StorageTool", "random-uuid"], check=True, capture_output=True, text=True
    )
    uuid = cluster.stdout.split()[-1]
    subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", "--standalone", "-t", uuid, "-c", str(properties)],
        check=True,
        **quiet,
    )  # type: ignore[call-overload]
    process = subprocess.Popen([*java, "kafka.Kafka", str(properties)], **quiet)  # type: ignore[call-overload]
    wait_for(port, process)
    return Target("Apache Kafka", port, process)


def start_floor(folder: Path) -> Target:
    port = free_port()
    data = folder / "floor-data"
    data.mkdir(exist_ok=True)
    process = subprocess.Popen([str(folder / "floor"), str(port), str(data)])
    wait_for(port, process)
    return Target("floor", port, process)


class Bench:
    """Runs rows against targets; topics are made and deleted around each run, so that disks and caches stay bounded."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self.topics = 0

    def load(self, target: Target, mode: str, topic: str, options: dict[str, int], seconds: float) -> dict[str, Any]:
        command = [str(self.folder / "load"), mode, str(target.port), "--topic", topic, "--seconds", str(seconds)]
        for key, value in options.items():
            command += [f"--{key}", str(value)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
        if done.returncode:
            sys.exit(f"load against {target.name} failed: {done.stderr}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def make_topic(self, target: Target) -> str:
        self.topics += 1
        topic = f"bench-{self.topics}"
        if target.name != "floor":
            admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{target.port}"})
            admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(30)
            time.sleep(0.7)  # Apache Kafka's leaders follow a little later
        return topic

    def drop_topic(self, target: Target, topic: str) -> None:
        if target.name != "floor":
            admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{target.port}"})
            admin.delete_topics([topic])[topic].result(30)

    def run(self, target: Target, row: Row, seconds: float) -> dict[str, Any]:
        topic = self.make_topic(target)
        if row.mode == "fetch":
            self.load(target, "produce", topic, {"records": 150, "depth": 5}, 1.0)
            self.load(target, "fetch", topic, row.options, 0.5)
        else:
            self.load(target, "produce", topic, row.options, 0.3)
        before = target.cpu_s()
        result = self.load(target, row.mode, topic, row.options, seconds)
        cpu_s = target.cpu_s() - before
        self.drop_topic(target, topic)
        result["cpu_s_per_gb"] = cpu_s / max(result["bytes"] / 1e9, 1e-9)
        result["cpu_us_per_request"] = cpu_s * 1e6 / max(result["requests"], 1)
        result["mb_per_s"] = result["bytes"] / 1e6 / result["seconds"]
        result["requests_per_s"] = result["requests"] / result["seconds"]
        result["resident_mib"] = target.resident_mib()
        return result


def cell(row: Row, results: list[dict[str, Any]]) -> tuple[str, float]:
    """What the table shows of a target's runs, and the figure that ratios are made of (medians over the rounds)."""
    if not results:
        return "-", 0.0
    middle = {key: statistics.median(each[key] for each in results) for key in results[0]}
    if row.unit == "GB":
        return f"{middle['cpu_s_per_gb']:.2f} s/GB {middle['mb_per_s']:.0f} MB/s", middle["cpu_s_per_gb"]
    if row.unit == "request":
        return f"{middle['cpu_us_per_request']:.1f} us {middle['requests_per_s'] / 1000:.0f}k/s", middle[
            "cpu_us_per_request"
        ]
    shown = "/".join(f"{middle[key] / 1000:.2f}" for key in ("p50_us", "p99_us", "p999_us"))
    return f"{shown} ms", middle["p50_us"]


def print_table(rows: list[Row], results: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    print("| load (4 connections, 4 partitions) | Apache Kafka | floor | kafka-cy | of the floor | of Kafka |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        cells = {name: cell(row, of.get(row.name, [])) for name, of in results.items()}
        ours = cells["kafka-cy"][1]
        floor, kafka = cells.get("floor", ("-", 0.0)), cells.get("Apache Kafka", ("-", 0.0))
        ratios = [f"{ours / each[1]:.2f}x" if each[1] else "-" for each in (floor, kafka)]
        print(f"| {row.name} | {kafka[0]} | {floor[0]} | {cells['kafka-cy'][0]} | {ratios[0]} | {ratios[1]} |")


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    rows = [row for row in ROWS if arguments.rows in row.name]
    bench = Bench(folder, arguments.seconds)
    compile_c(folder)
    touch_memory(arguments.touch_gib)
    targets = [start_ours(folder)] + ([] if arguments.no_kafka else [start_kafka(folder)])
    results: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in ("kafka-cy", "floor", "Apache Kafka")}
    try:
        for target in targets[1:]:
            for row in rows:
                bench.run(target, row, JAVA_WARM_UP_S / len(rows))
        for round_number in range(arguments.rounds):
            for row in rows:
                floor = start_floor(folder)
                for target in [*targets, floor]:
                    result = bench.run(target, row, arguments.seconds)
                    results[target.name].setdefault(row.name, []).append(result)
                    print(f"round {round_number + 1}, {row.name}, {target.name}: {result}", file=sys.stderr)
                floor.process.kill()
                floor.process.wait()
    finally:
        for target in targets:
            target.process.terminate()
            target.process.wait(30)
    print_table(rows, results)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default="", help="only rows whose name contains this")
    parser.add_argument("--no-kafka", action="store_true")
    parser.add_argument("--touch-gib", type=float, default=6.0)
    parser.add_argument("--json", help="write all figures here")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kafka-cy-bench-"))
    try:
        measure(arguments, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
