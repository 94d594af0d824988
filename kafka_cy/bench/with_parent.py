"""Child processes that do not outlive the benchmark, even if it crashes or is killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

#: Asks the kernel for SIGKILL at the parent's end (prctl PR_SET_PDEATHSIG, which exec keeps), then becomes the command.
#: The parent may have ended before that; then the process has another parent already.
PROGRAM = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


def with_parent(command: Sequence[str]) -> list[str]:
    """A command line for `command` that is killed when this process ends, or the thread that starts it."""
    return [sys.executable, "-IS", "-c", PROGRAM, str(os.getpid()), *command]
