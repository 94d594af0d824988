"""Replaces the configuration of an entity: a conditional write, then the cache, then the cache's listeners."""

from __future__ import annotations

from collections.abc import Mapping

from kafka_cy.cluster import znodes
from kafka_cy.cluster.controller import Controller
from kafka_cy.cluster.metadata_cache import ConfigChanged, MetadataCache
from kafka_cy.cluster.store import Create, Delete, MetadataStore, Operation, Set

CONFIG_CHANGES_KEPT = 100


class ConfigChanges:
    """Owner: the control thread."""

    def __init__(self, store: MetadataStore, cache: MetadataCache, controller: Controller) -> None:
        self._store = store
        self._cache = cache
        self._controller = controller

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
        self._cache.put_config(entity_type, entity_name, values)
        self._cache.announce(ConfigChanged(entity_type, entity_name, dict(values)))
