"""The processes of a cluster: ZooKeeper, and brokers that are its members."""

from __future__ import annotations

import logging
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from kafka_cy.bench import results
from kafka_cy.bench.brokers import (
    START_TIMEOUT_S,
    BrokerError,
    JavaServer,
    OwnBroker,
    properties_text,
    wait_until_open,
)
from kafka_cy.bench.process_sampler import usage
from kafka_cy.bench.with_parent import with_parent
from kafka_cy.testing.broker import free_ports

KAFKA_VERSION = "3.9.2"  # the last one with ZooKeeper
DEBIAN_JARS = [Path("/usr/share/java") / name for name in ("zookeeper.jar", "slf4j-simple.jar")]
TICK_MS = 250  # a session ends up to one tick late
DESCRIPTORS = 100_000
#: Without it, these versions build a line of DEBUG for each request, which nobody writes.
LOG4J = """log4j.rootLogger=INFO, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%d %p %m (%c{1})%n
log4j.logger.kafka.request.logger=WARN
log4j.logger.state.change.logger=WARN
log4j.logger.org.apache.zookeeper=WARN
"""
#: Of both kinds of brokers.
MEMBER_CONFIG: dict[str, object] = {
    "zookeeper.session.timeout.ms": 6000,
    "offsets.topic.replication.factor": 3,
    "transaction.state.log.replication.factor": 3,
    "log.segment.delete.delay.ms": 1000,
    "group.initial.rebalance.delay.ms": 0,
    "auto.leader.rebalance.enable": "false",  # would move leaders while another row is measured
}


class Member(Protocol):
    """A broker of a cluster."""

    @property
    def bootstrap_servers(self) -> str: ...

    @property
    def pid(self) -> int | None: ...

    def alive(self) -> bool: ...

    def kill(self) -> None: ...

    def shut_down(self) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


class ZooKeeper:
    """One server in a process and a temporary folder of its own, of Kafka's jars or Debian's."""

    def __init__(self, kafka_jars: Path | None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="kafka-cy-bench-zookeeper-"))
        self.port = free_ports(1)[0]
        (self._folder / "zoo.cfg").write_text(
            f"tickTime={TICK_MS}\ndataDir={self._folder}/data\nclientPort={self.port}\nclientPortAddress=127.0.0.1\n"
            "maxClientCnxns=0\nmaxSessionTimeout=60000\nadmin.enableServer=false\n"
        )
        command = [
            _java(), "-Xmx512m", _logging(self._folder), "-cp", _class_path(kafka_jars),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(self._folder / "zoo.cfg"),
        ]  # fmt: skip
        with open(self._folder / "zookeeper.log", "ab") as log:
            self._process = subprocess.Popen(
                with_parent(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        self._client: Any = None
        try:
            wait_until_open(self.port, self._process, "ZooKeeper", None)
            self._connect()
        except BaseException:
            self.stop()
            raise

    def _connect(self) -> None:
        from kazoo.client import KazooClient
        from kazoo.handlers.threading import KazooTimeoutError

        logging.getLogger("kazoo").addHandler(logging.NullHandler())  # else its warnings come between the results
        self._client = KazooClient(f"127.0.0.1:{self.port}", timeout=30)
        try:
            self._client.start(timeout=START_TIMEOUT_S)
        except KazooTimeoutError:
            raise BrokerError(f"ZooKeeper did not answer within {START_TIMEOUT_S:.0f} s.") from None

    def exists(self, path: str) -> bool:
        """Whether there is such a node."""
        return self._client.retry(self._client.exists, path) is not None

    def cpu_s(self) -> float:
        """The CPU time of the server so far."""
        return usage(self._process.pid).cpu_s or 0.0

    def stop(self) -> None:
        """End it and remove its data."""
        if self._client is not None:
            self._client.stop()
            self._client.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _java() -> str:
    found = shutil.which("java")
    if found is None:
        raise BrokerError("ZooKeeper needs the command java (Debian: default-jre-headless).")
    return found


def _logging(folder: Path) -> str:
    path = folder / "log4j.properties"
    path.write_text(LOG4J)
    return f"-Dlog4j.configuration=file:{path}"


def _class_path(kafka_jars: Path | None) -> str:
    if kafka_jars is not None:
        return f"{kafka_jars}/*"
    if not DEBIAN_JARS[0].exists():
        raise BrokerError(
            f"{DEBIAN_JARS[0]} is missing: install ZooKeeper (Debian: apt-get install zookeeper), or name the jars of Apache "
            f"Kafka {KAFKA_VERSION} with --kafka-jars."
        )
    return ":".join(map(str, DEBIAN_JARS))


class KafkaMember(JavaServer):
    """Apache Kafka 3.9 with ZooKeeper, 1 GB heap."""

    def __init__(self, jars: Path, config: Mapping[str, object]) -> None:
        port = free_ports(1)[0]
        super().__init__("Apache Kafka", port, [])
        path = self._folder / "server.properties"
        self._command = [_java(), "-Xms1g", "-Xmx1g", _logging(self._folder), "-cp", f"{jars}/*", "kafka.Kafka", str(path)]
        values = {"listeners": f"PLAINTEXT://{self.bootstrap_servers}", "log.dirs": self._folder / "data", **config}
        path.write_text(properties_text(values))
        try:
            self.start()
        except BaseException:
            self.stop()
            raise


def new_member(name: str, jars: Path | None, config: Mapping[str, object]) -> Member:
    """A running broker of the kind that a results file calls `name`. Raises BrokerError."""
    if name == results.APACHE_KAFKA:
        assert jars is not None
        return KafkaMember(jars, config)
    return OwnBroker(config)


def raise_descriptor_limit() -> None:
    """Allow this process, and brokers that it starts, a file for each of many thousand replicas."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for soft, limit in ((hard, hard), (DESCRIPTORS, max(hard, DESCRIPTORS))):  # the second one as root
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, limit))


def wait_until(condition: Any, what: str, timeout_s: float, step_s: float = 0.02) -> None:
    """Wait for a condition. Raises BrokerError; a broker that does not answer yet does not meet it."""
    deadline = time.monotonic() + timeout_s
    while True:
        with suppress(OSError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise BrokerError(f"{what} after {timeout_s:.0f} s.")
        time.sleep(step_s)
