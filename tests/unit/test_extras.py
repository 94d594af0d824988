"""Without the optional libraries: the command says which extra brings them, and the broker runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

OPTIONAL = ("numpy", "yaml", "opentelemetry.sdk", "opentelemetry.exporter", "cryptography")
PREAMBLE = f"""
import sys
for name in {OPTIONAL!r}:
    sys.modules[name] = None            # as if it were not installed
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in {OPTIONAL!r}:
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Missing())
for name in {OPTIONAL!r}:
    del sys.modules[name]
"""
COMMAND = PREAMBLE + "from kafka_cy.tools import cli; sys.exit(cli.run(sys.argv[1:]))"
SERVER = PREAMBLE + "from kafka_cy.tools.main import main; sys.argv[0] = 'kafka-cy'; sys.exit(main())"


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_command_names_the_extra() -> None:
    done = run(COMMAND, "sizing")
    assert (done.returncode, done.stderr) == (
        1, "kafka-cy: This needs numpy, which is not installed: pip install 'kafka-cy[bench]'.\n"
    )  # fmt: skip


def test_certs_names_the_extra(tmp_path: Path) -> None:
    for words in (["ca"], ["server", "localhost"], ["client", "alice"], ["client", "alice", "--request"], ["stores", "alice"]):
        done = run(COMMAND, "certs", *words, "--folder", str(tmp_path))
        assert (done.returncode, done.stderr) == (
            1, "kafka-cy: This needs cryptography, which is not installed: pip install 'kafka-cy[certs]'.\n"
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_other_commands_do_without() -> None:
    for words in (["--help"], ["bench", "--help"], ["topics", "--help"], ["groups", "--help"], ["certs", "--help"]):
        done = run(COMMAND, *words)
        assert done.returncode == 0, done.stderr


def test_an_endpoint_without_opentelemetry_stops_the_start(tmp_path: Path) -> None:
    done = run(
        SERVER, "server", "--override", f"log.dirs={tmp_path}", "--override", "kafkacy.otel.endpoint=http://127.0.0.1:4318",
        "--override", "listeners=PLAINTEXT://127.0.0.1:0", "--override", "kafkacy.metrics.listen=",
        "--override", "kafkacy.lag.listen=",
    )  # fmt: skip
    assert done.returncode == 2
    assert "kafka-cy[otel]" in done.stderr
