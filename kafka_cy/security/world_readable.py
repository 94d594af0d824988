"""Whether every user of this machine can read a file."""

from __future__ import annotations

import os
import stat


def is_world_readable(path: str) -> bool:
    """Whether users that are neither the file's nor of its group can reach and read it. False for a file that is not there."""
    path = os.path.realpath(path)
    try:
        if not os.stat(path).st_mode & stat.S_IROTH:  # noqa: PTH116
            return False
        while path != "/":
            path = os.path.dirname(path)  # noqa: PTH120
            if not os.stat(path).st_mode & stat.S_IXOTH:  # noqa: PTH116
                return False
    except OSError:
        return False
    return True
