"""One broker in a process of its own: server, logs and replica manager; the test is its controller and answers what it asks."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import traceback
import uuid
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from kafka_cy.api import api_versions, hot
from kafka_cy.network.metadata_image import ImagePublisher, TopicMetadata
from kafka_cy.network.server import Server
from kafka_cy.protocol.controller_messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse
from kafka_cy.protocol.controller_messages.leader_and_isr import LeaderAndIsrRequest, LeaderAndIsrResponse
from kafka_cy.protocol.controller_messages.stop_replica import StopReplicaRequest, StopReplicaResponse
from kafka_cy.replication.fetchers import Endpoint
from kafka_cy.replication.replica_manager import BrokerSide, ReplicaManager
from kafka_cy.replication.replica_numbers import ReplicaNumbers
from kafka_cy.replication.settings import ReplicationSettings, request_versions
from kafka_cy.replication.waiting_roles import UnknownSettings
from kafka_cy.server.control_loop import ControlLoop
from kafka_cy.storage.log_manager import LogManager
from tests.api_hot.harness import API_TABLE, CLUSTER_ID, FLEXIBLE_FROM

UNREADABLE = "unreadable"  # a topic whose settings cannot be read
NAMES = ("online", "follower", "offline", "deleted")


class Options(NamedTuple):
    """How a test's broker is configured."""

    lag_ms: int = 60_000
    ibp: str = "3.9"
    config: tuple[tuple[str, Any], ...] = ()
    dirs: int = 1


class Described(NamedTuple):
    """A partition, as its broker has it."""

    state: str
    leader_epoch: int
    log_end_offset: int
    high_watermark: int
    log_start_offset: int
    epochs: int
    topic_id: uuid.UUID


class NoRequests:
    """The source of a loop that only gets calls."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def take_requests(self, timeout_s: float) -> list[Any]:
        self._woken.wait(timeout_s)
        self._woken.clear()
        return []

    def wake(self) -> None:
        self._woken.set()


class Log:
    """The lines of the broker's log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def _add(self, text: str, **details: Any) -> None:
        self.lines.append(" ".join([text, *(f"{key}={value}" for key, value in details.items())]))

    info = warning = error = _add

    def repeated(self, level: str, text: str, details: dict[str, Any], address: str = "") -> None:
        self._add(f"repeated {text}" if level == "warning" else text, **details)


