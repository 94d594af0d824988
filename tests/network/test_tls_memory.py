"""OpenSSL gets no memory, at each of the places where a connection asks for some: the log says why the connection ended."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.certificates import Authority

from .openssl_without_memory import SERVED

SOURCE = Path(__file__).with_name("failing_openssl.c")
ROOT = SOURCE.parents[2]


def build(folder: Path) -> Path:
    target = folder / "failing_openssl.so"
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # a sanitizer, of no use to compilers
    compiler = shlex.split(os.environ.get("CC", "cc"))
    subprocess.run(
        [*compiler, "-O1", "-shared", "-fPIC", str(SOURCE), "-o", str(target), "-lcrypto"], check=True, env=environment
    )
    return target


@pytest.mark.parametrize("length", [1, 1 << 30], ids=["one allocation", "all that follow"])
def test_every_end_has_a_reason(tmp_path: Path, authority: Authority, length: int) -> None:
    library = build(tmp_path)
    paths = [os.environ.get("PYTHONPATH", ""), str(ROOT)]  # first a build with a sanitizer
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    program = [sys.executable, "-m", "tests.network.openssl_without_memory"]
    done = subprocess.run(
        [*program, str(library), str(authority.broker), str(authority.trusted), str(length)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    ends: list[str] = json.loads(done.stdout)
    assert len(ends) > 50 and ends[-1] == SERVED, ends
    assert "" not in ends, f"no reason: {[number for number, end in enumerate(ends) if not end]}"
    reasons = {end for end in ends if end != SERVED}
    assert any("out of memory" in reason for reason in reasons), reasons
