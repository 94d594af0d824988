"""The measurements that no target of the benchmark command has: each row once, for a moment. What they print is read by people."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent.parent / "bench"


def lines_of(script: str, *arguments: str) -> list[str]:
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, cwd=BENCH, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[1:]


@pytest.mark.parametrize("neighbours", [
    ("zstd_bombs", "gzip_bombs", "recompression", "cold_readers", "lying_requests", "slow_disk"),
    ("creations", "large_fetches", "assignments"),
])  # fmt: skip
def test_quiet_clients_beside_neighbours(neighbours: tuple[str, ...]) -> None:
    rows = [line.split("  ")[0].split(", ") for line in lines_of("beside.py", "0.05", *neighbours)]
    quiet = {"quiet"} if "slow_disk" in neighbours else {"quiet_member", "quiet_consumer_member", "quiet_share_member"}
    assert {tuple(row) for row in rows} == {(each, neighbour.strip()) for each in quiet for neighbour in neighbours}


def test_steps_of_assignments() -> None:
    assert len(lines_of("assignment_steps.py", "20", "100")) == 11
