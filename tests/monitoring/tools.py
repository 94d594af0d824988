"""Tools of the monitoring world that tests run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"


def needed(command: str, package: str) -> str:
    """The path of a command; without it the test is skipped, and fails where CI is set."""
    path = shutil.which(command) or shutil.which(command, path="/usr/sbin:/usr/bin:/usr/share/zookeeper/bin")
    if path is None:
        reason = f"{command} is missing (Debian package {package}; scripts/install-test-tools.sh)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What a command printed; an assertion fails with it where the command does."""
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
