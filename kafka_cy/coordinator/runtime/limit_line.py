"""What the log says when requests are refused because of a limit on what clients can make the broker hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final


class LimitLine:
    """At most one line in WAIT_S, however many requests are refused. Owner: the thread of the loop whose clock it gets."""

    WAIT_S: Final = 60.0

    def __init__(self, log: Callable[..., object], now_s: Callable[[], float]) -> None:
        """`log`: (what happened, field=value, ...) writes a line."""
        self._log = log
        self._now_s = now_s
        self._next_s = 0.0

    def write(self, what: str, **details: Any) -> None:
        """A request was refused."""
        if self._now_s() >= self._next_s:
            self._next_s = self._now_s() + self.WAIT_S
            self._log(what, **details)
