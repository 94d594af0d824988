"""One record every few milliseconds with acks=all, and when each was due and acknowledged.

The time without an acknowledgement shall be the cluster's. So librdkafka's waits before it tries again are short, and it is made to
ask for the leader often: by itself it asks once a second, while the leader that it knows cannot be reached. A thread asks: a broker
that hangs lets it wait, and acknowledgements are seen meanwhile.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kafka_cy.bench.brokers import BrokerError, client_config

if TYPE_CHECKING:
    from kafka_cy.bench.brokers import Target

INTERVAL_S = 0.005
TIMEOUT_S = 60.0
STEADY_ACKS = 100
ASK_S = 0.02
ANSWER_S = 0.2  # then another broker may be asked
SETTLE_S = 1.5  # longer than replica.fetch.backoff.ms
SETTINGS = {
    "acks": "all",
    "linger.ms": 0,
    "message.timeout.ms": 120_000,
    "retry.backoff.ms": 10,
    "retry.backoff.max.ms": 50,
    "reconnect.backoff.ms": 10,
    "reconnect.backoff.max.ms": 50,
    "topic.metadata.refresh.fast.interval.ms": 20,
}


class AcknowledgedLoad:
    """For one thread, as a context. A thread of its own asks for the leader."""

    def __init__(self, target: Target, topic: str) -> None:
        self._target, self._topic = target, topic
        self._acks: list[tuple[float, float]] = []  # due, acknowledged
        self._failed: str | None = None
        self._wanted = threading.Event()  # somebody shall ask for the leader
        self._ended = False
        self._asker = threading.Thread(target=self._ask_for_leader, name="leader", daemon=True)

    def __enter__(self) -> AcknowledgedLoad:
        from confluent_kafka import Producer

        self._producer = Producer(client_config(self._target, SETTINGS))
        self._asker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended = True
        self._wanted.set()
        self._asker.join()
        self._producer.purge()
        self._producer.flush(5)

    def settle(self) -> float:
        """Send until the followers of a new topic have come; the time from which on they had."""
        settled_s = time.monotonic() + SETTLE_S
        self.go_on(lambda: self.steady(settled_s))
        return settled_s

    def go_on(self, until: Callable[[], bool]) -> None:
        """Send until a condition is met. Raises BrokerError if it takes too long or a record fails."""
        begun_s = asked_s = due_s = time.monotonic()
        deadline_s = due_s + TIMEOUT_S
        while not until():
            now_s = time.monotonic()
            if now_s > deadline_s:
                raise BrokerError(f"No acknowledgements for {TIMEOUT_S:.0f} s.")
            while due_s <= now_s:
                self._send(due_s)
                due_s += INTERVAL_S
            self._producer.poll(max(0.0, due_s - time.monotonic()))
            if now_s - max(begun_s, self._acks[-1][1] if self._acks else 0.0) > ASK_S and now_s - asked_s > ASK_S:
                self._wanted.set()
                asked_s = time.monotonic()
            if self._failed is not None:
                raise BrokerError(f"A record was not acknowledged: {self._failed}.")

    def _ask_for_leader(self) -> None:
        """On a thread of its own, of the same producer: it takes the answer."""
        from confluent_kafka import KafkaException

        while self._wanted.wait():
            self._wanted.clear()
            if self._ended:
                return
            with suppress(KafkaException):
                self._producer.list_topics(self._topic, timeout=ANSWER_S)

    def _send(self, due_s: float) -> None:
        def delivered(error: Any, message: Any) -> None:
            if error is None:
                self._acks.append((due_s, time.monotonic()))
            else:
                self._failed = error.str()

        self._producer.produce(self._topic, b"x" * 100, partition=0, on_delivery=delivered)

    def steady(self, since_s: float) -> bool:
        """Whether all of the last acknowledgements are those of records that were due after a time."""
        return len(self._acks) >= STEADY_ACKS and all(due_s > since_s for due_s, _ in self._acks[-STEADY_ACKS:])

    def longest_gap_s(self, since_s: float) -> float:
        """The longest time without an acknowledgement, from a time on."""
        times = [since_s, *sorted(at for _, at in self._acks if at > since_s)]
        return max((after - before for before, after in itertools.pairwise(times)), default=0.0)

    def latest_s(self, since_s: float) -> float:
        """The longest time from when a record was due until it was acknowledged, of those acknowledged after a time."""
        return max((at - due_s for due_s, at in self._acks if at > since_s), default=0.0)
