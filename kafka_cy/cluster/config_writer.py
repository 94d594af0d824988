"""Settings that any broker of a cluster changes: the node of the entity, and a notification that all brokers read.

A change is made of what the node holds when it is written, under the version that was read: two brokers that change the same
entity keep what both have changed. Node and notification are one transaction, so whoever reads notifications misses no change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from kafka_cy.cluster import znodes
from kafka_cy.cluster.acl_formats import NODE_BYTES_MAX
from kafka_cy.cluster.change_formats import ConfigChange
from kafka_cy.cluster.change_notifications import CONFIGS
from kafka_cy.cluster.config_changes import ChangeRefused, Edit
from kafka_cy.cluster.metadata_cache import MetadataCache
from kafka_cy.cluster.store import (
    AsyncStore,
    BadVersionError,
    Check,
    Create,
    Exists,
    Get,
    Node,
    NodeExistsError,
    NoNodeError,
    Operation,
    OutcomeUnknown,
    Set,
    StoreError,
)
from kafka_cy.cluster.store_calls import CallLater, StoreCalls, run
from kafka_cy.cluster.znode_formats import MALFORMED, decode_config
from kafka_cy.protocol.errors import ErrorCode

AT_ONCE: Final = 16  # entities that are read and written at the same time
ATTEMPTS_MAX: Final = 100  # to write one: each of them fails because another writer was faster, or the connection was lost
Values = dict[str, str]
Done = Callable[[Exception | None], object]


async def write_settings(calls: StoreCalls, entity: str, edit: Edit, known: Callable[[], Values]) -> Values | None:
    """Change the settings of an entity (its path below /config) and tell all brokers; what is stored, None if they stay.

    The change checks that the controller has not changed meanwhile, as Kafka's, and what was read as well. `known`: the settings
    that count if the node is malformed. Raises StoreError, and what `edit` raises.
    """
    path = f"/config/{entity}"
    notification = Create(f"{CONFIGS.parent}/{CONFIGS.prefix}", ConfigChange(entity).encode(), sequential=True)
    sent: tuple[int, bytes | None] | None = None  # version and data of the node if a change was made whose answer was lost
    fault: StoreError = StoreError("not tried")
    for _ in range(ATTEMPTS_MAX):
        controller, node = await calls.read(Exists(znodes.CONTROLLER), Get(path))
        before = _settings_in(node, known)
        if sent is not None and node is not None and (node.version, node.data) == sent:
            return before
        try:
            values = edit(dict(before))
        except ChangeRefused:
            if sent is not None:  # the change may be why it is refused now, such as a deletion
                raise fault from None
            raise
        if values is None:
            return before if sent is not None else None
        data = znodes.config_data(values)
        if len(data) > NODE_BYTES_MAX:
            raise ChangeRefused(ErrorCode.POLICY_VIOLATION, f"The settings of a resource have at most {NODE_BYTES_MAX} bytes.")
        fence: list[Operation] = [Check(znodes.CONTROLLER, controller.version)] if controller is not None else []
        change = Set(path, data, node.version) if node is not None else Create(path, data)
        try:
            await calls.change(*fence, change, notification)
        except OutcomeUnknown as error:
            sent, fault = (node.version + 1 if node is not None else 0, data), error
        except NoNodeError as error:
            fault = error
            await calls.create_missing([path.rpartition("/")[0], CONFIGS.parent])
        except (NodeExistsError, BadVersionError) as error:
            fault = error
        else:
            return values
    raise fault


def _settings_in(node: Node | None, known: Callable[[], Values]) -> Values:
    if node is None:
        return {}
    try:
        return {str(key): str(value) for key, value in decode_config(node.data).items()}
    except MALFORMED:
        return known()


class _Change(NamedTuple):
    entity_type: str
    entity_name: str
    edit: Edit
    done: Done


class WaitingChanges:
    """The changes of one request that are not begun yet. Owner: the controller's thread. Limit: its owner's."""

    def __init__(self, writer: ConfigWriter) -> None:
        self.changes: deque[_Change] = deque()
        self._writer = writer

    def add(self, entity_type: str, entity_name: str, edit: Edit, done: Done) -> None:
        """Change an entity; `done` hears of a fault, ChangeRefused among them."""
        self.changes.append(_Change(entity_type, entity_name, edit, done))
        self._writer.begin(self)

    def drop(self) -> int:
        """Forget those that are not begun yet. Returns how many they are."""
        count = len(self.changes)
        self.changes.clear()
        self._writer.forget(self)
        return count


class ConfigWriter:
    """Makes the changes of requests, AT_ONCE at the same time, one of each request in turn. Owner: the controller's thread.

    Those of one entity follow each other: at the same time, all but one would be made in vain. Limit: what waits is that of the
    requests (RequestWrites).
    """

    def __init__(
        self,
        store: AsyncStore,
        cache: MetadataCache,
        call_later: CallLater,
        stored: Callable[[str, str, Values], object],
    ) -> None:
        """`stored(entity type, entity name, values)`: a change is stored, and the other brokers are told."""
        self.cache = cache
        self._store, self._call_later, self._stored = store, call_later, stored
        self._waiting: dict[WaitingChanges, None] = {}  # in the order of their turns
        # Entities that are changed now, by type and name: the changes that follow the one in work.
        self._in_work: dict[tuple[str, str], deque[_Change]] = {}

    def change(self, entity_type: str, entity_name: str, edit: Edit, done: Done) -> None:
        """Change the settings of one entity, for no request; `done` hears of a fault."""
        WaitingChanges(self).add(entity_type, entity_name, edit, done)

    def begin(self, changes: WaitingChanges) -> None:
        """These wait; see WaitingChanges."""
        self._waiting[changes] = None
        self._next()

    def forget(self, changes: WaitingChanges) -> None:
        """None of these waits any more."""
        self._waiting.pop(changes, None)

    def _next(self) -> None:
        while self._waiting and len(self._in_work) < AT_ONCE:
            waiting = next(iter(self._waiting))
            del self._waiting[waiting]
            change = waiting.changes.popleft()
            if waiting.changes:
                self._waiting[waiting] = None
            following = self._in_work.get((change.entity_type, change.entity_name))
            if following is not None:
                following.append(change)
            else:
                self._in_work[change.entity_type, change.entity_name] = deque()
                self._make(change)

    def _make(self, change: _Change) -> None:
        kind, name = change.entity_type, change.entity_name
        calls = StoreCalls(self._store, self._call_later)
        steps = write_settings(calls, znodes.config_entity(kind, name), change.edit, partial(self.cache.config, kind, name))
        run(steps, partial(self._ended, change))

    def _ended(self, change: _Change, stored: Values | None, fault: Exception | None) -> None:
        kind, name = change.entity_type, change.entity_name
        try:
            if stored is not None:
                self._stored(kind, name, stored)
        except Exception as error:  # noqa: BLE001 of whoever hears of changes; the one who waits hears of it
            fault = error
        try:
            change.done(fault)
        finally:
            following = self._in_work[kind, name]
            if following:
                self._make(following.popleft())
            else:
                del self._in_work[kind, name]
                self._next()
