"""Resource usage of a process on this machine: CPU time, resident memory, context switches, bytes written."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """Usage since the process started. None where the kernel gives no value (another user's process, or it has ended)."""

    cpu_s: float | None = None
    rss_bytes: int | None = None
    context_switches: int | None = None
    written_bytes: int | None = None


#: A process, several (whose usage is added), or none on this machine.
Pids = int | tuple[int, ...] | None


def usage(pid: Pids) -> Usage:
    """The usage of the process or processes `pid` so far; for None, every value is None."""
    if pid is None:
        return Usage()
    if isinstance(pid, tuple):
        each = [usage(one) for one in pid]
        return Usage(*(_sum([getattr(one, name.name) for one in each]) for name in fields(Usage)))
    return Usage(_cpu_s(pid), _rss_bytes(pid), _context_switches(pid), _written_bytes(pid))


def _sum(values: list[Any]) -> Any:
    """None if one of them is unknown: a difference to it would be wrong."""
    return None if None in values else sum(values)


def _cpu_s(pid: int) -> float | None:
    try:
        return time.clock_gettime((~pid << 3) | 2)  # the CPU clock id of the process, computed as clock_getcpuclockid(3) does
    except OSError:
        return None


def _rss_bytes(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return None


def _context_switches(pid: int) -> int | None:
    """The sum over all threads that are alive now."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return None
    total = 0
    for thread in threads:
        try:
            lines = (thread / "status").read_text().splitlines()
        except OSError:
            continue  # the thread has just ended
        total += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return total


def _written_bytes(pid: int) -> int | None:
    """Bytes that the process caused to be sent to the storage layer (dirtied page cache included)."""
    try:
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith("write_bytes:"):
                return int(line.split()[1])
    except OSError:
        return None
    return None


def process_of_port(port: int) -> int | None:
    """The process on this machine that listens on a TCP port; None when there is none, or none that we may inspect."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(each.readlink()) in inodes for each in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:
            continue
    return None
