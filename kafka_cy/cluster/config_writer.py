"""Settings that any broker of a cluster writes: the node of the entity, then a notification that all brokers read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from kafka_cy.cluster import znodes
from kafka_cy.cluster.change_formats import ConfigChange
from kafka_cy.cluster.change_notifications import CONFIGS, notify
from kafka_cy.cluster.config_changes import ENTITIES_MAX, LASTING, TooManyEntities
from kafka_cy.cluster.metadata_cache import MetadataCache
from kafka_cy.cluster.store import (
    AsyncStore,
    BadVersionError,
    Check,
    Create,
    Exists,
    NodeExistsError,
    NoNodeError,
    Operation,
    OutcomeUnknown,
    Set,
)
from kafka_cy.cluster.store_calls import CallLater, StoreCalls, run


async def write_settings(calls: StoreCalls, entity: str, values: Mapping[str, str]) -> None:
    """Replace the settings of an entity (its path below /config) and tell all brokers. Raises StoreError.

    The change checks that the controller has not changed meanwhile, as Kafka's.
    """
    path, data = f"/config/{entity}", znodes.config_data(values)
    while True:
        controller, node = await calls.read(Exists(znodes.CONTROLLER), Exists(path))
        fence: list[Operation] = [Check(znodes.CONTROLLER, controller.version)] if controller is not None else []
        try:
            if node is None:
                await calls.create_missing([path.rpartition("/")[0]])
            await calls.change(*fence, Set(path, data) if node is not None else Create(path, data))
            break
        except (NodeExistsError, NoNodeError, BadVersionError, OutcomeUnknown):
            continue
    await notify(calls, CONFIGS, ConfigChange(entity).encode())


class ConfigWriter:
    """Stores settings, one entity after the other. Owner: the controller's thread.

    Limit: what the requests change that are in work.
    """

    def __init__(
        self,
        store: AsyncStore,
        cache: MetadataCache,
        call_later: CallLater,
        stored: Callable[[str, str, dict[str, str]], object],
    ) -> None:
        """`stored(entity type, entity name, values)`: a change is stored, and the other brokers are told."""
        self.cache = cache
        self._store, self._call_later, self._stored = store, call_later, stored
        self._queue: deque[_Write] = deque()
        self._writing = False

    def of_request(self) -> RequestWrites:
        """What the handler of one request uses as ConfigChanges."""
        return RequestWrites(self)

    def write(
        self, entity_type: str, entity_name: str, values: dict[str, str], done: Callable[[Exception | None], object]
    ) -> None:
        """Replace the settings of an entity, after those that wait."""
        self._queue.append(_Write(entity_type, entity_name, values, done))
        self._next()

    def _next(self) -> None:
        if self._writing or not self._queue:
            return
        self._writing = True
        first = self._queue.popleft()
        calls = StoreCalls(self._store, self._call_later)
        steps = write_settings(calls, znodes.config_entity(first.entity_type, first.entity_name), first.values)
        run(steps, lambda _, fault: self._written(first, fault))

    def _written(self, write: _Write, fault: Exception | None) -> None:
        self._writing = False
        try:
            if fault is None:
                self._stored(write.entity_type, write.entity_name, write.values)
            write.done(fault)
        finally:
            self._next()


class _Write(NamedTuple):
    entity_type: str
    entity_name: str
    values: dict[str, str]
    done: Callable[[Exception | None], object]


class RequestWrites:
    """What one request changes: see ConfigChanges, whose checks it makes. Each change is stored by itself."""

    def __init__(self, writer: ConfigWriter) -> None:
        self._writer = writer
        self._left = 0  # changes that are not stored yet
        self._fault: Exception | None = None  # of one that could not be stored
        self._done: Callable[[Exception | None], object] | None = None

    @contextmanager
    def batch(self) -> Iterator[None]:
        """See ConfigChanges."""
        yield

    def set_config(self, entity_type: str, entity_name: str, values: Mapping[str, str]) -> None:
        """Have the settings of an entity replaced. Raises TooManyEntities."""
        cache = self._writer.cache
        is_new = cache.find_config(entity_type, entity_name) is None
        if is_new and entity_type not in LASTING and cache.config_count(entity_type) >= ENTITIES_MAX:
            raise TooManyEntities(entity_type)
        self._left += 1
        self._writer.write(entity_type, entity_name, dict(values), self._written)

    def when_stored(self, done: Callable[[Exception | None], object]) -> None:
        """Call `done` when everything is stored; with a fault if one of the changes was not."""
        self._done = done
        self._look()

    def _written(self, fault: Exception | None) -> None:
        self._left -= 1
        self._fault = self._fault or fault
        self._look()

    def _look(self) -> None:
        if self._left == 0 and self._done is not None:
            done, self._done = self._done, None
            done(self._fault)
