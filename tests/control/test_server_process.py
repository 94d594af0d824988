"""`kafka-cy server` as a process: ready line, signals, exit codes."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

started: list[subprocess.Popen[str]] = []
DEFAULT_PAGES = {"kafkacy.metrics.listen": "127.0.0.1:9404", "kafkacy.lag.listen": "127.0.0.1:9308"}
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


def test_ready_page_agrees_with_the_ready_line(tmp_path: Path) -> None:
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = start(tmp_path / "data", 0, f"kafkacy.metrics.listen=127.0.0.1:{port}")
        ready(process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=60) as answer:
            assert (answer.status, answer.read()) == (200, b"ready\n")
        assert finish(process)[0] == 0


def test_two_brokers_on_one_machine_have_metrics_and_lag_pages(tmp_path: Path) -> None:
    """Neither broker has chosen these ports, so the one that comes second takes others and says so."""
    brokers = []
    for name in ("first", "second"):
        command = [*SERVER, "--override", "listeners=PLAINTEXT://127.0.0.1:0", "--override", f"log.dirs={tmp_path / name}"]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        brokers.append(started[-1])
        ready(brokers[-1])
    logs = [finish(process) for process in brokers]
    assert [code for code, _ in logs] == [0, 0]
    urls = [re.findall(r"serving [a-z ]+ url=http://127\.0\.0\.1:(\d+)/metrics", log) for _, log in logs]
    assert [len(set(ports)) for ports in urls] == [2, 2] and not set(urls[0]) & set(urls[1])
    for port, (key, default) in zip(urls[1], DEFAULT_PAGES.items(), strict=True):
        (line,) = [line for line in logs[1][1].splitlines() if "default port" in line and key in line]
        assert "WARN" in line and f"default={default}" in line and line.endswith(f"port={port}"), line


def test_port_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, errors = finish(start(tmp_path / "data", taken.getsockname()[1]), None)
    assert code == 4 and "cannot listen" in errors
    assert not (tmp_path / "data").exists()


def test_port_taken_for_a_page(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for key in ("kafkacy.metrics.listen", "kafkacy.lag.listen"):
            code, errors = finish(start(tmp_path / "data", 0, f"{key}=127.0.0.1:{port}"), None)
            assert code == 4
            assert errors.endswith(f"cannot listen on 127.0.0.1:{port} ({key}): Address already in use\n"), errors
    assert not (tmp_path / "data").exists()


def test_reader_that_ends_early() -> None:
    for option in ("--print-config", "--help"):
        with subprocess.Popen([*SERVER, option], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            assert (process.stderr.read(), process.wait(60)) == ("", 0)


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


def start_with_sighup(handler: signal.Handlers, folder: Path) -> subprocess.Popen[str]:
    """Start a broker that inherits how SIGHUP is handled; nohup ignores it."""
    before = signal.signal(signal.SIGHUP, handler)
    try:
        return start(folder)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closing_terminal_stops_the_broker_unless_nohup(tmp_path: Path) -> None:
    process = start_with_sighup(signal.SIG_DFL, tmp_path / "data")
    ready(process)
    code, errors = finish(process, signal.SIGHUP)
    assert code == 0 and "signal=SIGHUP" in errors and "stopped" in errors
    process = start_with_sighup(signal.SIG_IGN, tmp_path / "data")
    ready(process)
    process.send_signal(signal.SIGHUP)
    code, errors = finish(process)
    assert code == 0 and "signal=SIGTERM" in errors and "SIGHUP" not in errors


def test_a_broker_that_cannot_start_its_threads_ends_cleanly(tmp_path: Path) -> None:
    """Its logs are closed, so that the next start has nothing to recover."""
    script = Path(__file__).with_name("no_threads_broker.py")
    options = ["listeners=PLAINTEXT://127.0.0.1:0", f"log.dirs={tmp_path}", "kafkacy.metrics.listen=", "kafkacy.lag.listen="]
    ended = subprocess.run(
        [sys.executable, str(script), "coordinator", *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "can't start new thread" in ended.stderr and "cannot join thread" not in ended.stderr
    assert (tmp_path / ".kafka_cleanshutdown").exists()