class Process:
    """The broker, in its process."""

    def __init__(self, broker_id: int, folder: str, options: Options, asks: Connection) -> None:
        self.broker_id = broker_id
        self.options = options
        self.asks = asks
        self.waiting: dict[int, Callable[[AlterPartitionResponse | None], object]] = {}
        self.leadership: list[tuple[str, int, int, bool]] = []
        self.log = Log()
        self.known: dict[str, uuid.UUID] = {}
        self.unknown: set[str] = set()  # topics whose settings cannot be understood
        self.loop = ControlLoop(self.fault)
        self.loop.attach(NoRequests(), lambda request: None)
        dirs = [f"{folder}/d{i}" for i in range(options.dirs)]
        self.logs = LogManager(
            dirs, broker_id, CLUSTER_ID, dict(options.config), warn=self.log.warning, leads=False, high_watermark_interval_ms=100
        )
        self.logs.start()
        self.server = Server(1, request_max_bytes=100 << 20, queued_request_bytes_max=1 << 30, queued_response_bytes_max=1 << 30)
        self.server.set_api_versions([(key, low, high, FLEXIBLE_FROM[key]) for key, low, high in API_TABLE])
        api_versions.set_table(API_TABLE)
        hot.register_all()
        self.port = self.server.listen(0, "PLAINTEXT", "127.0.0.1", 0)
        self.publisher = ImagePublisher(self.server)
        self.publisher.set_brokers(CLUSTER_ID, broker_id, broker_id, [(broker_id, None, [("127.0.0.1", self.port)])])
        self.publish({topic for topic, _ in self.logs.partitions})
        self.server.start()
        settings = ReplicationSettings(
            broker_id, request_versions(options.ibp), lag_time_max_ms=options.lag_ms, fetch_wait_max_ms=100, fetch_backoff_ms=50
        )
        self.replicas = ReplicaManager(
            settings, self.logs, self.loop,
            BrokerSide(
                self.alter_partition, self.topic_config, lambda topic: topic in self.unknown, self.publish,
                lambda *change: self.leadership.append(change), lambda: None, self.log, self.fault,
            ),
        )  # fmt: skip
        self.replicas.start()
        self.thread = threading.Thread(target=self.loop.run, daemon=True)
        self.thread.start()

    def fault(self, what: str, error: BaseException) -> None:
        self.log.error("FAULT " + what + "".join(traceback.format_exception(error)))

    def topic_config(self, topic: str) -> dict[str, Any]:
        if topic == UNREADABLE:
            raise ConnectionError
        if topic in self.unknown:
            raise UnknownSettings
        return dict(self.options.config)

    def publish(self, topics: set[str]) -> None:
        """The logs of these topics have changed."""
        hosted = [partition for key, partition in self.logs.partitions.items() if key[0] in topics]
        changed: dict[str, TopicMetadata] = {}
        for each in hosted:
            topic = changed.setdefault(each.topic, TopicMetadata(each.topic, each.topic_id, False, []))
            topic.partitions.append((each.index, self.broker_id, 0, [self.broker_id], [self.broker_id], [], each))
        self.publisher.set_topics(changed.values(), topics - changed.keys())
        self.publisher.publish()

    def alter_partition(
        self, request: AlterPartitionRequest, done: Callable[[AlterPartitionResponse | None], object]
    ) -> None:
        number = len(self.waiting)
        self.waiting[number] = done
        self.asks.send((number, request))

    # -- what the test asks for --

    def do_port(self) -> int:
        return self.port

    def do_alter_answer(self, number: int, response: AlterPartitionResponse | None) -> None:
        self.waiting[number](response)

    def do_brokers(self, ports: dict[int, int]) -> None:
        self.replicas.brokers_changed({broker: Endpoint("127.0.0.1", port) for broker, port in ports.items()})

    def do_unknown(self, topics: set[str]) -> None:
        self.unknown = topics

    def do_registered(self, epoch: int) -> None:
        self.replicas.registered(epoch)

    def do_leader_and_isr(self, version: int, body: bytes, is_long: bool = False) -> bytes | None:
        return self._answered(
            lambda done: self.replicas.leader_and_isr(
                lambda: LeaderAndIsrRequest.decode(version, body), done, is_long=is_long
            ),
            version,
        )  # fmt: skip

    def do_too_many(self) -> list[bool]:
        """Whether requests are taken: one that is too large, then more than may wait."""
        goes_on, answered = threading.Event(), threading.Semaphore(0)
        taken = [self.replicas.stop_replica(lambda: StopReplicaRequest(9, 9, -1, ()), lambda _: None, size=65 << 20)]
        self.loop.call_soon_threadsafe(goes_on.wait, 60)
        for _ in range(101):
            request = StopReplicaRequest(9, 0, -1, ())
            taken.append(self.replicas.stop_replica(lambda request=request: request, lambda _: answered.release()))  # type: ignore[misc]
        goes_on.set()
        for _ in range(sum(taken)):
            assert answered.acquire(timeout=60), self.log.lines
        return taken

    def do_stop_replica(self, version: int, body: bytes) -> bytes | None:
        return self._answered(
            lambda done: self.replicas.stop_replica(lambda: StopReplicaRequest.decode(version, body), done), version
        )

    def _answered(self, submit: Callable[[Callable[[Any], object]], bool], version: int) -> bytes | None:
        found: list[Any] = []
        answered = threading.Event()

        def done(response: LeaderAndIsrResponse | StopReplicaResponse | None) -> None:
            found.append(response)
            answered.set()

        assert submit(done)
        assert answered.wait(60), self.log.lines
        return None if found[0] is None else found[0].encode(version)

    def do_describe(self, topic: str, index: int = 0) -> Described | None:
        partition = self.logs.partitions.get((topic, index))
        if partition is None:
            return None
        return Described(
            NAMES[partition.state], partition.leader_epoch, partition.log_end_offset, partition.high_watermark,
            partition.log_start_offset, partition.log.latest_epoch, uuid.UUID(bytes=partition.topic_id),
        )  # fmt: skip

    def do_records(self, topic: str, index: int = 0) -> bytes:
        """Everything from the start of the log to its end, byte for byte."""
        partition = self.logs.partitions[topic, index]
        found, offset = b"", partition.log_start_offset
        while offset < partition.log_end_offset:
            part = partition.log.read(offset, 1 << 20)
            assert part
            found += part
            last = 0
            while last < len(part):
                offset = int.from_bytes(part[last : last + 8], "big") + int.from_bytes(part[last + 23 : last + 27], "big") + 1
                last += 12 + int.from_bytes(part[last + 8 : last + 12], "big")
        return found

    def do_delete_records(self, topic: str, offset: int) -> int:
        return self.logs.partitions[topic, 0].delete_records(offset)

    def do_isr(self, topic: str, index: int = 0) -> tuple[int, ...] | None:
        state = self.replicas.isr.led.get((topic, index))
        return None if state is None else state.isr

    def do_numbers(self) -> ReplicaNumbers:
        return self.replicas.numbers()

    def do_following(self) -> dict[tuple[str, int], tuple[int, int]]:
        return {key: tuple(each) for key, each in self.replicas.fetchers.following.copy().items()}

    def do_leadership(self) -> list[tuple[str, int, int, bool]]:
        return self.leadership

    def do_lines(self) -> list[str]:
        return self.log.lines

    def do_fail_dir(self, number: int) -> None:
        """A log directory fails."""
        path = self.logs.log_dirs[number]
        lost = [each for each in self.logs.partitions.values() if each.log.directory.startswith(path + "/")]
        self.logs._hosted.take_offline(path, "a test")
        self.replicas.log_dir_failed(lost)

    def do_stop(self) -> None:
        self.server.stop(1.0)
        self.loop.stop()
        self.thread.join(30)
        self.loop.join_workers()
        self.replicas.stop()
        self.logs.shutdown()


