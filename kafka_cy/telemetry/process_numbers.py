"""What the operating system tells of this process."""

from __future__ import annotations

import os
from pathlib import Path


def disk_bytes() -> tuple[int, int]:
    """(bytes read, bytes written) on disks by this process; 0 if the kernel does not report them."""
    values = {"read_bytes": 0, "write_bytes": 0}
    try:
        for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
            key, _, value = line.partition(":")
            if key in values:
                values[key] = int(value)
    except OSError:
        pass
    return values["read_bytes"], values["write_bytes"]


def memory_bytes() -> tuple[int, int]:
    """(resident set of this process, its limit: the control group's limit or the machine's memory)."""
    page = os.sysconf("SC_PAGE_SIZE")
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * page
    allowed = os.sysconf("SC_PHYS_PAGES") * page
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        limit = "max"
    return resident, min(allowed, int(limit)) if limit.isdigit() else allowed


def thread_count() -> int:
    """Number of threads of this process."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208
