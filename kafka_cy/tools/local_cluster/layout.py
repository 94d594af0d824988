"""The folder of a cluster: what the first start writes there, and what a later one finds.

    zookeeper/zoo.cfg, data, zookeeper.log
    broker1/server.properties, data, broker.log

The ports are in these files, so that a later start is the same cluster. A file that exists is not written again: changes of
the user stay. Folders of brokers have no `-` in their names: a broker whose log directory is above them must not take them
for partitions.
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kafka_cy.tools.client import ToolError
from kafka_cy.tools.local_cluster import zookeeper

if TYPE_CHECKING:
    from kafka_cy.config import BrokerConfig

METRICS_PORT, LAG_PORT, ZOOKEEPER_PORT = 9404, 9308, 2181
PORTS_TRIED_MAX = 200
PORT_MAX = 65535
BROKERS_MAX = 64


@dataclass(frozen=True)
class BrokerFiles:
    """One broker, as its server.properties has it. `metrics`, `lag`: host:port, or empty."""

    number: int
    folder: Path
    host: str
    port: int
    metrics: str
    lag: str

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"{self.host}:{self.port}"

    @property
    def properties(self) -> Path:
        """The configuration."""
        return self.folder / "server.properties"

    @property
    def log(self) -> Path:
        """What the broker writes to stderr and stdout."""
        return self.folder / "broker.log"


class Layout:
    """The folder, held by this process until it ends. For one thread."""

    def __init__(self, folder: Path) -> None:
        """Create the folder, if necessary, and take it. Raises ToolError, OSError."""
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / ".lock", "a", encoding="ascii")  # noqa: SIM115 (the lock lasts as long as the file is open)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ToolError(f"Another process runs the cluster in {self.folder}.") from error
        self.zookeeper_folder = self.folder / "zookeeper"
        self.zookeeper_configuration = self.zookeeper_folder / "zoo.cfg"
        self.zookeeper_log = self.zookeeper_folder / "zookeeper.log"
        self.zookeeper_port = 0
        self.brokers: list[BrokerFiles] = []

    def release(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def prepare(self, count: int, first_port: int) -> None:
        """Write the files that do not exist yet, and read all. Raises ToolError, OSError."""
        found = self._found()
        if found > count:
            raise ToolError(
                f"The cluster in {self.folder} has {found} brokers: start {found} or more, or use another --dir."
            )
        self._require_metadata(found)
        known = [self._read(number) for number in range(1, found + 1)]
        taken = {
            int(each.rpartition(":")[2])
            for broker in known
            for each in (broker.address, broker.metrics, broker.lag)
            if each
        }
        if self.zookeeper_configuration.exists():
            self._read_zookeeper()
            taken.add(self.zookeeper_port)
        else:
            wanted = set(range(first_port, first_port + count))
            self.zookeeper_port = free_port(ZOOKEEPER_PORT, taken | wanted)
            (self.zookeeper_folder / "data").mkdir(parents=True, exist_ok=True)
            write_new(self.zookeeper_configuration, zookeeper.settings(self.zookeeper_folder, self.zookeeper_port))
        first = known[0].port if known else first_port
        for number in range(found + 1, count + 1):
            self._write(number, count, first + number - 1, taken)
        for folder in (self.folder, self.folder.parent):  # the brokers must not lose their folders with the power
            sync_folder(folder)
        self.brokers = known + [self._read(number) for number in range(found + 1, count + 1)]

    def _found(self) -> int:
        """How many brokers the folder has. A folder without configuration is one whose start was interrupted."""
        count = 0
        while (self.folder / f"broker{count + 1}" / "server.properties").exists():
            count += 1
        return count

    def _require_metadata(self, found: int) -> None:
        """A start must not make a new cluster around records of another one. Raises ToolError."""
        used = [
            number for number in range(1, found + 1) if (self._broker_folder(number) / "data/meta.properties").exists()
        ]
        if used and not (self.zookeeper_folder / "data" / "version-2").exists():
            raise ToolError(
                f"{self._broker_folder(used[0])} has a broker's data, but the cluster's metadata is missing in "
                f"{self.zookeeper_folder}: use another --dir, or bring it back."
            )

    def _broker_folder(self, number: int) -> Path:
        return self.folder / f"broker{number}"

    def _read_zookeeper(self) -> None:
        path = self.zookeeper_configuration
        try:
            self.zookeeper_port = zookeeper.port_of(path.read_text())
        except ValueError as error:
            raise ToolError(f"{path} cannot be used: {error}.") from error

    def _write(self, number: int, count: int, port: int, taken: set[int]) -> None:
        if port > PORT_MAX:
            raise ToolError(f"Port {port} does not exist: choose a lower --port.")
        folder = self._broker_folder(number)
        (folder / "data").mkdir(parents=True, exist_ok=True)
        taken.add(port)
        metrics = free_port(METRICS_PORT + number - 1, taken)
        lag = free_port(LAG_PORT + number - 1, taken | {metrics})
        taken |= {metrics, lag}
        replicas = min(count, 3)
        write_new(
            folder / "server.properties",
            f"""\
