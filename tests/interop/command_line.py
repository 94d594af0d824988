"""kafka-cy's own commands, run as processes against a broker."""

from __future__ import annotations

import subprocess
import sys


def tool(bootstrap: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The ended command, whatever its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "kafka_cy", *arguments, "--bootstrap-server", bootstrap],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def check(bootstrap: str, *arguments: str, stdin: str = "") -> str:
    """The output of a command that succeeds."""
    done = tool(bootstrap, *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout
