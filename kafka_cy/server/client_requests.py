"""Requests of clients that wait for the controller: how many there may be, how large, and how long their clients wait.

The controller does one thing at a time, and nothing while ZooKeeper has no majority. What it was asked for is done later even if
the client has its answer (REQUEST_TIMED_OUT) or is gone, as in Kafka with ZooKeeper: so it counts until then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from kafka_cy.server.control_loop import ControlLoop

REQUESTS_MAX = 500
BYTES_MAX = 64 << 20  # of what they keep in memory; one may be larger, if there is no other
REQUEST_BYTES = 4096  # of each, in addition to its content
T = TypeVar("T")


class Place:
    """A request that waits for the controller. Owner: the controller's thread."""

    def __init__(self, owner: ClientRequests, size: int, timeout_ms: float, over: Callable[[], object]) -> None:
        self.is_over = False  # the client waits no more
        self._owner, self._size, self._tell = owner, size, over
        self._end_ms = owner.now_ms() + timeout_ms
        self._timer = owner.call_later(timeout_ms, self._over)
        self._is_held = True

    @property
    def left_ms(self) -> float:
        """How long the client still waits."""
        return max(0.0, self._end_ms - self._owner.now_ms())

    def _over(self) -> None:
        self.is_over = True
        self._tell()

    def keep(self, size: int) -> bool:
        """So many more bytes are kept until the end. False: there is no room for them."""
        if self._owner.count > 1 and self._owner.bytes + size > BYTES_MAX:
            return False
        self._size += size
        self._owner.bytes += size
        return True

    def answered(self) -> None:
        """The controller has done everything, or refused it: no time-out any more. What is kept counts until `end`."""
        self._timer.cancel()

    def end(self) -> None:
        """The controller has done everything, or refused it, and nothing is kept any more."""
        if self._is_held:
            self._is_held = False
            self._timer.cancel()
            self._owner.ended(self._size)

    def ending(self, answered: Callable[[T], object]) -> Callable[[T], None]:
        """A callback for the answer of the controller, which ends this; `answered` is called if the client still waits."""

        def call(answer: T) -> None:
            self.end()
            if not self.is_over:
                answered(answer)

        return call

    def answering(self, answered: Callable[[T], object]) -> Callable[[T], None]:
        """As `ending`, but what is kept counts until `answered` ends this later, or raises."""

        def call(answer: T) -> None:
            self.answered()
            if self.is_over:
                self.end()
                return
            try:
                answered(answer)
            except Exception:
                self.end()
                raise

        return call


class ClientRequests:
    """Owner: the controller's thread. Limits: REQUESTS_MAX and BYTES_MAX."""

    def __init__(self, loop: ControlLoop, timeout_max_ms: float) -> None:
        """`timeout_max_ms`: how long a client waits at most, and if it has asked for a time-out that is not positive."""
        self._loop, self._timeout_max_ms = loop, timeout_max_ms
        self.count = self.bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether there is no place for another request, however small."""
        return self.count >= REQUESTS_MAX or self.bytes >= BYTES_MAX

    def begin(self, size: int, timeout_ms: float, over: Callable[[], object]) -> Place | None:
        """A place for a request that keeps `size` bytes; None: there is none. `over` is called after the time-out."""
        size += REQUEST_BYTES
        if self.is_full or (self.count and self.bytes + size > BYTES_MAX):
            return None
        self.count += 1
        self.bytes += size
        limited_ms = min(timeout_ms, self._timeout_max_ms) if timeout_ms > 0 else self._timeout_max_ms
        return Place(self, size, limited_ms, over)

    def ended(self, size: int) -> None:
        """See Place."""
        self.count -= 1
        self.bytes -= size

    def now_ms(self) -> float:
        """Monotonic."""
        return self._loop.now() * 1000

    def call_later(self, delay_ms: float, function: Callable[[], object]) -> Any:
        """A timer."""
        return self._loop.call_later(delay_ms / 1000, function)
