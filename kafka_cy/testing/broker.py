"""A broker in a process of its own, for tests and scripts."""

from __future__ import annotations

import errno
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

EXIT_PORT_TAKEN = 4  # kafka_cy.server's exit code when an address is in use
START_ATTEMPTS = 3
PORT_MIN = 15000


class BrokerStartError(RuntimeError):
    """The broker's process ended or did not respond in time. The message ends with the broker's log."""


class Broker:
    """One broker on free ports of 127.0.0.1 with its data in a temporary folder.

    `config` holds keys of Kafka's `server.properties`. `folder` holds the broker's data and log (default: a temporary
    folder that `stop` removes). With `own_process_group` the terminal's Ctrl-C does not reach it. If the process
    that started it ends, even by SIGKILL, the broker ends and removes its temporary folder. Use it as a context manager
    (`with` or `async with`), or call `start` and `stop`. A restarted broker keeps its ports and data. It is not
    thread-safe.
    """

    def __init__(
        self,
        config: Mapping[str, object] | None = None,
        *,
        folder: Path | str | None = None,
        log_level: str = "info",
        own_process_group: bool = False,
        start_timeout_s: float = 60.0,
    ) -> None:
        self.config = dict(config or {})
        self.log_level = log_level
        self.own_process_group = own_process_group
        self.start_timeout_s = start_timeout_s
        self.host = "127.0.0.1"
        self.port = 0
        self.metrics_port = 0
        self.lag_port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="kafka-cy-") if folder is None else folder).absolute()

    # -- addresses and files --

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` for the clients' `bootstrap.servers`. Raises RuntimeError before the first start."""
        return f"{self.host}:{self._chosen(self.port)}"

    @property
    def metrics_url(self) -> str:
        """The address that Prometheus scrapes. Raises RuntimeError before the first start."""
        return f"{self._scheme}://{self.host}:{self._chosen(self.metrics_port)}/metrics"

    @property
    def lag_url(self) -> str:
        """The page with consumer lag. Raises RuntimeError before the first start."""
        return f"{self._scheme}://{self.host}:{self._chosen(self.lag_port)}/metrics"

    @property
    def _scheme(self) -> str:
        return "https" if self.config.get("kafkacy.metrics.tls.certificate") else "http"

    @staticmethod
    def _chosen(port: int) -> int:
        if port == 0:
            raise RuntimeError("the broker has no address before its first start")
        return port

    @property
    def data_dir(self) -> Path:
        """The broker's `log.dirs` (the first, if `config` names several)."""
        return Path(str(self.config.get("log.dirs", self.folder / "data")).split(",")[0])

    @property
    def pid(self) -> int:
        """Process id. Raises RuntimeError if the broker is not running."""
        if self.process is None:
            raise RuntimeError("the broker is not running")
        return self.process.pid

    def log_text(self) -> str:
        """Everything that the broker's processes have written to stderr and stdout so far."""
        path = self.folder / "broker.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # -- start and stop --

    def start(self) -> Broker:
        """Start the process and wait until it answers ApiVersions.

        Raises BrokerStartError, and ValueError for a key in `config` that Kafka does not have.
        """
        self._require_known_keys()
        chosen_before = self.port != 0
        for attempt in range(START_ATTEMPTS):
            if not chosen_before:
                self.port, self.metrics_port, self.lag_port = free_ports(3)
            self._spawn()
            code = self._wait_until_ready()
            if code is None:
                return self
            if self.process is not None:
                _let_go(self.process)
            self.process = None
            # Another process took the free port meanwhile. This is an error on a restart, which must keep its port.
            if code != EXIT_PORT_TAKEN or chosen_before or attempt == START_ATTEMPTS - 1:
                raise BrokerStartError(f"the broker ended with exit code {code}\n{self.log_text()[-4000:]}")
        raise AssertionError("unreachable")

    def stop(self, timeout_s: float = 20.0) -> int:
        """Send SIGTERM, wait, remove a temporary folder. Returns the exit code (0 if it was not running)."""
        code = self.terminate(timeout_s)
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)
        return code

    def terminate(self, timeout_s: float = 20.0) -> int:
        """Send SIGTERM, wait, keep the data; returns the exit code. On timeout kills, raises subprocess.TimeoutExpired."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            _let_go(process)

    def kill(self) -> None:
        """Send SIGKILL, like a crash: nothing is flushed, the data stays."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            _let_go(process)

    def restart(self) -> Broker:
        """Terminate it if it is running, and start it on the same ports and data."""
        self.terminate()
        return self.start()

    def pause(self) -> None:
        """Send SIGSTOP: until `resume` it stays connected but does not respond."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Broker:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Broker:
        """As `with`, without blocking the event loop."""
        import asyncio

        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import asyncio

        await asyncio.to_thread(self.stop)

    def __repr__(self) -> str:
        if self.port == 0:
            return "<kafka_cy.Broker, not started>"
        state = f"pid {self.process.pid}" if self.process is not None else "stopped"
        return f"<kafka_cy.Broker {self.bootstrap_servers}, {state}>"

    def _require_known_keys(self) -> None:
        """Raise ValueError for a key that does not exist: in the broker's log, nobody would see its warning."""
        from kafka_cy.config import BrokerConfig, ConfigError

        try:
            given = {key: _property_text(value) for key, value in self.config.items()}
            warnings = BrokerConfig.load(None, given).warnings
        except ConfigError:
            return  # the broker refuses the value itself, with the same words
        unknown = [warning for warning in warnings if warning.startswith("unknown configuration key")]
        if unknown:
            raise ValueError("; ".join(unknown))

    # -- the process --

    def command(self) -> list[str]:
        """The command line of the process."""
        config = {
            "listeners": f"PLAINTEXT://{self.host}:{self.port}",
            "log.dirs": str(self.folder / "data"),
            "kafkacy.metrics.listen": f"{self.host}:{self.metrics_port}",
            "kafkacy.lag.listen": f"{self.host}:{self.lag_port}",
            **self.config,
        }
        command = [sys.executable, "-m", "kafka_cy", "server", "--log-level", self.log_level]
        command.append(f"--with-parent={self.folder}" if self._temporary else "--with-parent")
        for key, value in config.items():
            command += ["--override", f"{key}={_property_text(value)}"]
        return command

    def _spawn(self) -> None:
        if self.process is not None:
            raise RuntimeError("the broker is already running")
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "broker.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.PIPE,  # nothing is written to it: its end tells the broker that our process ended
                stdout=log,
                stderr=log,
                process_group=0 if self.own_process_group else None,
            )

    def _wait_until_ready(self) -> int | None:
        """None once the broker responds, else the exit code of the ended process."""
        assert self.process is not None
        deadline = time.monotonic() + self.start_timeout_s
        while time.monotonic() < deadline:
            code = self.process.poll()
            if code is not None:
                return code
            if answers_api_versions(self.host, self.port, timeout_s=max(0.1, deadline - time.monotonic())):
                return None
            time.sleep(0.005)
        self.kill()
        raise BrokerStartError(
            f"no response from {self.bootstrap_servers} within {self.start_timeout_s} s\n{self.log_text()}"
        )


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Close our end of the pipe through which an ended broker watched us."""
    if process.stdin is not None:
        process.stdin.close()


def _property_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def free_ports(count: int) -> list[int]:
    """Unused ports of 127.0.0.1.

    They are below the ports that the kernel gives to outgoing connections: a client that keeps reconnecting to a broker
    that is down could otherwise get the broker's port, and the restarted broker would find it taken.
    """
    chance = random.SystemRandom()  # not the global generator: a test run seeds it identically in each of its processes
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            port = chance.randrange(PORT_MIN, _ephemeral_port_min())
            try:
                sockets.append(socket.create_server(("127.0.0.1", port)))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _ephemeral_port_min() -> int:
    """The lowest port that outgoing connections may get."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        return max(int(file.read().split()[0]), PORT_MIN + 1000)


def answers_api_versions(host: str, port: int, timeout_s: float) -> bool:
    """Whether a broker is reachable and responds."""
    request = struct.pack(">hhih", 18, 0, 1, -1)  # ApiVersions v0, correlation id 1, no client id
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(4)) == 4
    except OSError:
        return False
