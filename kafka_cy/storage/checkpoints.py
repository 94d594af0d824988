"""Kafka's checkpoint files of a log directory: text files, replaced atomically (temporary file, fsync, rename)."""

# The os functions, not pathlib, which costs start time.
# ruff: noqa: PTH104, PTH120
from __future__ import annotations

import os
from collections.abc import Callable

RECOVERY_POINTS = "recovery-point-offset-checkpoint"
LOG_STARTS = "log-start-offset-checkpoint"
HIGH_WATERMARKS = "replication-offset-checkpoint"
CLEANER_OFFSETS = "cleaner-offset-checkpoint"


def write_file(path: str, text: str, *, sync: bool = True) -> None:
    """Replace a file atomically: after a crash it has either the old or the new content. Raises OSError."""
    temporary = f"{path}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    os.rename(temporary, path)
    if sync:
        sync_directory(os.path.dirname(path))


def sync_directory(directory: str) -> None:
    """Make renames and new files in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_offsets(path: str, offsets: dict[tuple[str, int], int]) -> None:
    """Format `topic partition offset` lines, as in recovery-point-offset-checkpoint."""
    lines = [f"{topic} {index} {offset}\n" for (topic, index), offset in offsets.items()]
    write_file(path, f"0\n{len(lines)}\n{''.join(lines)}")


def read_offsets(path: str, damaged: Callable[[str], object] = lambda why: None) -> dict[tuple[str, int], int]:
    """Return {(topic, partition): offset}; empty for a missing file, and for a damaged one, of which `damaged(why)` is told.

    Raises OSError for a file that cannot be read: what it holds is not known.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
        if lines[0] != "0":
            raise ValueError(f"unknown version {lines[0][:20]!r}")
        found: dict[tuple[str, int], int] = {}
        for line in lines[2 : 2 + int(lines[1])]:
            topic, index, offset = line.split(" ")
            found[topic, int(index)] = int(offset)
        return found
    except FileNotFoundError:
        return {}
    except (ValueError, IndexError) as error:
        damaged(str(error))
        return {}


def read_properties(path: str) -> dict[str, str] | None:
    """Read key=value lines of a Java properties file as Kafka writes them; None when the file is missing. Raises
    OSError."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    pairs = (line.partition("=") for line in lines if line.strip() and not line.startswith(("#", "!")))
    return {key.strip(): value.strip().replace("\\:", ":").replace("\\=", "=") for key, _, value in pairs}
