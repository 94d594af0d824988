"""A server with probe handlers, and a blocking client that frames requests itself, in plaintext and over TLS."""

from __future__ import annotations

import importlib.util
import os
import shlex
import socket
import ssl
import struct
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kafka_cy.network.control_request import ControlRequest
from kafka_cy.network.server import Server
from kafka_cy.network.tls import TlsContext
from tests.certificates import Authority
from tests.network.tls_socket import TlsSocket
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
ECHO, PARK, REFUSE, SILENT, LARGE, BUSY, COLD, FLEXIBLE_ECHO = 100, 101, 102, 103, 104, 105, 110, 100
JOB, HOLD, END_OTHERS = 106, 107, 108
API_VERSIONS = [(key, 0, 9, 5) for key in (ECHO, PARK, REFUSE, SILENT, LARGE, BUSY, JOB, HOLD, END_OTHERS, COLD)] + [(18, 0, 4, 3)]


def build_probe(folder: Path) -> Path:
    """Compile hot_probe.pyx against this tree's .pxd files."""
    source = Path(__file__).with_name("hot_probe.pyx")
    target = folder / ("hot_probe" + (sysconfig.get_config_var("EXT_SUFFIX") or ".so"))
    c_file = folder / "hot_probe.c"
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # a sanitizer, of no use to compilers
    subprocess.run(
        [sys.executable, "-m", "cython", "-3", "-I", str(ROOT), str(source), "-o", str(c_file)],
        check=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    include = [f"-I{sysconfig.get_path('include')}", f"-I{ROOT}/kafka_cy/records"]
    flags = ["-O1", "-g", "-shared", "-fPIC", "-fno-strict-aliasing", *os.environ.get("PROBE_CFLAGS", "").split()]
    compiler = shlex.split(os.environ.get("CC", "cc"))
    subprocess.run([*compiler, *flags, *include, str(c_file), "-o", str(target)], check=True, env=environment)
    return target


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    path = build_probe(tmp_path_factory.mktemp("probe"))
    spec = importlib.util.spec_from_file_location("hot_probe", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.register()
    return module


def frame(api_key: int, body: bytes = b"", *, version: int = 0, correlation_id: int = 1, client: bytes = b"t") -> bytes:
    header = struct.pack(">hhih", api_key, version, correlation_id, len(client)) + client
    if version >= 5:
        header += b"\0"
    return struct.pack(">i", len(header) + len(body)) + header + body


class Client:
    """One blocking connection with a timeout."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket: Any = TlsSocket(plain, tls) if tls is not None else plain

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(min(size - len(data), 1 << 20))
            if not part:
                raise EOFError(bytes(data))
            data += part
        return bytes(data)

    def receive(self) -> tuple[int, bytes]:
        """One response: the correlation id and the bytes after it."""
        (size,) = struct.unpack(">i", self.read(4))
        data = self.read(size)
        return struct.unpack(">i", data[:4])[0], data[4:]

    def ask(self, api_key: int, body: bytes = b"", **more: Any) -> bytes:
        self.send(frame(api_key, body, **more))
        return self.receive()[1]

    def closed_by_server(self) -> bool:
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.socket.close()


class Harness:
    """A started server, its port, and a control thread that answers forwarded requests."""

    def __init__(
        self, reactors: int = 2, *, authority: Authority | None = None, names_certificates: bool = False,
        authentication: tuple[int, int, int] | None = None, has_brokers: bool = False, **limits: Any,
    ) -> None:  # fmt: skip
        """With an `authority`, the listener uses TLS; with `names_certificates`, it asks whose certificate a client's is.

        `authentication`: it asks for SASL; the most bytes of a token, the time in ms, and how many clients at a time.
        `has_brokers`: there is a second listener for other brokers, without TLS.
        """
        self.server = Server(reactors, **limits)
        self.port = self.server.listen(0, "PLAINTEXT" if authority is None else "SSL", "127.0.0.1", 0)
        if has_brokers:
            self.broker_port = self.server.listen(1, "BROKERS", "127.0.0.1", 0, is_protected=True)
        self.client_tls: ssl.SSLContext | None = None
        if authority is not None:
            self.client_tls = ssl.create_default_context(cafile=authority.trusted)
            context = TlsContext()
            context.use_pem(authority.broker.read_bytes(), authority.broker.read_bytes())
            self.server.set_transport(0, context)
        if names_certificates:
            self.server.set_certificate_principals(0)
        if authentication is not None:
            for listener in range(1 + has_brokers):
                self.server.set_authentication(listener, authentication[0])
            self.server.set_authentication_limits(*authentication[1:])
        self.server.set_api_versions(API_VERSIONS)
        self.server.watch_closes(COLD)
        self.closed: list[int] = []  # ids of connections on which a COLD request came
        self.clients: list[Client] = []
        self.stopping = False
        self.answer: Callable[[ControlRequest], None] = lambda request: request.respond(b"cold:" + request.body)
        self.server.start()
        self.thread = threading.Thread(target=self.control)
        self.thread.start()

    def control(self) -> None:
        while not self.stopping:
            requests = self.server.take_requests(1.0)
            while requests:
                self.answer(requests.pop(0))  # keep no reference here: a dropped request must close its connection
            self.closed += self.server.take_closed()

    def connect(self) -> Client:
        """A client; the caller closes it."""
        return Client(self.port, self.client_tls)

    def client(self) -> Client:
        self.clients.append(self.connect())
        return self.clients[-1]

    def broker(self) -> Client:
        """A client of the listener for brokers."""
        self.clients.append(Client(self.broker_port))
        return self.clients[-1]

    def wait_for_counter(self, name: str, value: int) -> None:
        """Wait for a count: a client may see an event a moment before it is counted."""
        wait_until(lambda: self.server.counters()[name] == value, f"{name} {value}, not {self.server.counters()[name]}")

    def wait_until_it_sleeps(self) -> None:
        """Wait until no reactor is active."""

        def sleeps() -> bool:
            before = self.server.counters()["loops"]
            time.sleep(0.05)
            return bool(self.server.counters()["loops"] == before)

        wait_until(sleeps, "the reactors to sleep")

    def log(self) -> list[str]:
        return [event.message for event in self.server.take_log_events()]

    def stop(self, drain_timeout_s: float = 1.0) -> None:
        self.server.stop(drain_timeout_s)
        self.stopping = True
        self.server.wake()
        self.thread.join()
        for client in self.clients:
            client.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


plaintext_only = pytest.mark.parametrize("harness", ["plaintext"], indirect=True)


@pytest.fixture(params=["plaintext", "TLS"])
def harness(
    probe: ModuleType, request: pytest.FixtureRequest, authority: Authority
) -> Iterator[Callable[..., Harness]]:
    made: list[Harness] = []

    def make(reactors: int = 2, **limits: Any) -> Harness:
        made.append(Harness(reactors, authority=authority if request.param == "TLS" else None, **limits))
        return made[-1]

    yield make
    for each in made:
        each.stop(0.2)


@pytest.fixture
def partitions(tmp_path: Path) -> Iterator[Callable[[int], list[Any]]]:
    """Hosted partitions with empty logs in a temporary folder."""
    from kafka_cy.storage.hosted_partition import HostedPartition
    from kafka_cy.storage.log import PartitionLog

    logs: list[Any] = []

    def make(count: int) -> list[Any]:
        hosted = []
        for i in range(count):
            folder = tmp_path / f"probe-{i}"
            folder.mkdir()
            logs.append(PartitionLog(str(folder)))
            hosted.append(HostedPartition(logs[-1], "probe", b"p" * 16, i, 0))
        return hosted

    yield make
    for log in logs:
        log.close()
