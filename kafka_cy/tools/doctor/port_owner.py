"""Which process listens on a TCP port, from /proc. Processes of other users can be seen by root only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

LISTEN = "0A"


def owner_of_port(port: int) -> int | None:
    """The process id; None if it is not known."""
    inodes = set(_listening_inodes(port))
    if not inodes:
        return None
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if any(str(link.readlink()) in inodes for link in (folder / "fd").iterdir()):
                return int(folder.name)
        except OSError:  # it ended, or belongs to another user
            continue
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if len(words) > 9 and words[3] == LISTEN and int(words[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{words[9]}]"


def process_name(pid: int) -> str:
    """The first words of a process's command line; `?` if it is not known."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "?"
    return " ".join([*(word.rpartition("/")[2] for word in words[:2]), *words[2:3]]).strip() or "?"
