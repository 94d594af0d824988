"""A cluster with ZooKeeper in which something fails all the time: brokers, ZooKeeper, and the connections between them."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from raw_client import Closed

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import LISTENER, MemberBroker
from tests.cluster.zookeeper_ensemble import Ensemble, Proxy, wait_until

from .client import Client
from .cluster_client import ClusterClient
from .members import CLASSIC, NO_MEMBERS

BROKERS = 3
SESSION_MS = 1500
FAULT_S_MAX = 3.0  # some faults are over before a session is, some are not
DELAY_S_MAX = 0.02
DISK_BYTES = 128 << 20
WAIT_S = 40.0
INTERNAL = ("__consumer_offsets", "__transaction_state")
KAFKA_CY, KAFKA = "kafka-cy", "kafka"
SETTINGS = {
    "listener.security.protocol.map": f"{LISTENER}:PLAINTEXT,CLIENT:PLAINTEXT",
    "zookeeper.session.timeout.ms": str(SESSION_MS),
    "zookeeper.connection.timeout.ms": "20000",  # the ensemble may have lost its majority a moment ago
    "replica.lag.time.max.ms": "2000",
    "replica.socket.timeout.ms": "3000",
    "controller.socket.timeout.ms": "3000",
    "min.insync.replicas": "2",
    "offsets.topic.num.partitions": "3",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.num.partitions": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "log.cleaner.backoff.ms": "20",
    "log.initial.task.delay.ms": "20",
    "auto.create.topics.enable": "false",
}


class Member:
    """One broker, with a proxy before each ZooKeeper server and one before its listener for brokers."""

    def __init__(self, folder: Path, ensemble: Ensemble, broker_id: int, kind: str, stack: ExitStack) -> None:
        self.kind = kind
        port, self.client_port = free_ports(2)
        self.to_zookeeper = [stack.enter_context(Proxy(server.port)) for server in ensemble.servers]
        self.from_brokers = stack.enter_context(Proxy(port))
        clients = f"CLIENT://127.0.0.1:{self.client_port}"
        settings = SETTINGS | {
            "listeners": f"{LISTENER}://127.0.0.1:{port},{clients}",
            "advertised.listeners": f"{LISTENER}://127.0.0.1:{self.from_brokers.port},{clients}",
        }
        connect = ",".join(f"127.0.0.1:{each.port}" for each in self.to_zookeeper)
        self.broker: MemberBroker | Kafka = (MemberBroker if kind == KAFKA_CY else Kafka)(
            folder, connect, broker_id, port, settings
        )
        self.logs = Path(self.broker.logs)
        self.logs.mkdir()
        self.has_disk = mount(self.logs)
        if self.has_disk:
            stack.callback(subprocess.run, ["umount", "-l", str(self.logs)], check=False)
        stack.callback(self.broker.kill)

    def start(self) -> None:
        if self.broker.process is not None and self.broker.process.poll() is not None:
            self.broker.kill()  # a broker whose start has failed is started again, as a supervisor does
        if self.broker.process is None:
            self.broker.start()

    def signal(self, number: int) -> None:
        if self.broker.process is not None:
            self.broker.process.send_signal(number)

    def terminate(self, wait_s: float) -> None:
        """A controlled shutdown; it may wait in vain for the others."""
        self.signal(signal.SIGTERM)
        if self.broker.process is not None:
            with suppress(Exception):
                self.broker.process.wait(wait_s)
        self.broker.kill()


class FaultyCluster:
    """Three brokers and three ZooKeeper servers. One fault at a time, on a thread of its own, while the clients go on."""

    replication_factor = BROKERS
    steps = 200
    transaction_versions: tuple[int, ...] = (1,)  # a cluster with ZooKeeper has not finalized transaction.version (KIP-890)
    group_kinds: tuple[str, ...] = (NO_MEMBERS, CLASSIC)
    reads_are_current = False
    # A coordinator that has stood still does not know for a moment that it is none any more. It says that a partition is in the
    # transaction, which was so in an earlier one, and the true coordinator says that it is not. Kafka's does the same.
    tolerated = frozenset({ErrorCode.TRANSACTION_ABORTABLE})

    def __init__(self, folder: Path, kinds: Sequence[str], faults: str = "") -> None:
        """`kinds` of brokers; `faults`: a regular expression of those that may happen."""
        self.kinds = kinds
        self._kinds = [each for each in FAULTS if re.search(faults, each[0])]
        self.fault_share = 0.06
        self.faults: list[str] = []
        self._folder = folder
        self._stack = ExitStack()
        self._fault: threading.Thread | None = None

    def __enter__(self) -> FaultyCluster:
        with ExitStack() as stack:
            self.ensemble = stack.enter_context(Ensemble(self._folder, 3))
            self.members = [
                Member(self._folder, self.ensemble, number, kind, stack) for number, kind in enumerate(self.kinds, 1)
            ]
            for member in self.members:
                member.start()
            self._clients = [ClusterClient([each], "test", random.Random()) for each in self._addresses]
            self.mend()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._join()
        self._stack.close()

    @property
    def _addresses(self) -> list[str]:
        return [f"127.0.0.1:{member.client_port}" for member in self.members]

    def connect(self, name: str, transaction_version: int = 1) -> Client:
        requests = ClusterClient(self._addresses, name, random.Random(name))
        return Client(requests, transaction_version, wait_s=WAIT_S)

    # -- faults --

    def disturb(self, chance: random.Random, step: Callable[[], None]) -> None:
        """Begin a fault, unless one goes on."""
        member = chance.choice(self.members)
        kind, fault = chance.choice(self._kinds)
        delay_s, lasts_s = chance.uniform(0, DELAY_S_MAX), chance.uniform(0.1, FAULT_S_MAX)
        if self._fault is None or not self._fault.is_alive():
            self.faults.append(f"{kind} {member.broker.broker_id} for {lasts_s:.2f} s")
            call = partial(fault, self, member, lasts_s)
            self._fault = threading.Timer(delay_s, call)
            self._fault.start()
        step()

    def kill(self, member: Member, lasts_s: float) -> None:
        member.broker.kill()
        pause(lasts_s)
        member.start()

    def stop(self, member: Member, lasts_s: float) -> None:
        member.signal(signal.SIGSTOP)
        pause(lasts_s)
        member.signal(signal.SIGCONT)

    def terminate(self, member: Member, lasts_s: float) -> None:
        member.terminate(10)
        pause(lasts_s / 4)
        member.start()

    def lose_zookeeper(self, member: Member, lasts_s: float) -> None:
        """The member has no ZooKeeper."""
        for proxy in member.to_zookeeper:
            proxy.cut()
        pause(lasts_s)
        for proxy in member.to_zookeeper:
            proxy.mend()

    def lose_majority(self, member: Member, lasts_s: float) -> None:
        """Nobody has a ZooKeeper."""
        for server in self.ensemble.servers[:2]:
            server.kill()
        pause(lasts_s)
        for server in self.ensemble.servers[:2]:
            server.start()
        self.ensemble.wait()

    def cut_off(self, member: Member, lasts_s: float) -> None:
        """Brokers do not reach the member; it reaches them, and ZooKeeper."""
        member.from_brokers.cut()
        pause(lasts_s)
        member.from_brokers.mend()

    def fill_disk(self, member: Member, lasts_s: float) -> None:
        """Nothing can be written. Later the operator makes room, and starts the broker again."""
        if not member.has_disk:
            return
        ballast = member.logs / "ballast"
        with suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        pause(lasts_s)
        ballast.unlink()
        member.terminate(10)
        member.start()

    def _join(self) -> None:
        if self._fault is not None:
            self._fault.join()
            self._fault = None

    # -- the end --

    def mend(self) -> None:
        """Wait until every broker is there."""
        self.settle(())

    def settle(self, topics: Iterable[str]) -> None:
        """Wait until all replicas are in the ISRs, as every broker has it."""
        self._join()
        names = [*topics, *INTERNAL] if topics else []
        wait_until(lambda: self._is_whole(names), f"full ISRs of {names}", lambda: str(self._found(names)))

    def _found(self, topics: list[str]) -> list[dict[str, Any]]:
        """What each broker that answers knows of the cluster."""
        found = []
        for client in self._clients:
            with suppress(Closed):
                found.append(client.metadata(topics))
        return found

    def _is_whole(self, topics: list[str]) -> bool:
        for member in self.members:
            member.start()
        found = self._found(topics)
        return len(found) == BROKERS and all(map(_is_whole, found))

    def same_logs(self, topic: str, partitions: int) -> None:
        """Wait until all members have the same bytes."""
        for index in range(partitions):
            wait_until(lambda index=index: len(set(self._logs(topic, index))) == 1, f"equal logs of {topic}-{index}")  # type: ignore[misc]

    def _logs(self, topic: str, index: int) -> list[bytes]:
        folders = [member.logs / f"{topic}-{index}" for member in self.members]
        return [b"".join(path.read_bytes().rstrip(b"\0") for path in sorted(each.glob("*.log"))) for each in folders]

    def tell(self) -> None:
        """Print what is needed to find out why."""
        print("faults:", *self.faults, sep="\n")
        for member in self.members:
            print(f"====== {member.kind} {member.broker.broker_id}", member.broker.log()[-60_000:], sep="\n")


def _is_whole(metadata: dict[str, Any]) -> bool:
    partitions = [each for topic in metadata["topics"] for each in topic["partitions"]]
    return (
        len(metadata["brokers"]) == BROKERS
        and not any(topic["error_code"] for topic in metadata["topics"])
        and all(len(each["isr_nodes"]) == BROKERS and not each["error_code"] for each in partitions)
    )


def mount(folder: Path) -> bool:
    """A small file system. Without the right to mount one there is no full disk; it is told, and in CI it is an error."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        assert not os.environ.get("CI") or os.geteuid(), done.stderr
        print("no disk can be full:", done.stderr)
    return done.returncode == 0


def pause(seconds: float) -> None:
    """A fault lasts; there is nothing to wait for."""
    threading.Event().wait(seconds)


FAULTS: list[tuple[str, Callable[[FaultyCluster, Member, float], None]]] = [
    ("kill -9", FaultyCluster.kill),
    ("kill -9", FaultyCluster.kill),
    ("SIGSTOP", FaultyCluster.stop),
    ("SIGSTOP", FaultyCluster.stop),
    ("SIGTERM", FaultyCluster.terminate),
    ("no ZooKeeper for", FaultyCluster.lose_zookeeper),
    ("no majority, and", FaultyCluster.lose_majority),
    ("no connections to", FaultyCluster.cut_off),
    ("full disk of", FaultyCluster.fill_disk),
]
