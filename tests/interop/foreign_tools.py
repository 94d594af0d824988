"""The locations of third-party tools, and the handling of missing ones."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def require(present: object, what: str) -> None:
    """Skip the test when a third-party tool is missing; in CI, where it is required, fail."""
    if present:
        return
    message = f"{what} is missing (scripts/install-test-tools.sh)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def run_kafkajs(node: str, *arguments: str, sasl: str = "") -> dict[str, Any]:
    """The results of js/roundtrip.mjs. `sasl`: MECHANISM:USER:PASSWORD."""
    done = subprocess.run(
        [node, "roundtrip.mjs", *arguments],
        cwd=HERE / "js",
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "KAFKAJS_NO_PARTITIONER_WARNING": "1", "KAFKA_SASL": sasl},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def run_go_test(binary: Path, name: str, environment: Mapping[str, str]) -> None:
    """Run one of the Go tests with these environment variables; it must pass."""
    command = [str(binary), f"-test.run=^Test{name}$", "-test.v", "-test.timeout=90s"]
    ran = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "--- PASS" in ran.stdout and "--- SKIP" not in ran.stdout
