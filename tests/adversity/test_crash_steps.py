"""Changes of topics, interrupted before each step to the disk: each is complete or has not happened, with no leftovers.

Of the longest changes only one step of three, but with CRASH_STEPS=all (`make crashes`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

KEPT = "kept-0=0..10 kept-1=0..10"
DOOMED = "doomed-0=8..10 doomed-1=8..10"
BEFORE = f"{DOOMED} {KEPT}"
EMPTY = "new-0=0..0 new-1=0..0 new-2=0..0"

# The allowed results as regular expressions, in this order.
EXPECTED = {
    "first_start": [""],
    "create": [BEFORE, f"{BEFORE} {EMPTY}"],
    "add_partitions": [BEFORE, f"{BEFORE} kept-2=0..0 kept-3=0..0"],
    "delete": [BEFORE, KEPT],
    "delete_and_create": [BEFORE, KEPT, rf"doomed-0=0..[03] {KEPT}"],
    "create_in_steps": [BEFORE, f"{BEFORE} {EMPTY}"],
    "add_partitions_in_steps": [BEFORE, f"{BEFORE} kept-2=0..0 kept-3=0..0"],
    "delete_in_steps": [BEFORE, KEPT],
    "move": [BEFORE, rf"{DOOMED} kept-0=0..(20|22) kept-1=0..(10|20|22)"],
}
LONGEST = ("move", "delete", "delete_and_create")


@pytest.mark.parametrize("scenario", EXPECTED)
def test_a_crash_before_each_step(tmp_path: Path, scenario: str) -> None:
    every = 3 if scenario in LONGEST and os.environ.get("CRASH_STEPS") != "all" else 1
    ran = subprocess.run(
        [sys.executable, "-m", "tests.adversity.crash_steps", scenario, str(tmp_path), str(every)],
        capture_output=True, text=True, timeout=280, check=False, cwd=Path(__file__).parent.parent.parent,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    allowed = [re.compile(each) for each in EXPECTED[scenario]]
    reached = 0
    lines = ran.stdout.splitlines()
    for line in lines:
        step, _, found = line.partition(": ")
        at = next((i for i in range(reached, len(allowed)) if allowed[i].fullmatch(found)), None)
        assert at is not None, f"{line}\n--\n{ran.stdout}"
        reached = at
        assert step
    assert reached == len(allowed) - 1 and len(lines) > 5, ran.stdout
