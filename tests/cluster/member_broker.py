"""A kafka-cy broker in a process of its own, as a member of a cluster with ZooKeeper."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.cluster.zookeeper_ensemble import wait_until

LISTENER = "REPL"
SETTINGS = {
    "listener.security.protocol.map": f"{LISTENER}:PLAINTEXT",
    "inter.broker.listener.name": LISTENER,
    "zookeeper.session.timeout.ms": "6000",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "auto.leader.rebalance.enable": "false",
    "replica.lag.time.max.ms": "10000",
    "group.initial.rebalance.delay.ms": "0",
    "kafkacy.metrics.listen": "",
    "kafkacy.lag.listen": "",
}


def seen(admin: AdminClient, topic: str | None = None) -> Any:
    """The metadata that a client sees; it waits until its broker knows the cluster."""
    found: list[Any] = []

    def ask() -> bool:
        with suppress(KafkaException):
            found.append(admin.list_topics(topic, timeout=10))
        return bool(found) and found[-1].controller_id >= 0

    wait_until(ask, "metadata")
    return found[-1]


class MemberBroker:
    """Ends with the test."""

    def __init__(
        self, folder: Path, connect: str, broker_id: int, port: int, more: Mapping[str, str] | None = None
    ) -> None:
        self.broker_id, self.port = broker_id, port
        self.folder = folder / f"kafkacy{broker_id}"
        self.folder.mkdir(parents=True)
        self.logs = self.folder / "logs"
        self.settings = {
            **SETTINGS,
            **({"broker.id": str(broker_id)} if broker_id >= 0 else {}),
            "zookeeper.connect": connect,
            "listeners": f"{LISTENER}://127.0.0.1:{port}",
            "log.dirs": str(self.logs),
            **(more or {}),
        }
        self.environment: dict[str, str] = {}  # beside that of the test
        self.program = ["-m", "kafka_cy"]  # what Python is to run
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        path = self.folder / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in self.settings.items()))
        command = [sys.executable, *self.program, "server", str(path)]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | self.environment)

    def wait(self) -> None:
        """Wait until the broker is registered."""
        wait_until(lambda: "kafka-cy ready" in self.log() or self.ended(), f"broker {self.broker_id}: {self.log()}")
        assert not self.ended(), self.log()

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def __enter__(self) -> MemberBroker:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.kill()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.process = None
        return code

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def errors(self) -> list[str]:
        return [line for line in self.log().splitlines() if " ERROR " in line]
