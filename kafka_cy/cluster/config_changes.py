"""Changes the configuration of an entity: a conditional write, then the cache, then the cache's listeners.

Handlers of requests know this class only. In a cluster they get RequestWrites (api/request_writes.py), which has the same methods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from kafka_cy.cluster import znodes
from kafka_cy.cluster.controller import Controller
from kafka_cy.cluster.metadata_cache import ConfigChanged, MetadataCache
from kafka_cy.cluster.store import Create, Delete, MetadataStore, Node, Operation, Set, StoreBroken
from kafka_cy.protocol.errors import ErrorCode

CONFIG_CHANGES_KEPT = 100
LASTING = ("topics", "brokers")  # entity types whose node stays without settings
ENTITIES_MAX = 100_000  # of each other type (users, groups, ...): clients choose their names


class ChangeRefused(Exception):
    """The settings of an entity are not changed: the error code and the sentence that the client gets."""

    def __init__(self, code: ErrorCode, message: str | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class TooManyEntities(ChangeRefused):
    """There are ENTITIES_MAX entities of the type already."""

    def __init__(self, entity_type: str) -> None:
        super().__init__(ErrorCode.POLICY_VIOLATION, f"there are {ENTITIES_MAX} {entity_type} with settings already")


#: Makes the new settings of an entity from a copy of the stored ones; None: they stay. Raises ChangeRefused. In a cluster it is
#: asked again if another broker has changed them meanwhile.
Edit = Callable[[dict[str, str]], dict[str, str] | None]
Outcome = Callable[[ChangeRefused | None], object]  # hears that a change is made, or why it is refused


class ConfigChanges:
    """Owner: the controller's thread."""

    def __init__(self, store: MetadataStore, cache: MetadataCache, controller: Controller) -> None:
        self._store = store
        self._cache = cache
        self._controller = controller
        self._batch: list[ConfigChanged] | None = None  # changes of a batch that are not durable yet
        self._created: Counter[str] = Counter()  # entities that the batch creates, by type

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
            self._created.clear()
            self._announce(batch)  # after any other exception, too: the changes before it were stored

    def change(self, entity_type: str, entity_name: str, edit: Edit, outcome: Outcome) -> None:
        """Change an entity's configuration, and announce it unless nothing differs. Raises StoreError; then nothing was changed.

        Settings of a broker are announced even so: a file of the same name, such as a key store, is read again (KIP-226).
        """
        before = self._cache.config(entity_type, entity_name)
        try:
            values = edit(dict(before))
            if values is not None and (values != before or entity_type == "brokers"):
                self.set_config(entity_type, entity_name, values)
        except ChangeRefused as refused:
            outcome(refused)
        else:
            outcome(None)

    def when_answered(self, then: Callable[[], object]) -> None:
        """Call `then` when each change has its outcome: they have it already."""
        then()

    def when_ended(self, then: Callable[[], object]) -> None:
        """Call `then` when no change is in work any more; no further one follows."""
        then()

    def set_config(self, entity_type: str, entity_name: str, values: Mapping[str, str]) -> None:
        """Replace an entity's configuration (already validated) and announce it. StoreError, TooManyEntities: nothing was changed.

        An entity that exists by its settings only, such as a user, leaves no node when the last setting goes.
        """
        entity = znodes.config_entity(entity_type, entity_name)
        operations: list[Operation] = [self._controller.fence()]
        operations += self._replacement(entity_type, f"/config/{entity}", values)
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

    def _replacement(self, entity_type: str, path: str, values: Mapping[str, str]) -> list[Operation]:
        data = znodes.config_data(values)
        node = self._store.find(path)
        lasting = entity_type in LASTING
        if not lasting and values and not _has_settings(node):
            self._count_new(entity_type)
        if node is None:
            return [*self._parents_of(path, entity_type), Create(path, data)] if lasting or values else []
        if values or lasting or self._store.children_count(path):
            return [Set(path, data)]
        return self._removal(path)

    def _parents_of(self, path: str, entity_type: str) -> list[Operation]:
        """What is missing above a client of a user."""
        operations: list[Operation] = []
        path = path.rpartition("/")[0]
        while entity_type == "users" and self._store.find(path) is None:
            operations.insert(0, Create(path))
            path = path.rpartition("/")[0]
        return operations

    def _removal(self, path: str) -> list[Operation]:
        """Remove a node, and nodes above it that were created for its sake only."""
        operations: list[Operation] = []
        while path.count("/") > 2:  # below /config/users
            operations.append(Delete(path))
            path = path.rpartition("/")[0]
            if self._store.children_count(path) > 1 or _has_settings(self._store.find(path)):
                break
        return operations

    def _count_new(self, entity_type: str) -> None:
        if self._cache.config_count(entity_type) + self._created[entity_type] >= ENTITIES_MAX:
            raise TooManyEntities(entity_type)
        if self._batch is not None:
            self._created[entity_type] += 1

    def _announce(self, changes: Sequence[ConfigChanged]) -> None:
        for change in changes:
            self._cache.put_config(*change)
        with ExitStack() as calls:  # all of them, even if a listener fails
            for change in reversed(changes):
                calls.callback(self._cache.announce, change)


def _has_settings(node: Node | None) -> bool:
    return node is not None and bool(znodes.from_json(node.data).get("config"))
