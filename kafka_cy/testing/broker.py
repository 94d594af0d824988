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
    """The broker's process ended, or did not answer in time; the message ends with its log."""


class Broker:
    """One broker on free ports of 127.0.0.1 with its data in a temporary folder.

    `config` are keys of Kafka's `server.properties`; `folder` keeps data and log of the broker there (else a temporary
    folder that is removed by `stop`). In a process group of its own it does not see the terminal's Ctrl-C. When the process
    that started it ends, even by SIGKILL, the broker ends and removes its temporary folder. Use it as a context manager, or
    call `start` and `stop`. A restarted broker keeps its ports and data. Not safe for use by several
    threads at once.
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

    # -- where it is --

    @property
    def bootstrap_servers(self) -> str:
        """`host:port`, what clients call `bootstrap.servers`."""
        return f"{self.host}:{self.port}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus would scrape."""
        return f"http://{self.host}:{self.metrics_port}/metrics"

    @property
    def lag_url(self) -> str:
        """The page with consumer lag."""
        return f"http://{self.host}:{self.lag_port}/metrics"

    @property
    def data_dir(self) -> Path:
        """The broker's `log.dirs` (the first, when `config` names several)."""
        return Path(str(self.config.get("log.dirs", self.folder / "data")).split(",")[0])

    @property
    def pid(self) -> int:
        """Process id; raises RuntimeError when the broker does not run."""
        if self.process is None:
            raise RuntimeError("the broker is not running")
        return self.process.pid

    def log_text(self) -> str:
        """All that the broker's processes have written to stderr and stdout so far."""
        path = self.folder / "broker.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # -- life --

    def start(self) -> Broker:
        """Start the process and wait until it answers ApiVersions; raises BrokerStartError."""
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
            # Somebody took the free port in between; a restart must keep its port, so there it is an error.
            if code != EXIT_PORT_TAKEN or chosen_before or attempt == START_ATTEMPTS - 1:
                raise BrokerStartError(f"the broker ended with exit code {code}\n{self.log_text()[-4000:]}")
        raise AssertionError("unreachable")

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM, wait, remove a temporary folder; the exit code (0 when it did not run)."""
        code = self.terminate(timeout_s)
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)
        return code

    def terminate(self, timeout_s: float = 20.0) -> int:
        """SIGTERM and wait, keeping the data; the exit code. Raises subprocess.TimeoutExpired after killing it."""
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
        """SIGKILL, as a crash: nothing is flushed, the data stays."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            _let_go(process)

    def restart(self) -> Broker:
        """Terminate where it still runs, and start on the same ports and data."""
        self.terminate()
        return self.start()

    def pause(self) -> None:
        """SIGSTOP: it stays connected and answers nothing, until `resume`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
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

    # -- how --

    def command(self) -> list[str]:
        """The command line of the process."""
        config = {
            "listeners": f"PLAINTEXT://{self.host}:{self.port}",
            "log.dirs": str(self.folder / "data"),
            "kafkacy.metrics.listen": f"{self.host}:{self.metrics_port}",
            "kafkacy.lag.listen": f"{self.host}:{self.lag_port}",
            "group.initial.rebalance.delay.ms": 0,  # three seconds a consumer group otherwise
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
                stdin=subprocess.PIPE,  # nobody writes to it: its end tells the broker of ours
                stdout=log,
                stderr=log,
                process_group=0 if self.own_process_group else None,
            )

    def _wait_until_ready(self) -> int | None:
        """None when it answers, else the exit code of the ended process."""
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
        raise BrokerStartError(f"no answer on {self.bootstrap_servers} in {self.start_timeout_s} s\n{self.log_text()}")


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Close our end of the pipe by which a broker that has ended watched us."""
    if process.stdin is not None:
        process.stdin.close()


def _property_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on.

    They lie below those that the kernel gives to outgoing connections: one that connects again and again to a broker
    that is down could get the very port, and the broker would find it taken when it comes back.
    """
    chance = random.SystemRandom()  # not the one that a test run has seeded alike in each of its processes
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
    """The first port that outgoing connections may get."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        return max(int(file.read().split()[0]), PORT_MIN + 1000)


def answers_api_versions(host: str, port: int, timeout_s: float) -> bool:
    """Whether a broker is there and answers."""
    request = struct.pack(">hhih", 18, 0, 1, -1)  # ApiVersions v0, correlation id 1, no client id
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(4)) == 4
    except OSError:
        return False
