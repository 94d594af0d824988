"""Topics that requests of other loops need: the controller loop creates them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kafka_cy.server.control_loop import ControlLoop

WAITING_MAX = 256  # requests of one loop that wait for topics; further ones are answered without


class TopicCreations:
    """The requests of one loop that wait for the creation of topics. Owner: that loop's thread."""

    def __init__(
        self,
        loop: ControlLoop,
        controller_loop: ControlLoop,
        create: Callable[[Sequence[str], Mapping[str, str]], object],
    ) -> None:
        """`create` runs on the controller loop; it gets the names of topics, and the client that asks for them."""
        self._loop = loop
        self._controller_loop = controller_loop
        self._create = create
        self._waiting = 0

    def create(self, names: Sequence[str], sender: Mapping[str, str], done: Callable[[], object]) -> None:
        """Create the topics as far as possible, then call `done` on the loop, even after a failure.

        While too many requests wait, `done` is called at once. The client is told that its topics do not exist, as Kafka
        tells every client that asks for a new topic, and asks again.
        """
        if self._waiting >= WAITING_MAX:
            done()
            return
        self._waiting += 1
        self._controller_loop.call_soon_threadsafe(self._on_controller, names, sender, done)

    def _on_controller(self, names: Sequence[str], sender: Mapping[str, str], done: Callable[[], object]) -> None:
        try:
            self._create(names, sender)
        finally:
            self._loop.call_soon_threadsafe(self._over, done)

    def _over(self, done: Callable[[], object]) -> None:
        self._waiting -= 1
        done()
