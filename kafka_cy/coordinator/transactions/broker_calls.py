"""What the transaction coordinator, and the leader of a transaction's partitions, send to other brokers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol


class BrokerCalls(Protocol):
    """Requests to other brokers: of each, one request at a time. Owner: the coordinator's thread."""

    def send(
        self, broker_id: int, api: Any, version: int | None, request: Any, response: Any, done: Callable[[Any], object]
    ) -> None:
        """Send a request of a module of protocol.broker_messages (`version` None: the newest that both brokers know).

        `done` is called later, on the coordinator's thread: with the decoded response (of the class `response`), with None if
        there was none, or with UNSUPPORTED if the other broker does not know such a request.
        """


UNSUPPORTED: Final = object()
