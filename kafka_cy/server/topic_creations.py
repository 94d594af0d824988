"""Topics that requests of other loops need: the controller loop creates them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.server.control_loop import ControlLoop

WAITING_MAX = 256  # requests of one loop that wait for topics; further ones are answered without
WAITING_BYTES_MAX = 8 << 20  # of the encoded bodies of these requests, unless there is only one (decoded, they may be larger)


class TopicCreations:
    """The requests of one loop that wait for the creation of topics. Owner: that loop's thread."""

    def __init__(
        self,
        loop: ControlLoop,
        controller_loop: ControlLoop,
        create: Callable[[Sequence[str], Mapping[str, str], Callable[[], object]], object],
    ) -> None:
        """`create(names, sender, done)` runs on the controller loop and calls `done` there, or raises; `sender`: who asks."""
        self._loop = loop
        self._controller_loop = controller_loop
        self._create = create
        self._waiting = 0
        self._waiting_bytes = 0

    def create(self, names: Sequence[str], request: Request[Any], done: Callable[[], object]) -> None:
        """Create the topics as far as possible, then call `done` on the loop, even after a failure.

        While too many or too large requests wait, `done` is called at once. The client is told that its topics do not exist,
        as Kafka tells every client that asks for a new topic, and asks again.
        """
        size = request.body_size
        if self._waiting and (self._waiting >= WAITING_MAX or self._waiting_bytes + size > WAITING_BYTES_MAX):
            done()
            return
        self._waiting += 1
        self._waiting_bytes += size
        self._controller_loop.call_soon_threadsafe(self._on_controller, names, request.sender, size, done)

    def _on_controller(
        self, names: Sequence[str], sender: Mapping[str, str], size: int, done: Callable[[], object]
    ) -> None:
        over = partial(self._loop.call_soon_threadsafe, self._over, size, done)
        try:
            self._create(names, sender, over)
        except BaseException:
            over()
            raise

    def _over(self, size: int, done: Callable[[], object]) -> None:
        self._waiting -= 1
        self._waiting_bytes -= size
        done()
