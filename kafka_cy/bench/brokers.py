"""The brokers under load: our own, Apache Kafka from its jars, the floor, or any broker at an address."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kafka_cy.base.connection_probe import connection_failure
from kafka_cy.bench import results
from kafka_cy.bench.process_sampler import Pids, process_of_port
from kafka_cy.bench.with_parent import with_parent
from kafka_cy.testing.broker import Broker, answers_api_versions, free_ports

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

KAFKA_VERSION = "4.3.1"
START_TIMEOUT_S = 60.0
REACH_TIMEOUT_S = 5.0
REACH_STEP_S = 0.5  # after it, a failure that cannot pass (connection refused ...) is reported
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1", "[::1]"}

#: A KRaft node that is broker and controller.
KAFKA_CONFIG = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "log.segment.delete.delay.ms": 1000,
    "group.initial.rebalance.delay.ms": 0,
}


class BrokerError(Exception):
    """A broker cannot be started or reached; the text is one sentence for the user."""


class Target(Protocol):
    """A broker under load. `name` is a results file's `target`; `pid` is None when it is not on this machine, and
    the processes of all brokers of a cluster."""

    name: str
    client_properties: dict[str, str]

    @property
    def bootstrap_servers(self) -> str: ...

    @property
    def pid(self) -> Pids: ...

    def alive(self) -> bool:
        """Whether it still runs (or, on another machine, still answers)."""

    def stop(self) -> None:
        """Stop it if we started it, and remove its data."""


class Restartable(Target, Protocol):
    """A broker that we started ourselves."""

    def kill(self) -> None:
        """SIGKILL."""

    def start(self) -> None:
        """Start it on its ports and data; returns when it answers ApiVersions. Raises BrokerError."""


class OwnBroker:
    """kafka-cy in a process and a temporary folder of its own. `more_listeners`: see ApacheKafka."""

    def __init__(
        self,
        config: Mapping[str, object] | None = None,
        *,
        folder: Path | None = None,
        more_listeners: Sequence[str] = (),
    ) -> None:
        self.name = results.KAFKA_CY
        self.client_properties: dict[str, str] = {}
        # Ctrl-C is for the benchmark: its broker must answer until the last samples are taken.
        self._broker = Broker(config, folder=folder, own_process_group=True)
        if more_listeners:
            self._broker.port, self._broker.metrics_port, self._broker.lag_port = free_ports(3)
            self._broker.config["listeners"] = ",".join([f"PLAINTEXT://{self.bootstrap_servers}", *more_listeners])
        self.start()

    @property
    def bootstrap_servers(self) -> str:
        return self._broker.bootstrap_servers

    @property
    def pid(self) -> int | None:
        return self._broker.process.pid if self._broker.process is not None else None

    @property
    def data_dir(self) -> Path:
        return self._broker.data_dir

    def alive(self) -> bool:
        return self._broker.process is not None and self._broker.process.poll() is None

    def kill(self) -> None:
        self._broker.kill()

    def shut_down(self) -> None:
        """SIGTERM; returns at once."""
        if self._broker.process is not None:
            self._broker.process.terminate()

    def start(self) -> None:
        if not self.alive():
            self._broker.kill()  # after shut_down
        try:
            self._broker.start()
        except RuntimeError as error:
            self._broker.stop()
            lines = str(error).splitlines()
            raise BrokerError(f"kafka-cy could not be started: {lines[0]} ({lines[-1]}).") from None
        except ValueError as error:  # an unknown key
            self._broker.stop()
            raise BrokerError(f"kafka-cy could not be started: {error}.") from None
        except BaseException:  # it does not receive Ctrl-C
            self._broker.stop()
            raise

    def stop(self) -> None:
        self._broker.kill()  # the data is deleted: do not write thousands of logs to disk first
        self._broker.stop()


class JavaServer:
    """A broker in Java in a process and a temporary folder of its own."""

    def __init__(self, what: str, port: int, command: Sequence[str]) -> None:
        self.client_properties: dict[str, str] = {}
        self.bootstrap_servers = f"127.0.0.1:{port}"
        self._what, self._port, self._command = what, port, list(command)
        self._folder = Path(tempfile.mkdtemp(prefix="kafka-cy-bench-kafka-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def shut_down(self) -> None:
        """SIGTERM; returns at once."""
        if self._process is not None:
            self._process.terminate()

    def start(self) -> None:
        path = self._folder / "server.log"
        with open(path, "ab") as log:
            self._process = subprocess.Popen(
                with_parent(self._command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        wait_until_open(self._port, self._process, self._what, path)

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class ApacheKafka(JavaServer):
    """Apache Kafka (KRaft, one node, 1 GB heap). `more_listeners` are `NAME://HOST:PORT`, in addition to the plaintext one."""

    def __init__(
        self, jars: Path, config: Mapping[str, object] | None = None, *, more_listeners: Sequence[str] = ()
    ) -> None:
        self.name = results.APACHE_KAFKA
        port, controller_port = free_ports(2)
        self._java = ["java", "-Xms1g", "-Xmx1g", "-cp", f"{jars}/*"]
        super().__init__("Apache Kafka", port, [])
        properties = self._folder / "server.properties"
        self._command = [*self._java, "kafka.Kafka", str(properties)]
        advertised = ",".join([f"PLAINTEXT://{self.bootstrap_servers}", *more_listeners])
        values = {
            **KAFKA_CONFIG,
            "listeners": f"{advertised},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": advertised,
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
            "log.dirs": self._folder / "data",
            **(config or {}),
        }
        properties.write_text(properties_text(values))
        try:
            self._run_storage_tool("format", "--standalone", "-t", self._uuid(), "-c", str(properties))
            self.start()
        except BaseException:
            self.stop()
            raise

    def _uuid(self) -> str:
        return self._run_storage_tool("random-uuid").split()[-1]

    def _run_storage_tool(self, *arguments: str) -> str:
        command = [*self._java, "kafka.tools.StorageTool", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
        if done.returncode:
            raise BrokerError(f"Apache Kafka's StorageTool failed: {(done.stderr or done.stdout).strip()[-300:]}")
        return done.stdout


class Floor:
    """The bare loop of floor.pyx in its own process."""

    def __init__(self) -> None:
        self.name = results.FLOOR
        self.client_properties: dict[str, str] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="kafka-cy-bench-floor-"))
        self.port = free_ports(1)[0]
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        program = "import sys; from kafka_cy.bench.floor import serve; serve(int(sys.argv[1]), sys.argv[2])"
        self._process = subprocess.Popen(
            with_parent([sys.executable, "-c", program, str(self.port), str(self._folder)]),
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
        try:
            wait_until_open(self.port, self._process, "the floor", None)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class Attached:
    """An existing broker at an address; raises BrokerError within seconds when none answers."""

    def __init__(self, bootstrap_servers: str, client_properties: Mapping[str, str]) -> None:
        self.name = bootstrap_servers
        self.bootstrap_servers = bootstrap_servers
        self.client_properties = dict(client_properties)
        self._address = parse_address(bootstrap_servers.split(",")[0])
        connect_admin(self)
        host, port = self._address
        self._pid = process_of_port(port) if host in LOCAL_HOSTS else None

    @property
    def pid(self) -> int | None:
        return self._pid

    def alive(self) -> bool:
        try:
            socket.create_connection(self._address, timeout=REACH_TIMEOUT_S).close()
            return True
        except OSError:
            return False

    def stop(self) -> None:
        pass


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port`, `[::1]:port` or `PROTOCOL://host:port`; raises BrokerError."""
    host, separator, port = text.rpartition("://")[2].rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise BrokerError(f"--bootstrap-server needs HOST:PORT, not {text!r}.")
    return host.strip("[]"), int(port)


