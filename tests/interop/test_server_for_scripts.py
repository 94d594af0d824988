"""What scripts and other languages use to get a broker: `kafka-cy exec`, `--port-file`, `--check-config`, `--version`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from kafka_cy.base.connection_probe import Finding, probe
from tests.waiting import wait_until

KAFKA_CY = [sys.executable, "-m", "kafka_cy"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KAFKA_CY, *arguments], capture_output=True, text=True, timeout=60, check=False)


def python(program: str) -> tuple[str, ...]:
    return ("--", sys.executable, "-c", program)


def test_exec_passes_the_address_and_the_exit_code() -> None:
    program = (
        "import os, sys; address = os.environ['KAFKA_BOOTSTRAP_SERVERS']\n"
        "from confluent_kafka.admin import AdminClient\n"
        "print(address, len(AdminClient({'bootstrap.servers': address}).list_topics(timeout=30).brokers)); sys.exit(7)"
    )
    done = run("exec", *python(program))
    assert done.returncode == 7, done.stderr
    address, brokers = done.stdout.split()
    assert brokers == "1"
    host, _, port = address.rpartition(":")
    assert probe(host, int(port), tls=False) is Finding.REFUSED  # the broker has ended
    assert run("exec", "--", *KAFKA_CY, "topics", "create", "orders").stdout == "Created topic orders.\n"


def test_exec_failures() -> None:
    done = run("exec", "--", "/there/is/none")
    assert (done.returncode, done.stderr) == (
        127,
        "kafka-cy: /there/is/none cannot be run: No such file or directory.\n",
    )
    done = run("exec", *python("import os, signal; os.kill(os.getpid(), signal.SIGTERM)"))
    assert done.returncode == 128 + signal.SIGTERM
    done = run("exec", "--override", "num.partitons=3", "--", "true")
    assert done.returncode == 2 and "did you mean num.partitions?" in done.stderr
    assert run("exec").returncode == 2


def test_exec_passes_sigterm_on() -> None:
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "print('waiting', flush=True)\n"
        "while True: time.sleep(1)"
    )
    with subprocess.Popen([*KAFKA_CY, "exec", *python(program)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.terminate()
        assert process.wait(60) == 9


def server_arguments(folder: Path, *more: str) -> list[str]:
    settings = {
        "listeners": "PLAINTEXT://127.0.0.1:0",
        "kafkacy.metrics.listen": "",
        "kafkacy.lag.listen": "",
        "log.dirs": str(folder / "data"),
    }
    return ["server", *more, *(word for pair in settings.items() for word in ("--override", "=".join(pair)))]


def test_port_file(tmp_path: Path) -> None:
    path = tmp_path / "port"
    path.write_text("1\n")  # of a broker that was killed
    with subprocess.Popen(
        [*KAFKA_CY, *server_arguments(tmp_path, "--port-file", str(path))], stdout=subprocess.DEVNULL
    ) as process:
        wait_until(lambda: path.exists() and path.read_text() != "1\n", "the port file is written")
        assert path.read_text().endswith("\n")
        assert probe("127.0.0.1", int(path.read_text()), tls=False) is Finding.KAFKA
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0
    assert not path.exists()
    assert [each.name for each in tmp_path.iterdir()] == ["data"]
    done = run(*server_arguments(tmp_path, "--port-file", str(tmp_path / "none" / "port")))
    assert done.returncode == 2
    assert "none/port cannot be written: No such file or directory" in done.stderr


def test_check_and_print_config(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text("num.partitions=7\nnum.partitons=8\nssl.key.password=secret\n")
    done = run("server", str(file), "--check-config")
    assert (done.returncode, done.stdout) == (0, "The configuration is valid.\n")
    assert "kafka-cy server: warning: unknown configuration key num.partitons: did you mean" in done.stderr
    done = run("server", str(file), "--print-config", "--override", "log.retention.ms=5")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert {"num.partitions=7", "log.retention.ms=5", "num.io.threads=8", "ssl.key.password=[hidden]"} <= set(lines)
    assert "secret" not in done.stdout and lines == sorted(lines, key=lambda line: line.partition("=")[0])
    done = run("server", "--check-config", "--override", "num.partitions=many")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("kafka-cy server: bad configuration: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_version() -> None:
    lines = {
        run(*words).stdout
        for words in (("version",), ("-V",), ("--version",), ("server", "-V"), ("server", "--version"))
    }
    (line,) = lines
    assert re.match(r"kafka-cy \d+\.\d+\.\d+ \(commit \w+", line)