def run(broker_id: int, folder: str, options: Options, commands: Connection, asks: Connection) -> None:
    """Body of the process."""
    process = Process(broker_id, folder, options, asks)
    while True:
        try:
            name, arguments = commands.recv()
        except EOFError:
            return
        try:
            commands.send((True, getattr(process, f"do_{name}")(*arguments)))
        except Exception:  # noqa: BLE001 the test gets it
            commands.send((False, traceback.format_exc()))
        if name == "stop":
            return


class Broker:
    """A broker's process, as the test sees it. `asked` are its AlterPartition requests; `answer` decides on them."""

    def __init__(
        self, broker_id: int, folder: Path, options: Options,
        answer: Callable[[Broker, AlterPartitionRequest], AlterPartitionResponse | None],
    ) -> None:
        self.broker_id = broker_id
        self.folder = folder
        folder.mkdir(exist_ok=True)
        context = multiprocessing.get_context("spawn")
        self._commands, theirs = context.Pipe()
        self._asks, their_asks = context.Pipe()
        self._lock = threading.Lock()
        self._answer = answer
        self.process = context.Process(
            target=run, args=(broker_id, str(folder), options, theirs, their_asks), daemon=True
        )
        self.process.start()
        theirs.close()
        their_asks.close()
        self._port = 0
        self._thread = threading.Thread(target=self._control, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        if not self._port:
            self._port = self.call("port")
        return self._port

    def call(self, name: str, *arguments: Any) -> Any:
        with self._lock:
            self._commands.send((name, arguments))
            assert self._commands.poll(120), f"broker {self.broker_id} does not answer {name}"
            good, result = self._commands.recv()
        assert good, result
        return result

    def describe(self, topic: str, index: int = 0) -> Described:
        found: Described = self.call("describe", topic, index)
        return found

    def _control(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                number, request = self._asks.recv()
                threading.Thread(target=self._decide, args=(number, request), daemon=True).start()

    def _decide(self, number: int, request: AlterPartitionRequest) -> None:
        response = self._answer(self, request)
        with contextlib.suppress(EOFError, OSError, AssertionError):
            self.call("alter_answer", number, response)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def stop(self) -> None:
        if self.process.is_alive():
            self.call("stop")
            self.process.join(30)
