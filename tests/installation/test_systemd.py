"""packaging/kafka-cy.service, and the broker's answer to `Type=notify`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kafka_cy.server import systemd
from kafka_cy.server.main import EXIT_CONFIG, EXIT_DATA
from kafka_cy.server.systemd import notify, notify_ready
from kafka_cy.testing.broker import free_ports
from tests.waiting import wait_until

UNIT = Path(__file__).parents[2] / "packaging/kafka-cy.service"


def systemd_analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        reason = "systemd-analyze is missing (Debian package systemd)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists."""
    copy = tmp_path / UNIT.name
    text = UNIT.read_text()
    assert "ExecStart=/opt/kafka-cy/bin/kafka-cy server" in text
    copy.write_text(text.replace("/opt/kafka-cy/bin/kafka-cy", "/bin/true"))
    return copy


def test_the_unit_is_valid(unit: Path) -> None:
    done = subprocess.run([systemd_analyze(), "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_grants_little(unit: Path) -> None:
    """The threshold is in tenths: a unit without any restriction has an exposure of 9.6 of 10."""
    command = [systemd_analyze(), "security", "--offline=true", "--no-pager", "--threshold=20", unit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_no_restart_where_it_does_not_help() -> None:
    assert f"RestartPreventExitStatus={EXIT_CONFIG} {EXIT_DATA}\n" in UNIT.read_text()


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    """The socket of a service manager."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    listening.settimeout(60)
    return listening


def test_the_broker_reports_its_start_and_its_end(manager: socket.socket, tmp_path: Path) -> None:
    ports = free_ports(3)
    command = [sys.executable, "-m", "kafka_cy", "server", "--override", f"listeners=PLAINTEXT://127.0.0.1:{ports[0]}"]
    command += ["--override", f"log.dirs={tmp_path / 'data'}", "--override", f"kafkacy.metrics.listen=127.0.0.1:{ports[1]}"]
    command += ["--override", f"kafkacy.lag.listen=127.0.0.1:{ports[2]}"]
    variables = {**os.environ, "NOTIFY_SOCKET": manager.getsockname()}
    with (
        manager,
        subprocess.Popen(
            command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert manager.recv(100) == b"READY=1"
        socket.create_connection(("127.0.0.1", ports[0]), timeout=60).close()
        process.send_signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


def test_a_manager_that_is_gone_or_does_not_read_is_no_error(manager: socket.socket, tmp_path: Path) -> None:
    with manager:
        for _ in range(1000):  # more than the socket holds
            notify("READY=1", {"NOTIFY_SOCKET": manager.getsockname()})
    for address in (str(tmp_path / "gone"), "@kafka-cy-test-gone", "vsock:2:1234", ""):
        notify("READY=1", {"NOTIFY_SOCKET": address})
    notify("READY=1", {})


def test_a_busy_manager_is_told_later(manager: socket.socket) -> None:
    """Without READY=1 it would stop the broker after the start timeout of the unit."""
    variables = {"NOTIFY_SOCKET": manager.getsockname()}
    lines: list[str] = []
    with manager:
        for _ in range(1000):  # more than the socket holds
            notify("STATUS=starting", variables)
        notify_ready(lambda text, **details: lines.append(text), variables)
        received = b""
        while received != b"READY=1":
            received = manager.recv(100)
    assert lines == []


def test_a_manager_that_cannot_be_told_is_a_line_of_the_log(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []

    def warn(text: str, **details: str) -> None:
        lines.append(details["error"])

    notify_ready(warn, {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert lines == ["[Errno 2] No such file or directory"]
    monkeypatch.setattr(systemd, "BUSY_TIMEOUT_S", 0.01)
    with manager:
        variables = {"NOTIFY_SOCKET": manager.getsockname()}
        for _ in range(1000):
            notify("STATUS=starting", variables)
        notify_ready(warn, variables)
        wait_until(lambda: lines[1:], "the line")
    assert lines[1] == "timed out"
    notify_ready(warn, {})
    assert len(lines) == 2
