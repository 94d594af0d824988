"""`kafka-cy top` with a running broker: on a pipe, and on a terminal with its keys."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import kafka_cy

READ_SECONDS_MAX = 30.0


@pytest.fixture(scope="module")
def broker() -> Iterator[kafka_cy.Broker]:
    """A broker with 900 records in the topic orders; the group shop has read 100 of each partition."""
    with kafka_cy.Broker({"num.partitions": 3}) as running:
        producer = Producer({"bootstrap.servers": running.bootstrap_servers})
        for number in range(900):
            producer.produce("orders", b"x" * 100, partition=number % 3)
        for number in range(5):
            producer.produce("alerts", b"y", partition=number % 3)
        producer.flush()
        consumer = Consumer({"bootstrap.servers": running.bootstrap_servers, "group.id": "shop"})
        consumer.commit(offsets=[TopicPartition("orders", index, 100) for index in range(3)], asynchronous=False)
        consumer.close()
        yield running


def arguments(broker: kafka_cy.Broker) -> list[str]:
    lag = f"http://{broker.host}:{broker.lag_port}/metrics"
    return [
        sys.executable, "-m", "kafka_cy", "top", "-b", broker.bootstrap_servers, "--metrics", broker.metrics_url,
        "--lag", lag,
    ]  # fmt: skip


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def sections(text: str) -> dict[str, dict[str, dict[str, str]]]:
    """Cells by the name of the table's first column, the first cell of the row, and the column."""
    found = {}
    for block in text.split("\n\n")[1:]:
        lines = [line.split("\t") for line in block.splitlines()]
        found[lines[0][0]] = {row[0]: dict(zip(lines[0], row, strict=True)) for row in lines[1:]}
    return found


def test_once_on_a_pipe(broker: kafka_cy.Broker) -> None:
    done = run(*arguments(broker), "--once")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 broker, 2 topics, 6 partitions, 1 group, ")
    shown = sections(done.stdout)
    assert shown["BROKER"]["1 (controller)"]["ADDRESS"] == broker.bootstrap_servers
    assert shown["BROKER"]["1 (controller)"]["NOT-IN-SYNC"] == "0"
    orders = shown["TOPIC"]["orders"]
    assert (orders["PARTITIONS"], orders["COPIES"], orders["RECORDS"], orders["MESSAGES"]) == ("3", "1", "900", "0/s")
    assert list(shown["TOPIC"]) == ["alerts", "orders"]
    shop = shown["GROUP"]["shop"]
    assert (shop["MEMBERS"], shop["TOPICS"], shop["LAG"]) == ("0", "1", "600")
    assert shown["METRICS"][f"{broker.host}:{broker.metrics_port}"]["MEMORY"].endswith("MB")


def test_internal_topics_and_several_looks(broker: kafka_cy.Broker) -> None:
    done = run(*arguments(broker), "--batch", "-n", "2", "-d", "0.2", "--internal", "--sort", "name")
    assert done.returncode == 0
    assert done.stdout.count("\nGROUP\t") == 2
    assert "__consumer_offsets" in sections(done.stdout)["TOPIC"]


def test_who_does_not_answer_is_said_in_a_sentence(broker: kafka_cy.Broker) -> None:
    done = run(sys.executable, "-m", "kafka_cy", "top", "--once", "-b", "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "kafka-cy: No broker answers at 127.0.0.1:1: connection refused.\n"
    nowhere = ("--metrics", "http://127.0.0.1:1/metrics", "--lag", "http://127.0.0.1:2/metrics")
    done = run(sys.executable, "-m", "kafka_cy", "top", "--once", "-b", broker.bootstrap_servers, *nowhere)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "No broker answers at http://127.0.0.1:1/metrics.",
        "No broker answers at http://127.0.0.1:2/metrics.",
    ]
    assert sections(done.stdout)["TOPIC"]["orders"]["MESSAGES"] == "-"


class Terminal:
    """The command on a pseudo-terminal with 40 lines."""

    def __init__(self, command: list[str], *, columns: int = 120) -> None:
        self.main, side = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"}
        self.process = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=environment)
        os.close(side)
        self.text = ""

    def wait_for(self, text: str) -> None:
        """Read until `text` appears after the previous match."""
        deadline = time.monotonic() + READ_SECONDS_MAX
        readable = select.poll()  # select() does not support descriptors above 1023
        readable.register(self.main, select.POLLIN)
        while text not in self.text:
            assert time.monotonic() < deadline, self.text[-2000:]
            if readable.poll(100):
                self.text += os.read(self.main, 65536).decode("utf-8", "replace")
        self.text = self.text.partition(text)[2]

    def all_output(self) -> str:
        """Everything up to the end of the command."""
        parts = []
        with contextlib.suppress(OSError):  # EIO: the command has closed its side
            while part := os.read(self.main, 65536):
                parts.append(part)
        return b"".join(parts).decode("utf-8", "replace")

    def press(self, key: str) -> None:
        os.write(self.main, key.encode())

    def close(self) -> int:
        self.process.kill()
        os.close(self.main)
        return self.process.wait()


def test_once_on_a_terminal_does_not_cut_figures(broker: kafka_cy.Broker) -> None:
    terminal = Terminal([*arguments(broker), "--once"], columns=72)
    try:
        text = terminal.all_output()
        assert terminal.process.wait(60) == 0
    finally:
        terminal.close()
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in text.splitlines()]
    assert max(map(len, lines[1:])) <= 72
    (header,) = [line for line in lines if line.startswith("TOPIC ")]
    (row,) = [line for line in lines if line.startswith("orders ")]
    assert header.split()[:3] == ["TOPIC", "PARTS", "REPL"] and row.split()[:3] == ["orders", "3", "1"]


def test_screen_and_keys(broker: kafka_cy.Broker) -> None:
    terminal = Terminal(arguments(broker))
    try:
        terminal.wait_for("shop")
        terminal.wait_for("s sort (load)")
        terminal.press("s")
        terminal.wait_for("s sort (size)")
        terminal.press("q")
        assert terminal.process.wait(60) == 0
    finally:
        terminal.close()


def test_a_broker_that_comes_back_is_shown_again(broker: kafka_cy.Broker) -> None:
    terminal = Terminal([*arguments(broker), "-d", "0.2"])
    try:
        terminal.wait_for("orders")
        broker.terminate()
        terminal.wait_for("Trying again")
        broker.start()
        terminal.wait_for("orders")
        terminal.press("q")
        assert terminal.process.wait(60) == 0
    finally:
        terminal.close()
