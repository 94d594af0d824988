"""`make stack` on free ports in a temporary folder, for tests."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

from kafka_cy.testing.broker import free_ports
from tests.monitoring.tools import ROOT, needed

CONTAINER_PORTS = (9092, 19092, 9404, 9308, 2181, 9090, 9093)
MORE_PORTS_OF_A_CLUSTER = (
    9192, 9292, 19192, 19292, 9405, 9406, 9309, 9310, 2182, 2183, 2881, 2882, 2883, 3881, 3882, 3883,
)  # fmt: skip
WAIT_SECONDS_MAX = 60.0


def get_json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def wait_for(what: str, condition: Callable[[], Any], seconds_max: float = WAIT_SECONDS_MAX) -> Any:
    """The first true result of `condition`. Raises AssertionError after `seconds_max`."""
    deadline = time.monotonic() + seconds_max
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)
    return found


class RunningStack:
    """The script as a process; `ports` maps container ports to local ports."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        for command, package in (
            ("prometheus", "prometheus"),
            ("prometheus-alertmanager", "prometheus-alertmanager"),
            ("java", "zookeeper"),
        ):
            needed(command, package)
        self.folder = folder
        inside = (*CONTAINER_PORTS, *(MORE_PORTS_OF_A_CLUSTER if "--cluster" in arguments else ()))
        self.ports = dict(zip(inside, free_ports(len(inside)), strict=True))
        options = [word for inside, port in self.ports.items() for word in ("--port", f"{inside}={port}")]
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "scripts/stack.py", "--folder", folder, *options, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> RunningStack:
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        if not first.startswith("ready"):
            self.process.wait(60)
            raise AssertionError(first + self.process.stdout.read() + self.logs())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.ports[9092]}"

    @property
    def prometheus_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[9090]}"

    def prometheus(self, path: str) -> Any:
        """The data of a Prometheus API call."""
        return get_json(f"{self.prometheus_url}/api/v1/{path}")["data"]

    def targets(self) -> dict[str, str]:
        """Health by job; of several targets, that of one that is not up. Empty while Prometheus reads its data."""
        found: dict[str, str] = {}
        try:
            targets = self.prometheus("targets")["activeTargets"]
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            return found
        for each in targets:
            if found.get(each["labels"]["job"], "up") == "up":
                found[each["labels"]["job"]] = each["health"]
        return found

    def logs(self) -> str:
        """The ends of all logs."""
        return "".join(f"== {path.name}\n{path.read_text()[-2000:]}" for path in sorted(self.folder.glob("*.log")))

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send Ctrl-C; return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)
