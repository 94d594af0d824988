"""Real ZooKeeper servers for tests, and a proxy before them that loses replies and cuts connections."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from kafka_cy.testing.broker import free_ports

JARS = [Path("/usr/share/java") / name for name in ("zookeeper.jar", "slf4j-simple.jar")]
NETTY = [Path("/usr/share/java") / f"netty-{name}.jar" for name in ("codec", "resolver")]  # of TLS, not in the manifest
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
TICK_MS = 250  # the shortest session lasts two ticks
MULTI = 14  # type of a request that is a transaction
WAIT_S_MAX = 60.0


def need_zookeeper() -> str:
    """The java command. If it or ZooKeeper is missing, the test is skipped, or fails if CI is set."""
    java = shutil.which("java")
    if java is None or not all(jar.exists() for jar in JARS):
        reason = "java or ZooKeeper is missing (scripts/install-stack-tools.sh)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    assert java is not None
    return java


def wait_until(condition: Callable[[], object], what: str, tell: Callable[[], str] = str) -> None:
    """Wait for a condition. Raises AssertionError after a minute; `tell()` says how it was then."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what} {tell()}"
        time.sleep(0.02)


class Server:
    """One ZooKeeper server as a process."""

    def __init__(
        self, java: str, folder: Path, number: int, port: int, others: list[tuple[int, int, int]], more: Sequence[str] = (),
        jvm: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """`more`: lines of its configuration; `jvm`: options of java."""
        self.port = port
        self._folder = folder / str(number)
        (self._folder / "data").mkdir(parents=True)
        (self._folder / "data" / "myid").write_text(str(number))
        lines = [
            f"tickTime={TICK_MS}", "initLimit=80", "syncLimit=80", f"dataDir={self._folder}/data", "forceSync=no",
            "admin.enableServer=false", "4lw.commands.whitelist=*", "maxClientCnxns=0", "maxSessionTimeout=60000",
        ]  # fmt: skip
        if len(others) > 1:
            lines += [f"server.{each}=127.0.0.1:{peer}:{vote}" for each, peer, vote in others]
        lines += [f"clientPort={port}", "clientPortAddress=127.0.0.1", *more]
        (self._folder / "zoo.cfg").write_text("\n".join(lines) + "\n")
        self._command = [
            java, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dzookeeper.forceSync=no", *jvm,
            "-cp", ":".join(map(str, [*JARS, *NETTY])), MAIN, str(self._folder / "zoo.cfg"),
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self._folder / "log", "ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def serves(self) -> bool:
        """Whether the server takes part in a quorum, or serves alone."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"srvr")
            return b"Mode:" in connection.recv(4096)
        return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self, paused: bool) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def log(self) -> str:
        return (self._folder / "log").read_text()[-3000:]


class Ensemble:
    """One server or several."""

    def __init__(self, folder: Path, count: int = 1, more: Sequence[str] = (), jvm: Sequence[str] = ()) -> None:
        java = need_zookeeper()
        ports = free_ports(3 * count)
        others = [(each + 1, ports[count + each], ports[2 * count + each]) for each in range(count)]
        self.servers = [Server(java, folder, each + 1, ports[each], others, more, jvm) for each in range(count)]

    def __enter__(self) -> Ensemble:
        for server in self.servers:
            server.start()
        try:
            self.wait()
        except AssertionError as failure:
            logs = "".join(server.log() for server in self.servers)
            self.__exit__()
            raise AssertionError(logs) from failure
        return self

    def wait(self) -> None:
        """Wait until all servers serve."""
        wait_until(lambda: all(server.serves() for server in self.servers), "ZooKeeper")

    def __exit__(self, *failure: object) -> None:
        for server in self.servers:
            server.kill()

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    @contextmanager
    def client(self, chroot: str = "", **options: Any) -> Iterator[KazooClient]:
        """Another client, which writes and looks behind the back of the code under test."""
        client = KazooClient(self.hosts, timeout=10, **options)
        client.start(timeout=60)
        client.chroot = chroot  # which may not exist yet
        try:
            yield client
        finally:
            client.stop()
            client.close()

    def end_session(self, client_id: tuple[int, bytes]) -> None:
        """End a session as ZooKeeper does when its time is over."""
        client = KazooClient(self.hosts, timeout=10, client_id=client_id)
        client.start(timeout=60)
        client.stop()
        client.close()


def _receive(connection: socket.socket) -> bytes | None:
    """One frame with its length; None: the other side has closed."""
    data = b""
    wanted = 4
    while len(data) < wanted:
        try:
            more = connection.recv(wanted - len(data))
        except OSError:
            return None
        if not more:
            return None
        data += more
        if len(data) == 4:
            wanted = 4 + struct.unpack("!i", data)[0]
    return data


class Proxy:
    """Passes frames on between clients and one server.

    `lose_replies_of`: types of requests; the first such request reaches the server, and its reply ends the connection.
    """

    def __init__(self, server_port: int) -> None:
        self.lose_replies_of: set[int] = set()
        self.lost = 0
        self._server_port = server_port
        self._open = True
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *failure: object) -> None:
        self.cut()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut(self) -> None:
        """Close all connections, and those that come until mend()."""
        self._open = False
        for pair in self._pairs:
            self._close(pair)
        self._pairs.clear()

    def mend(self) -> None:
        """Pass on connections again."""
        self._open = True

    @staticmethod
    def _close(pair: tuple[socket.socket, socket.socket]) -> None:
        for each in pair:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._open:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port), 10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = (client, server)
            self._pairs.append(pair)
            doomed: set[int] = set()
            for target, arguments in ((self._requests, (pair, doomed)), (self._replies, (pair, doomed))):
                threading.Thread(target=target, args=arguments, daemon=True).start()

    def _requests(self, pair: tuple[socket.socket, socket.socket], doomed: set[int]) -> None:
        client, server = pair
        connected = False
        while (frame := _receive(client)) is not None:
            if connected:
                number, kind = struct.unpack_from("!ii", frame, 4)
                if kind in self.lose_replies_of:
                    self.lose_replies_of.discard(kind)
                    doomed.add(number)
            connected = True
            with suppress(OSError):
                server.sendall(frame)
        self._close(pair)

    def _replies(self, pair: tuple[socket.socket, socket.socket], doomed: set[int]) -> None:
        client, server = pair
        connected = False
        while (frame := _receive(server)) is not None:
            if connected and struct.unpack_from("!i", frame, 4)[0] in doomed:
                self.lost += 1
                break
            connected = True
            with suppress(OSError):
                client.sendall(frame)
        self._close(pair)
