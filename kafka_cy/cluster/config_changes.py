"""Replaces the configuration of an entity: a conditional write, then the cache, then the cache's listeners."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from kafka_cy.cluster import znodes
from kafka_cy.cluster.controller import Controller
from kafka_cy.cluster.metadata_cache import ConfigChanged, MetadataCache
from kafka_cy.cluster.store import Create, Delete, MetadataStore, Operation, Set, StoreBroken

CONFIG_CHANGES_KEPT = 100


class ConfigChanges:
    """Owner: the controller's thread."""

    def __init__(self, store: MetadataStore, cache: MetadataCache, controller: Controller) -> None:
        self._store = store
        self._cache = cache
        self._controller = controller
        self._batch: list[ConfigChanged] | None = None  # changes of a batch that are not durable yet

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Store all changes of the context in one transaction at its end, then announce them.

        Until then readers see none of them. StoreBroken at the end: none of them was made.
        """
        batch: list[ConfigChanged] = []
        self._batch = batch
        try:
            with self._store.together():
                yield
        except StoreBroken:
            batch.clear()
            raise
        finally:
            self._batch = None
            self._announce(batch)  # after any other exception, too: the changes before it were stored

    def set_config(self, entity_type: str, entity_name: str, values: Mapping[str, str]) -> None:
        """Replace an entity's configuration (already validated) and announce it. StoreError: nothing was changed."""
        entity = znodes.config_entity(entity_type, entity_name)
        path, data = f"/config/{entity}", znodes.config_data(values)
        operations: list[Operation] = [self._controller.fence()]
        operations.append(Create(path, data) if self._store.find(path) is None else Set(path, data))
        change = znodes.to_json({"version": 2, "entity_path": entity})
        operations.append(Create(f"{znodes.CONFIG_CHANGES}/config_change_", change, sequential=True))
        old_changes = self._store.children(znodes.CONFIG_CHANGES)[:-CONFIG_CHANGES_KEPT]
        operations += [Delete(f"{znodes.CONFIG_CHANGES}/{name}") for name in old_changes]
        self._store.multi(operations)
        changed = ConfigChanged(entity_type, entity_name, dict(values))
        if self._batch is not None:
            self._batch.append(changed)
        else:
            self._announce([changed])

    def _announce(self, changes: Sequence[ConfigChanged]) -> None:
        for change in changes:
            self._cache.put_config(*change)
        with ExitStack() as calls:  # all of them, even if a listener fails
            for change in reversed(changes):
                calls.callback(self._cache.announce, change)