# Broker {number} of a cluster that `kafka-cy cluster start` made. Changes of this file stay.
broker.id={number}
listeners=PLAINTEXT://127.0.0.1:{port}
log.dirs={folder / "data"}
zookeeper.connect=127.0.0.1:{self.zookeeper_port}
zookeeper.session.timeout.ms=6000
default.replication.factor={replicas}
min.insync.replicas={max(1, replicas - 1)}
offsets.topic.replication.factor={replicas}
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={max(1, replicas - 1)}
group.initial.rebalance.delay.ms=0
# When the last brokers stop, or ZooKeeper is gone, nobody can take over what they lead: do not ask for long.
controlled.shutdown.retry.backoff.ms=500
controller.socket.timeout.ms=5000
kafkacy.metrics.listen=127.0.0.1:{metrics}
kafkacy.lag.listen=127.0.0.1:{lag}
""",
        )

    def _read(self, number: int) -> BrokerFiles:
        folder = self._broker_folder(number)
        config = load(folder / "server.properties")
        missing = [path for path in config.log_dirs if not Path(path).is_dir()]
        if missing:
            raise ToolError(
                f"{folder / 'server.properties'}: the log directory {missing[0]} does not exist. If the cluster's folder was "
                "moved, correct log.dirs (and dataDir in zookeeper/zoo.cfg)."
            )
        listener = config.listeners[0]
        host = listener.host if listener.host not in ("", "0.0.0.0", "::") else "127.0.0.1"
        return BrokerFiles(
            number, folder, host, listener.port, config["kafkacy.metrics.listen"], config["kafkacy.lag.listen"]
        )


def load(path: Path) -> BrokerConfig:
    """Read a configuration. Raises ToolError."""
    from kafka_cy.config import BrokerConfig, ConfigError

    try:
        return BrokerConfig.load(str(path))
    except (ConfigError, OSError, ValueError) as error:
        raise ToolError(f"{path}: {error}") from error


def write_new(path: Path, text: str) -> None:
    """Write a file: all of it, or none if the machine stops meanwhile. Raises OSError."""
    unfinished = path.with_name(path.name + ".new")
    with open(unfinished, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def free_port(wanted: int, taken: set[int]) -> int:
    """The port, or the next one that is neither taken nor in use. Raises ToolError."""
    for port in range(wanted, min(wanted + PORTS_TRIED_MAX, PORT_MAX + 1)):
        if port not in taken and is_free(port):
            return port
    raise ToolError(f"All of {PORTS_TRIED_MAX} ports from {wanted} on are in use.")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether nobody listens on a port."""
    with suppress(OSError), socket.create_server((host, port)):
        return True
    return False
