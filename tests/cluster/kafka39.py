"""Apache Kafka 3.9.2 with ZooKeeper, the last version that has it, for clusters that kafka-cy joins."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cluster.zookeeper_ensemble import need_zookeeper

ROOT = Path(__file__).parents[2]
JARS = ROOT / ".cache" / "kafka-3.9.2"
LISTENER = "REPL"
SETTINGS = {
    "listener.security.protocol.map": f"{LISTENER}:PLAINTEXT",
    "inter.broker.listener.name": LISTENER,
    "zookeeper.session.timeout.ms": "6000",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "auto.leader.rebalance.enable": "false",
}
LOG4J = """log4j.rootLogger=INFO, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%p %m (%c{1})%n
log4j.logger.org.apache.zookeeper=WARN
"""


def need_kafka() -> str:
    """The java command. If it or Kafka 3.9.2 is missing, the test is skipped, or fails if CI is set."""
    if not (JARS / ".complete").exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Kafka 3.9.2 is missing (scripts/install-kafka.sh)")
    return need_zookeeper()


class Kafka:
    """One broker."""

    def __init__(
        self, folder: Path, zookeeper_connect: str, broker_id: int, port: int, more: Mapping[str, str] | None = None
    ) -> None:
        self._java = need_kafka()
        self.broker_id, self.port = broker_id, port
        self._folder = folder / f"kafka{broker_id}"
        self._folder.mkdir(parents=True)
        self.logs = self._folder / "logs"
        (self._folder / "log4j.properties").write_text(LOG4J)
        self.settings = {  # of the next start
            **SETTINGS,
            "broker.id": str(broker_id),
            "zookeeper.connect": zookeeper_connect,
            "listeners": f"{LISTENER}://127.0.0.1:{port}",
            "log.dirs": str(self.logs),
            **(more or {}),
        }
        self.jvm: list[str] = []  # more options of java
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, memory: str, *words: str) -> list[str]:
        """Starts a class of Kafka's."""
        jvm = [f"-Xmx{memory}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *self.jvm]
        return [self._java, *jvm, f"-Dlog4j.configuration=file:{self._folder}/log4j.properties", "-cp", f"{JARS}/*", *words]

    def start(self) -> None:
        text = "".join(f"{key}={value}\n" for key, value in self.settings.items())
        (self._folder / "server.properties").write_text(text)
        with open(self._folder / "log", "ab") as log:
            command = self.command("384m", "kafka.Kafka", str(self._folder / "server.properties"))
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def __enter__(self) -> Kafka:
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
        self.process.terminate()
        code = self.process.wait(60)
        self.process = None
        return code

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def tool(self, main_class: str, *words: str) -> str:
        """The output of a command of Kafka that talks to this broker."""
        return self.tool_at(self.port, main_class, *words)

    def tool_at(self, port: int, main_class: str, *words: str) -> str:
        """The output of a command of Kafka that talks to another broker."""
        command = self.command("256m", main_class, "--bootstrap-server", f"127.0.0.1:{port}", *words)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout
        return done.stdout
