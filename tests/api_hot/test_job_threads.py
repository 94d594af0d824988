"""A job whose thread cannot be started waits until one can."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("failing_threads.c")
ROOT = Path(__file__).parents[2]

PROGRAM = """
import ctypes, sys
from pathlib import Path
from tests.api_hot.harness import HotServer
from tests.api_hot.test_produce import only, request
from tests.api_hot.test_produce_jobs import large, send_produce
from tests.waiting import wait_until

threads = ctypes.CDLL(None)
server = HotServer(Path(sys.argv[1]), 1)
server.create_topic("t")
connection = server.connect()
threads.threads_fail(1)
send_produce(connection, 9, request(9, server, {("t", 0): large()}))
lines = []
def is_told():
    lines.extend(event.message for event in server.server.take_log_events())
    return lines
wait_until(is_told, "a line of the log")
threads.threads_fail(0)
assert only(connection.answer(0, 9))["error_code"] == 0
connection.close()
server.stop()
print(lines)
"""


def test_it_is_tried_again(tmp_path: Path) -> None:
    library = tmp_path / "failing_threads.so"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    libraries = [each for each in os.environ.get("LD_PRELOAD", "").split(":") if each]  # a sanitizer, of no use to compilers
    without = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run([*compiler, "-O1", "-shared", "-fPIC", str(SOURCE), "-o", str(library), "-ldl"], check=True, env=without)
    environment = {"LD_PRELOAD": ":".join([*libraries, str(library)]), "PYTHONPATH": ":".join([*sys.path, str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], timeout=120, capture_output=True, text=True, check=False,
        env=without | environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no thread can be started for the jobs of requests" in done.stdout
