"""A timer of the soft state of a key, which may have to wait in the line of its key when it is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class KeyTimer:
    """Owner: the coordinator's thread. Lifetime: until it has run, or is cancelled.

    It can be cancelled while it waits in the line: whoever was before it may have changed what it was set for.
    """

    __slots__ = ("_change", "_timer")

    def __init__(self, change: Callable[[], object]) -> None:
        self._change: Callable[[], object] | None = change
        self._timer: Any = None

    def start(self, loop: Any, delay_s: float, due: Callable[[], object]) -> None:
        """`due` is called after the delay; it calls `run` when its turn comes."""
        self._timer = loop.call_later(delay_s, due)

    def run(self) -> None:
        """Do the change, unless it was cancelled."""
        change, self._change, self._timer = self._change, None, None
        if change is not None:
            change()

    def cancel(self) -> None:
        """It does not run any more."""
        timer, self._change, self._timer = self._timer, None, None
        if timer is not None:
            timer.cancel()
