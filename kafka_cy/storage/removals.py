"""What is removed later: the folders of deleted partitions, and the `.deleted` files of removed segments."""

# The os functions, not pathlib, which costs start time.
# ruff: noqa: PTH108
from __future__ import annotations

import os
import time
from typing import NamedTuple

from kafka_cy.storage.log_dir import remove_tree

CLOCK_STEP_NS = 1_000_000_000  # the wall clock is believed to be set if it differs by more from the monotonic clock
RETRY_MS_MIN = 60_000  # after a removal that failed
wall_clock_ns = time.time_ns  # the clock of the files' change times


class Removal(NamedTuple):
    """When a folder is looked at. One entry for each folder, however many of its segments are removed."""

    due_s: float  # monotonic
    delay_ms: int  # file.delete.delay.ms
    clock_ns: int | None  # wall clock minus monotonic clock when this was planned; None: it does not matter
    failed: bool = False  # it was tried when it was due


def planned(delay_ms: int) -> Removal:
    """A removal after the delay."""
    return Removal(time.monotonic() + delay_ms / 1000, delay_ms, _clock_ns())


def merged(before: Removal | None, new: Removal) -> Removal:
    """The removal of a folder that had one. The new one does not postpone it, but its delay is the topic's present one."""
    return new if before is None else Removal(min(before.due_s, new.due_s), new.delay_ms, before.clock_ns)


def remove(folder: str, removal: Removal) -> Removal | None:
    """Remove a renamed folder, or those `.deleted` files of a partition that had their name for the delay, as in Kafka.

    Returns when to look at the folder again: there are younger files.
    """
    if folder.endswith(("-delete", "-future")):
        remove_tree(folder)
        return again(removal) if os.path.lexists(folder) else None
    if removal.clock_ns is not None and abs(_clock_ns() - removal.clock_ns) > CLOCK_STEP_NS:
        # The clock was set, and files look older or younger than they are. So all wait once more, but not for ever.
        return planned(removal.delay_ms)._replace(clock_ns=None)
    wait_ns = _unlink_deleted(folder, removal.delay_ms * 1_000_000)
    if wait_ns is None:
        return None
    return Removal(time.monotonic() + wait_ns / 1e9, removal.delay_ms, _clock_ns())


def again(removal: Removal) -> Removal:
    """The next attempt after a removal that failed."""
    return planned(max(removal.delay_ms, RETRY_MS_MIN))._replace(delay_ms=removal.delay_ms, failed=True)


def _unlink_deleted(folder: str, delay_ns: int) -> int | None:
    """Remove a log's `.deleted` files that were renamed before the delay. Returns after how long the next one is due."""
    now_ns = wall_clock_ns()
    waits_ns: list[int] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".deleted"):
                    # A rename changes ctime. One in the far future is of a clock that was set back since.
                    age_ns = abs(now_ns - entry.stat(follow_symlinks=False).st_ctime_ns)
                    if age_ns < delay_ns:
                        waits_ns.append(delay_ns - age_ns)
                    else:
                        _unlink(entry.path)
    except OSError:
        return None  # the log was deleted meanwhile, or its directory failed
    return min(waits_ns, default=None)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # the next start removes it


def _clock_ns() -> int:
    return wall_clock_ns() - time.monotonic_ns()