def client_config(target: Target, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """librdkafka's configuration for a target: quiet, short connection timeout, with the user's security options."""
    return {
        "bootstrap.servers": target.bootstrap_servers,
        "client.id": "kafka-cy-bench",
        "log_level": 0,
        "error_cb": lambda error: None,
        "socket.connection.setup.timeout.ms": 5000,
        **target.client_properties,
        **(extra or {}),
    }


def connect_admin(target: Target) -> AdminClient:
    """An admin client whose broker has answered; raises BrokerError within seconds when none does."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    refusals: list[str] = []

    def heard(error: KafkaError) -> None:
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            refusals.append(error.str())

    settings = client_config(target, {"error_cb": heard})
    try:
        admin = AdminClient(settings)
    except KafkaException as error:
        raise BrokerError(f"{error.args[0].str()}.") from None
    protocol = str(settings.get("security.protocol", "PLAINTEXT"))
    deadline = time.monotonic() + REACH_TIMEOUT_S
    while True:
        try:
            admin.list_topics(timeout=REACH_STEP_S)
            return admin
        except KafkaException:
            admin.poll(0)  # delivers librdkafka's events
        final = time.monotonic() > deadline
        sentence = connection_failure(target.bootstrap_servers, protocol, refusals, final=final)
        if sentence is not None:
            raise BrokerError(sentence)


def properties_text(values: Mapping[str, object]) -> str:
    """The text of a server.properties."""
    return "".join(f"{key}={value}\n" for key, value in values.items())


def kafka_jars(given: str | None, version: str = KAFKA_VERSION) -> Path:
    """The folder of Apache Kafka's jars; raises BrokerError, with how to get them: an installed package has no scripts."""
    root = Path(__file__).parents[2]
    script = root / "scripts/install-kafka.sh"
    folder = Path(given) if given else root / ".cache" / f"kafka-{version}"
    if not any(folder.glob("kafka_*.jar")):
        if given:
            raise BrokerError(f"Apache Kafka's jars (kafka_*.jar) are not in {folder}.")
        if script.exists():
            raise BrokerError(
                f"Apache Kafka's jars are not in {folder}: run scripts/install-kafka.sh, or name their folder with --kafka-jars."
            )
        raise BrokerError(
            f"Apache Kafka's jars are needed: unpack the download of Apache Kafka {version}, and name the folder libs in "
            "it with --kafka-jars."
        )
    if shutil.which("java") is None:
        raise BrokerError("Apache Kafka needs the command java (Debian: default-jre-headless).")
    return folder


def wait_until_open(port: int, process: subprocess.Popen[bytes], what: str, log: Path | None) -> None:
    """Wait until it answers ApiVersions; a server without a log (the floor) only has to listen."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:] if log else []
            raise BrokerError(f"{what} ended with exit code {process.returncode}: {' '.join(last)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            if log is None or answers_api_versions("127.0.0.1", port, START_TIMEOUT_S):
                return
        except OSError:
            pass
        time.sleep(0.005)
    raise BrokerError(f"{what} did not answer within {START_TIMEOUT_S:.0f} s.")
