"""The settings that one request changes in a cluster with ZooKeeper: what its handler uses as ConfigChanges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.cluster import config_changes
from kafka_cy.cluster.config_changes import LASTING, ChangeRefused, Edit, Outcome, TooManyEntities
from kafka_cy.cluster.config_writer import WaitingChanges
from kafka_cy.cluster.store import StoreError

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesConfigsOfCluster


class RequestWrites:
    """See ConfigChanges. Each change is stored by itself, and told to all brokers even if nothing differs, as Kafka's.

    If a change cannot be stored, the connection is closed: the client looks what became of it. Owner: the controller's thread.
    """

    def __init__(self, request: Request[Any], context: ChangesConfigsOfCluster) -> None:
        self._request, self._cache = request, context.config_changes.cache
        self._changes = WaitingChanges(context.config_changes)
        self._left = 0  # changes that have not ended
        self._fault: Exception | None = None  # of one that could not be stored
        self._answered: Callable[[], object] | None = None
        self._ended: Callable[[], object] | None = None

    @contextmanager
    def batch(self) -> Iterator[None]:
        """See ConfigChanges."""
        yield

    def change(self, entity_type: str, entity_name: str, edit: Edit, outcome: Outcome) -> None:
        """Have the settings of an entity changed; `edit` gets those that ZooKeeper holds."""
        self._left += 1
        self._changes.add(
            entity_type, entity_name, partial(self._edited, entity_type, edit), partial(self._change_ended, outcome)
        )

    def when_answered(self, then: Callable[[], object]) -> None:
        """Call `then` when each change has its outcome. Without it, the connection is closed."""
        self._answered = self._request.guarded(then)
        self._look()

    def when_ended(self, then: Callable[[], object]) -> None:
        """Call `then` when no change is in work any more; no further one follows."""
        self._ended = self._request.guarded(then)
        self._look()

    def _edited(self, entity_type: str, edit: Edit, before: dict[str, str]) -> dict[str, str] | None:
        is_new = not before and entity_type not in LASTING
        values = edit(before)
        if values and is_new and self._cache.config_count(entity_type) >= config_changes.ENTITIES_MAX:
            raise TooManyEntities(entity_type)
        return values

    def _change_ended(self, outcome: Outcome, fault: Exception | None) -> None:
        self._left -= 1
        if fault is None or isinstance(fault, ChangeRefused):
            outcome(fault)
        else:
            self._fault = self._fault or fault
        self._look()

    def _look(self) -> None:
        if self._left:
            return
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended()
        if self._answered is not None:
            answered, self._answered = self._answered, None
            if self._fault is None:
                answered()
            else:
                self._request.guarded(self._fail)(self._fault)

    def _fail(self, fault: Exception) -> None:
        if not isinstance(fault, StoreError):
            raise fault
        self._request.close(f"what the request changes could not be stored: {fault!r}")
