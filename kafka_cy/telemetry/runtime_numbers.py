"""What the thread of the coordinators and their runtimes tell telemetry. The start path imports this module, so it imports nothing
heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class EventNumbers(NamedTuple):
    """Of the events of a loop: requests, calls from other threads, and timers that are due.

    Sequences: by bucket of base/histogram, since the start.
    """

    posted: int = 0  # calls from other threads that wait
    waited_ns: Sequence[int] = ()  # how long an event waited for the thread
    worked_ns: Sequence[int] = ()  # how long the thread worked on it


class RuntimeNumbers(NamedTuple):
    """Of one coordinator. Sequences as above."""

    loading: int = 0  # partitions of its topic
    active: int = 0
    failed: int = 0
    flush_ns: Sequence[int] = ()  # how long it took to append an operation's records
    wait_ns: Sequence[int] = ()  # how long responses waited until what they say was stored, if they had to
