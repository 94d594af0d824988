"""`make stack`: the services of docker-compose.yml as plain processes on this machine. Ctrl-C stops them all.

`--cluster`: those of docker-compose.cluster.yml, with three ZooKeepers and three brokers.

A broker, ZooKeeper or load that ends is started again, as in the containers (`restart: unless-stopped`), while Prometheus and
Alertmanager go on and show it. If one of those two ends, the stack stops, because nothing would show what happens.

The commands, mounted files and start order come from the compose file, so that the two cannot diverge. Files are copied to
data/stack/etc (data/stack-cluster/etc), with the paths, names and ports of the containers replaced by those of this machine.
Grafana and the OpenTelemetry collector are left out because Debian has no package for them.

Usage: stack.py [--cluster] [--folder FOLDER] [--port CONTAINER_PORT=PORT]... [--without SERVICE]... [--scrape-interval SECONDS]
       [--restart-delay SECONDS]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0  # a broker hands over what it leads
RESTART_DELAY_SECONDS_MAX = 60.0  # a service that keeps ending: the delay doubles up to this
STEADY_SECONDS = 10.0  # a service that ran for this long starts with the first delay again, as in docker


class StackError(Exception):
    """The stack cannot run; the text is one sentence."""


@dataclass(frozen=True)
class Program:
    """How the command of a container runs on this machine.

    `names`: the programs to try in place of the first word of the command. `package`: their Debian package. `restarts`: start
    it again when it ends.
    """

    names: tuple[str, ...]
    package: str
    has_metrics: bool = True
    restarts: bool = False


PROGRAMS = {  # by the service's name without a number
    "zookeeper": Program(("java",), "zookeeper", has_metrics=False, restarts=True),
    "kafka": Program((str(BIN / "kafka-cy"),), "", restarts=True),
    "demo": Program((sys.executable,), "", restarts=True),
    "prometheus": Program(("prometheus",), "prometheus"),
    "alertmanager": Program(("prometheus-alertmanager", "alertmanager"), "prometheus-alertmanager"),
}
ZOOKEEPER_JAR = Path("/usr/share/java/zookeeper.jar")
ZOOKEEPER_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"


def kind_of(name: str) -> str:
    """`kafka` for kafka2."""
    return name.rstrip("0123456789")


@dataclass
class Restart:
    """What `tend` remembers about a service: since when it runs, and when it starts again if it does not run."""

    delay_seconds: float
    started: float
    due: float | None = None


class Stack:
    """The processes of the stack. Used by one thread; `stop` may be called at any time after `prepare`."""

    def __init__(
        self,
        folder: Path,
        ports: dict[int, int],
        without: set[str],
        scrape_seconds: int | None = None,
        restart_delay_seconds: float = 1.0,
        compose_file: str = "docker-compose.yml",
    ) -> None:
        compose = yaml.safe_load((ROOT / compose_file).read_text())
        self.services: dict[str, Any] = compose["services"]
        self.folder = folder.absolute()
        self.ports = ports
        self.scrape_seconds = scrape_seconds
        self.chosen = [name for name in self._in_order() if kind_of(name) in PROGRAMS and not {name, kind_of(name)} & without]
        self.restart_delay_seconds = restart_delay_seconds
        self.commands: dict[str, list[str]] = {}
        self.environments: dict[str, dict[str, str]] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.restarts: dict[str, Restart] = {}

    def _in_order(self) -> list[str]:
        """The services; dependencies come first."""
        ordered: list[str] = []

        def add(name: str) -> None:
            for other in self.services[name].get("depends_on", ()):
                add(other)
            if name not in ordered:
                ordered.append(name)

        for name in self.services:
            add(name)
        return ordered

    def port(self, container_port: int) -> int:
        """The port on this machine that corresponds to a container port."""
        return self.ports.get(container_port, container_port)

    def ready_port(self, name: str) -> int | None:
        """The container port that accepts connections once the program is ready; None: it has no port."""
        ports = self.services[name].get("ports")
        return int(ports[0].rpartition(":")[2]) if ports else None

    # -- translation from containers to this machine --

    def translated(self, text: str) -> str:
        """Replace container addresses (`kafka:19092`, `0.0.0.0:9404`) with addresses of this machine."""
        hosts = "|".join((*self.services, r"0\.0\.0\.0", r"127\.0\.0\.1"))
        return re.sub(
            rf"(?<![\w.-])(?:{hosts}):(\d+)\b", lambda match: f"127.0.0.1:{self.port(int(match[1]))}", text
        )

    def _copy(self, source: Path, target: Path) -> None:
        if source.is_dir():
            for each in source.iterdir():
                self._copy(each, target / each.name)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text()
        scraped = [name for name in self.chosen if PROGRAMS[kind_of(name)].has_metrics]
        if target.parent.name == "targets" and any(f'"{name}:' in text for name in self.services if name not in scraped):
            text = "[]\n"  # nothing to scrape
        target.write_text(text)

    def mount(self, name: str) -> dict[str, Path]:
        """Create the files and folders of the service; return the local path for each path in its container."""
        mounted: dict[str, Path] = {}
        for volume in self.services[name].get("volumes", ()):
            source, target = volume.split(":")[:2]
            if source.startswith("."):
                mounted[target] = self.folder / "etc" / name / target.lstrip("/")
                self._copy(ROOT / source, mounted[target])
            else:
                mounted[target] = self.folder / source
                mounted[target].mkdir(parents=True, exist_ok=True)
        for place in mounted.values():
            if (self.folder / "etc") in place.parents:
                for path in [place] if place.is_file() else place.rglob("*"):
                    if path.is_file():
                        path.write_text(self._settings(name, self._located(path.read_text(), mounted)))
        return mounted

    def _located(self, text: str, mounted: dict[str, Path]) -> str:
        """Replace container paths and addresses in `text` with those of this machine."""
        for target in sorted(mounted, key=len, reverse=True):
            text = re.sub(rf"(?<![\w/.]){re.escape(target)}(?=[/\s]|$)", str(mounted[target]), text, flags=re.MULTILINE)
        return self.translated(text)

    def _settings(self, name: str, text: str) -> str:
        """Adapt settings that are not addresses: Prometheus' intervals, and settings of ZooKeeper."""
        if name == "prometheus" and self.scrape_seconds is not None:
            intervals = r"\b((?:scrape|evaluation)_(?:interval|timeout)): \w+"
            return re.sub(intervals, rf"\1: {self.scrape_seconds}s", text)
        if kind_of(name) != "zookeeper":
            return text
        # Debian's package lacks the metrics provider.
        text = re.sub(r"^metricsProvider\..*\n", "", text, flags=re.MULTILINE)
        # server.1=HOST:PORT:ELECTION_PORT;CLIENT_HOST:CLIENT_PORT; only the middle one has no address.
        server = r"^(server\.\d+=[^:]+:\d+):(\d+);"
        text = re.sub(server, lambda each: f"{each[1]}:{self.port(int(each[2]))};", text, flags=re.MULTILINE)
        text = re.sub(r"^clientPortAddress=.*$", "clientPortAddress=127.0.0.1", text, flags=re.MULTILINE)
        return re.sub(r"^clientPort=.*$", f"clientPort={self.port(2181)}", text, flags=re.MULTILINE)

    def command(self, name: str, mounted: dict[str, Path]) -> list[str]:
        """The command of the container, adapted to this machine. Raises StackError if a program is missing."""
        program = PROGRAMS[kind_of(name)]
        found = next((path for each in program.names if (path := shutil.which(each))), None)
        if found is None or (kind_of(name) == "zookeeper" and not ZOOKEEPER_JAR.exists()):
            raise StackError(f"{program.names[0]} is missing: apt-get install {program.package} (or --without {name}).")
        words = [self._located(word, mounted) for word in self.services[name]["command"]]
        if kind_of(name) == "zookeeper":
            number = self.services[name].get("environment", {}).get("ZOO_MY_ID")
            if number is not None:  # the image's start script does this
                (mounted["/data"] / "myid").write_text(f"{number}\n")
            return [found, "-Xmx256m", "-cp", f"{ZOOKEEPER_JAR.parent}/*", ZOOKEEPER_MAIN, words[-1]]
        return [found, *words]

    def environment(self, name: str, mounted: dict[str, Path]) -> dict[str, str]:
        """The variables of a broker's container, adapted to this machine."""
        given = self.services[name].get("environment", {})
        return {key: self._located(value, mounted) for key, value in given.items() if key.startswith("KAFKA_")}

    # -- life --

    def start(self) -> None:
        """Start the services in order; each starts once the previous one answers. Raises StackError."""
        for name in self.chosen:
            mounted = self.mount(name)
            self.commands[name] = self.command(name, mounted)
            self.environments[name] = self.environment(name, mounted)
        for name in self.chosen:
            port = self.ready_port(name)
            if port is not None and _answers(self.port(port)):
                raise StackError(f"Port {self.port(port)} of {name} is taken (--port {port}=PORT).")
        for name in self.commands:
            self._launch(name)
            self._wait(name)
            self.restarts[name] = Restart(self.restart_delay_seconds, time.monotonic())

    def _launch(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            # With a new session, Ctrl-C reaches only this script, which stops the processes in order.
            self.running[name] = subprocess.Popen(
                self.commands[name], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True, env={**os.environ, **self.environments[name]},
            )  # fmt: skip

    def _wait(self, name: str) -> None:
        port = self.ready_port(name)
        deadline = time.monotonic() + START_SECONDS_MAX
        while port is not None and not _answers(self.port(port)):
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"{name} does not answer on port {self.port(port)}: {self._last_line(name)}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raises StackError when a process has ended."""
        for name, process in self.running.items():
            if process.poll() is not None:
                raise StackError(self._ended(name))

    def tend(self) -> None:
        """Start what has ended again. Raises StackError if a service that is not restarted has ended."""
        now = time.monotonic()
        for name in [name for name, process in self.running.items() if process.poll() is not None]:
            if not PROGRAMS[kind_of(name)].restarts:
                raise StackError(self._ended(name))
            restart = self.restarts[name]
            if restart.due is None:
                steady = now - restart.started >= STEADY_SECONDS
                delay = self.restart_delay_seconds if steady else restart.delay_seconds
                print(f"{self._ended(name)}; it starts again in {delay:g} s", flush=True)
                restart.due = now + delay
                restart.delay_seconds = max(delay, min(2 * delay, RESTART_DELAY_SECONDS_MAX))
            elif restart.due <= now:
                self._launch(name)
                restart.started, restart.due = now, None

    def _ended(self, name: str) -> str:
        return f"{name} ended with exit code {self.running[name].returncode}: {self._last_line(name)}"

    def _last_line(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        lines = log.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'it wrote nothing'} ({log})"

    def stop(self) -> None:
        """Stop all processes in reverse order; kill those that do not end in time."""
        for process in reversed(self.running.values()):
            process.terminate()
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()

    def addresses(self) -> str:
        """The addresses and files of the services, one line per service."""
        lines = []
        for name in self.chosen:
            for mapping in self.services[name].get("ports", ()):
                container_port = int(mapping.rpartition(":")[2])
                lines.append(f"  {name:<13} 127.0.0.1:{self.port(container_port)}")
        return "\n".join(lines)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _stop_on_signal(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run until Ctrl-C or SIGTERM. The exit code is 1 if a service cannot start, or if Prometheus or Alertmanager ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cluster", action="store_true", help="three ZooKeepers and three brokers")
    parser.add_argument("--folder", type=Path, help="data, logs and configuration (data/stack, data/stack-cluster)")
    parser.add_argument("--port", action="append", default=[], metavar="CONTAINER_PORT=PORT")
    parser.add_argument("--without", action="append", default=[], metavar="SERVICE")
    parser.add_argument("--scrape-interval", type=int, metavar="SECONDS", help="how often Prometheus looks")
    parser.add_argument(
        "--restart-delay", type=float, default=1.0, metavar="SECONDS",
        help="wait before a broker that ended starts again (1; with 150, KafkaBrokerDown fires before)",
    )  # fmt: skip
    arguments = parser.parse_args()
    try:
        ports = {int(inside): int(outside) for inside, outside in (each.split("=") for each in arguments.port)}
    except ValueError:
        parser.error("--port needs CONTAINER_PORT=PORT, such as 9092=19092")
    folder = arguments.folder or ROOT / "data" / ("stack-cluster" if arguments.cluster else "stack")
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(
        folder, ports, set(arguments.without), arguments.scrape_interval, arguments.restart_delay,
        "docker-compose.cluster.yml" if arguments.cluster else "docker-compose.yml",
    )  # fmt: skip
    signal.signal(signal.SIGTERM, _stop_on_signal)
    try:
        stack.start()
        print(f"ready (logs in {stack.folder}):\n{stack.addresses()}\nCtrl-C stops all", flush=True)
        while True:
            time.sleep(0.5)
            stack.tend()
    except KeyboardInterrupt:
        return 0
    except StackError as error:
        print(f"make stack: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stack.stop()


if __name__ == "__main__":
    sys.exit(main())
