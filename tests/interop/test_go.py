"""franz-go and Sarama: the Go tests of tests/interop/go against the broker under test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    "name",
    ["FranzCodecs", "FranzCooperativeGroup", "FranzAdmin", "SaramaCodecs", "SaramaGroup", "SaramaAdmin"],
)
def test_go_client(go_tests: Path, bootstrap: str, name: str) -> None:
    environment = {**os.environ, "KAFKA_BOOTSTRAP": bootstrap}
    command = [str(go_tests), f"-test.run=^Test{name}$", "-test.v", "-test.timeout=90s"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "--- PASS" in ran.stdout and "--- SKIP" not in ran.stdout
