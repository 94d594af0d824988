"""Monitoring tools that the tests run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"


def needed(command: str, package: str) -> str:
    """The path of a command. If it is missing, the test is skipped, or fails if CI is set."""
    path = shutil.which(command) or shutil.which(command, path="/usr/sbin:/usr/bin:/usr/share/zookeeper/bin")
    if path is None:
        reason = f"{command} is missing (Debian package {package}; scripts/install-test-tools.sh)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """The output of a command. If the command fails, raises AssertionError with its output."""
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
