"""`kafka-cy server` as a process: ready line, signals, exit codes."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

started: list[subprocess.Popen[str]] = []
SERVER = [sys.executable, "-m", "kafka_cy", "server"]


def start(folder: Path, port: int = 0, *more: str) -> subprocess.Popen[str]:
    command = [*SERVER, "--override", f"listeners=PLAINTEXT://127.0.0.1:{port}", "--override", f"log.dirs={folder}"]
    command += ["--override", "kafkacy.metrics.listen=127.0.0.1:0", "--override", "kafkacy.lag.listen=127.0.0.1:0"]
    for override in more:
        command += ["--override", override]
    started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    return started[-1]


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    """Stop the process, also after a failed test."""
    yield
    while started:
        with started.pop() as process:
            process.kill()


def ready(process: subprocess.Popen[str]) -> tuple[str, int, str]:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"kafka-cy ready: ([\d.]+):(\d+) cluster ([\w-]{22}) in \d+ ms\n", line)
    assert found, line + process.communicate()[1]
    return found[1], int(found[2]), found[3]


def finish(process: subprocess.Popen[str], number: signal.Signals | None = signal.SIGTERM) -> tuple[int, str]:
    if number is not None:
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_ready_line_and_clean_shutdown(tmp_path: Path) -> None:
    process = start(tmp_path / "data")
    host, port, cluster_id = ready(process)
    client = socket.create_connection((host, port))  # the process stays attached
    code, errors = finish(process)
    assert code == 0 and "stopped" in errors
    client.close()
    again = start(tmp_path / "data")
    assert ready(again)[2] == cluster_id
    assert finish(again, signal.SIGINT)[0] == 0


def test_port_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, errors = finish(start(tmp_path / "data", taken.getsockname()[1]), None)
    assert code == 4 and "cannot listen" in errors
    assert not (tmp_path / "data").exists()


def test_bad_configuration(tmp_path: Path) -> None:
    code, errors = finish(start(tmp_path / "data", 0, "num.partitions=many"), None)
    assert code == 2 and "num.partitions" in errors and "many" in errors
    process = subprocess.run(
        [*SERVER, str(tmp_path / "missing.properties")], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2


def test_data_refused(tmp_path: Path) -> None:
    first = start(tmp_path / "data")
    ready(first)
    code, errors = finish(start(tmp_path / "data"), None)
    assert code == 3 and errors.count(" ERROR ") == 1 and "Traceback" not in errors, errors
    assert finish(first)[0] == 0
    meta = tmp_path / "data" / "meta.properties"
    text = re.sub(r"cluster\.id=.*", "cluster.id=AAAAAAAAAAAAAAAAAAAAAA", meta.read_text())
    meta.write_text(text)
    code, errors = finish(start(tmp_path / "data"), None)
    assert code == 3 and "AAAAAAAAAAAAAAAAAAAAAA" in errors
    (tmp_path / "file").write_text("")
    assert finish(start(tmp_path / "file"), None)[0] == 3


def test_a_closing_terminal_stops_the_broker_unless_nohup(tmp_path: Path) -> None:
    process = start(tmp_path / "data")
    ready(process)
    code, errors = finish(process, signal.SIGHUP)
    assert code == 0 and "signal=SIGHUP" in errors and "stopped" in errors
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited, as with nohup
    try:
        process = start(tmp_path / "data")
    finally:
        signal.signal(signal.SIGHUP, before)
    ready(process)
    process.send_signal(signal.SIGHUP)
    code, errors = finish(process)
    assert code == 0 and "signal=SIGTERM" in errors and "SIGHUP" not in errors
