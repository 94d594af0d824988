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
    ANY_VERSION,
    AsyncStore,
    BadVersionError,
    Check,
    Create,
    Exists,
    Get,
    NodeExistsError,
    NoNodeError,
    Operation,
    OutcomeUnknown,
    Set,
)
from kafka_cy.cluster.store_calls import CallLater, StoreCalls, run
from kafka_cy.cluster.znode_formats import decode_config

#: Makes the new settings of an entity from the stored ones; None: they stay. It may be asked again.
Change = Callable[[dict[str, str]], dict[str, str] | None]


async def write_settings(calls: StoreCalls, entity: str, wanted: dict[str, str] | Change) -> dict[str, str] | None:
    """Replace the settings of an entity (its path below /config) and tell all brokers; what is stored, None if they stay.

    The change checks that the controller has not changed meanwhile, as Kafka's, and what a Change has read as well.
    Raises StoreError, and for a Change of malformed settings one of MALFORMED.
    """
    path, is_unknown = f"/config/{entity}", False
    while True:
        controller, node = await calls.read(Exists(znodes.CONTROLLER), Get(path))
        fence: list[Operation] = [Check(znodes.CONTROLLER, controller.version)] if controller is not None else []
        if callable(wanted):
            before = decode_config(node.data) if node is not None else {}
            values, version = wanted(before), node.version if node is not None else ANY_VERSION
            if values is None and is_unknown:  # it is stored, and nobody was told
                values = before
                break
        else:
            values, version = wanted, ANY_VERSION
        if values is None:
            return None
        data = znodes.config_data(values)
        try:
            if node is None:
                await calls.create_missing([path.rpartition("/")[0]])
            await calls.change(*fence, Set(path, data, version) if node is not None else Create(path, data))
            break
        except OutcomeUnknown:
            is_unknown = True
        except (NodeExistsError, NoNodeError, BadVersionError):
            continue
    await notify(calls, CONFIGS, ConfigChange(entity).encode())
    return values


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

    def change(
        self, entity_type: str, entity_name: str, change: Change, done: Callable[[Exception | None], object]
    ) -> None:
        """Change the settings of an entity as they are stored when this is written, after those that wait."""
        self._queue.append(_Write(entity_type, entity_name, change, done))
        self._next()

    def _next(self) -> None:
        if self._writing or not self._queue:
            return
        self._writing = True
        first = self._queue.popleft()
        calls = StoreCalls(self._store, self._call_later)
        steps = write_settings(calls, znodes.config_entity(first.entity_type, first.entity_name), first.wanted)
        run(steps, lambda stored, fault: self._written(first, stored, fault))

    def _written(self, write: _Write, stored: dict[str, str] | None, fault: Exception | None) -> None:
        self._writing = False
        try:
            if stored is not None:
                self._stored(write.entity_type, write.entity_name, stored)
            write.done(fault)
        finally:
            self._next()


class _Write(NamedTuple):
    entity_type: str
    entity_name: str
    wanted: dict[str, str] | Change
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
