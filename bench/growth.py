"""What does not depend on Apache Kafka: start time and idle memory, the cost of fsync before every answer, and that
cost does not grow with what is not touched. Prints JSON.

    python bench/growth.py [--seconds 1.5] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from compare import HERE, Bench, Row, Target, compile_c, free_port, wait_for
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PRODUCE = Row("produce one 100 B record, 1 in flight", "produce", {"records": 1, "depth": 1}, "request")
FETCH = Row("fetch 64 KiB", "fetch", {"bytes": 1 << 16}, "request")
API_VERSIONS_V0 = struct.pack(">ihhih", 10, 18, 0, 1, -1)


def start(folder: Path, name: str, overrides: dict[str, object]) -> Target:
    """Starts a broker and waits until its port is open."""
    port = free_port()
    every: dict[str, object] = {
        "listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "log.dirs": str(folder / name),
        "num.partitions": 4,
        "kafkacy.metrics.listen": f"127.0.0.1:{free_port()}",
        "kafkacy.lag.listen": "",
        **overrides,
    }
    command = [sys.executable, "-m", "kafka_cy", "server"]
    for key, value in every.items():
        command += ["--override", f"{key}={value}"]
    process = subprocess.Popen(command, stderr=(folder / f"{name}.log").open("wb"), cwd=HERE.parent)
    wait_for(port, process)
    return Target(name, port, process)


def stop(target: Target) -> None:
    target.process.send_signal(signal.SIGTERM)
    target.process.wait(60)


def answers_api_versions(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as each:
            each.sendall(API_VERSIONS_V0)
            return len(each.recv(4)) == 4
    except OSError:
        return False


def start_times(folder: Path, times: int = 20) -> dict[str, float]:
    """Milliseconds from exec to the first bytes of an ApiVersions answer, and resident memory a second later."""
    started_ms: list[float] = []
    cpu_ms: list[float] = []
    for _ in range(times):
        port = free_port()
        overrides = [f"listeners=PLAINTEXT://127.0.0.1:{port}", f"log.dirs={folder / 'start'}"]
        overrides.append(f"kafkacy.metrics.listen=127.0.0.1:{free_port()}")
        overrides.append(f"kafkacy.lag.listen=127.0.0.1:{free_port()}")
        command = [sys.executable, "-m", "kafka_cy", "server"]
        for override in overrides:
            command += ["--override", override]
        began = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=HERE.parent)
        while not answers_api_versions(port):
            time.sleep(0.0005)
        started_ms.append((time.perf_counter() - began) * 1000)
        cpu_ms.append(Target("start", port, process).cpu_s() * 1000)
        if len(started_ms) == times:
            time.sleep(1)
            idle = Target("start", port, process).resident_mib()
        process.terminate()
        process.wait(30)
    return {
        "start_ms": statistics.median(started_ms),
        "start_ms_min": min(started_ms),
        "start_ms_max": max(started_ms),
        "start_cpu_ms": statistics.mean(cpu_ms),
        "idle_mib": idle,
    }


def cost(bench: Bench, target: Target, rounds: int) -> dict[str, float]:
    """Microseconds of CPU a request, medians."""
    answer = {}
    for row in (PRODUCE, FETCH):
        results = [bench.run(target, row, bench.seconds) for _ in range(rounds)]
        answer[row.mode] = statistics.median(each["cpu_us_per_request"] for each in results)
    return answer


def many_partitions(target: Target) -> object:
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{target.port}"})
    for future in admin.create_topics([NewTopic(f"idle-{at}", 1000, 1) for at in range(10)]).values():
        future.result(120)
    return None


def idle_connections(target: Target) -> object:
    return [socket.create_connection(("127.0.0.1", target.port)) for _ in range(1000)]


def many_groups(target: Target) -> object:
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{target.port}"})
    admin.create_topics([NewTopic("grouped", 1, 1)])["grouped"].result(30)
    for at in range(0, 10_000, 200):
        futures: list[Any] = []
        for group in range(at, at + 200):
            offsets = [TopicPartition("grouped", 0, group)]
            request = [ConsumerGroupTopicPartitions(f"group-{group}", offsets)]
            futures += admin.alter_consumer_group_offsets(request).values()
        for future in futures:
            future.result(60)
    return None


def untouched(folder: Path, bench: Bench, rounds: int) -> dict[str, dict[str, float]]:
    answer = {}
    for name, prepare in (
        ("nothing else", None),
        ("10,000 partitions", many_partitions),
        ("1,000 idle connections", idle_connections),
        ("10,000 groups", many_groups),
    ):
        target = start(folder, name.replace(" ", "-").replace(",", ""), {})
        kept = prepare(target) if prepare else None
        time.sleep(1)
        before = target.cpu_s()
        time.sleep(3)
        idle_cpu = (target.cpu_s() - before) / 3
        answer[name] = cost(bench, target, rounds)
        answer[name]["idle_cpu"] = idle_cpu
        print(name, answer[name], file=sys.stderr, flush=True)
        del kept
        stop(target)
    answer["a log of 1,000 segments"] = many_segments(folder, bench, rounds)
    return answer


def many_segments(folder: Path, bench: Bench, rounds: int) -> dict[str, float]:
    """Four partitions of at least 1,000 segments each; produced to and read from where they are."""
    target = start(folder, "segments", {})
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{target.port}"})
    admin.create_topics([NewTopic("long", 4, 1, config={"segment.bytes": str(1 << 20)})])["long"].result(30)
    time.sleep(0.3)
    data = folder / "segments"

    def segments() -> int:
        return min(len(list((data / f"long-{at}").glob("*.log"))) for at in range(4))

    while segments() < 1000:
        bench.load(target, "produce", "long", {"records": 150, "depth": 5}, 1)
    answer = {"segments": float(segments())}
    for row in (PRODUCE, FETCH):
        costs = []
        for _ in range(rounds):
            before = target.cpu_s()
            result = bench.load(target, row.mode, "long", row.options, bench.seconds)
            costs.append((target.cpu_s() - before) * 1e6 / max(result["requests"], 1))
        answer[row.mode] = statistics.median(costs)
    stop(target)
    shutil.rmtree(data, ignore_errors=True)
    return answer


def fsync_before_answer(folder: Path, bench: Bench, rounds: int) -> dict[str, Any]:
    target = start(folder, "flush", {"log.flush.interval.messages": 1})
    answer: dict[str, Any] = {}
    for connections in (1, 64):
        row = Row("flush", "produce", {"records": 1, "depth": 1, "acks": -1, "connections": connections}, "request")
        results = [bench.run(target, row, bench.seconds) for _ in range(rounds)]
        answer[f"{connections} connections"] = {
            key: statistics.median(each[key] for each in results)
            for key in ("requests_per_s", "p50_us", "p99_us", "cpu_us_per_request")
        }
    probe = os.open(folder / "probe", os.O_CREAT | os.O_RDWR)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < 1:
        os.pwrite(probe, bytes(170), done * 170)
        os.fdatasync(probe)
        done += 1
    os.close(probe)
    answer["a bare write and fdatasync, per second"] = done
    stop(target)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="write the figures here")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kafka-cy-bench-"))
    results: dict[str, Any] = {}
    try:
        compile_c(folder)
        bench = Bench(folder, arguments.seconds)
        for name, measure in (
            ("start", lambda: start_times(folder)),
            ("fsync", lambda: fsync_before_answer(folder, bench, arguments.rounds)),
            ("untouched", lambda: untouched(folder, bench, arguments.rounds)),
        ):
            results[name] = measure()
            print(name, results[name], file=sys.stderr, flush=True)
            if arguments.json:
                Path(arguments.json).write_text(json.dumps(results, indent=1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
