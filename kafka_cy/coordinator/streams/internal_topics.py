"""Creates the internal topics of topologies, and remembers why that failed, so that members can be told.

Kafka: AutoTopicCreationManager.createStreamsInternalTopics, ExpiringErrorCache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from kafka_cy.coordinator.streams.configured import ConfiguredTopology, InternalTopic
from kafka_cy.coordinator.streams.statuses import MISSING_INTERNAL_TOPICS, Status

IN_FLIGHT_MAX: Final = 10_000  # topics that are being created; others wait for a later heartbeat
ERRORS_MAX: Final = 1000  # topics whose error is remembered: the oldest is forgotten then
ERROR_CHARACTERS_MAX: Final = 500  # of an error, which may repeat a setting that a client chose
ERRORS_SHOWN_MAX: Final = 3

Sender = Mapping[str, str]  # who asked, for the log
#: Creates topics on another thread, then calls back on the coordinator's thread with the errors by topic.
CreateTopics = Callable[[Sequence[InternalTopic], Sender, Callable[[Mapping[str, str]], object]], object]


class _Error(NamedTuple):
    text: str
    until_s: float


class InternalTopics:
    """Owner: the coordinator's thread."""

    def __init__(self, loop: Any, create: CreateTopics) -> None:
        self._loop = loop
        self._create = create
        self._in_flight: set[str] = set()
        self._errors: dict[str, _Error] = {}  # the oldest first

    def create(self, topics: Sequence[InternalTopic], sender: Sender, errors_ttl_ms: int) -> None:
        """Create those that are not being created and have not failed just now. Errors are remembered for `errors_ttl_ms`."""
        room = IN_FLIGHT_MAX - len(self._in_flight)
        wanted = [each for each in topics if each.name not in self._in_flight and self._error(each.name) is None][:room]
        if wanted:
            self._in_flight.update(each.name for each in wanted)
            self._create(wanted, sender, partial(self._created, wanted, errors_ttl_ms))

    def _created(self, topics: Sequence[InternalTopic], errors_ttl_ms: int, errors: Mapping[str, str]) -> None:
        self._in_flight.difference_update(each.name for each in topics)
        until_s = self._loop.now() + errors_ttl_ms / 1000
        for name, text in errors.items():
            self._errors.pop(name, None)
            while len(self._errors) >= ERRORS_MAX:
                del self._errors[next(iter(self._errors))]
            self._errors[name] = _Error(text[:ERROR_CHARACTERS_MAX], until_s)

    def _error(self, name: str) -> str | None:
        found = self._errors.get(name)
        if found is not None and found.until_s <= self._loop.now():
            del self._errors[name]
            return None
        return None if found is None else found.text

    def problem_of(self, configured: ConfiguredTopology) -> Status | None:
        """The topology's problem, with the reasons why missing topics could not be created."""
        problem = configured.problem
        if problem is None or problem.code != MISSING_INTERNAL_TOPICS or not self._errors:
            return problem
        found = [(each.name, self._error(each.name)) for each in configured.missing]
        failed = [f"{name} ({text})" for name, text in found if text is not None]
        if not failed:
            return problem
        more = len(failed) - ERRORS_SHOWN_MAX
        shown = ", ".join(failed[:ERRORS_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
        return Status(problem.code, f"{problem.text}; Creation failed: {shown}.")
