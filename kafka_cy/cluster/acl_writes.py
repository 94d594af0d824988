"""The changes of ACLs that one request makes: conditional writes, a few resources in each transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from kafka_cy.authorizer.acls import AclEntry, Resource
from kafka_cy.cluster.acl_formats import CHANGES, NODE_BYTES_MAX, acl_data, acl_path, change_of, decode_acls
from kafka_cy.cluster.change_notifications import superfluous
from kafka_cy.cluster.change_size import change_bytes
from kafka_cy.cluster.store import (
    BadVersionError,
    Create,
    Delete,
    Get,
    Node,
    NodeExistsError,
    NoNodeError,
    Operation,
    OutcomeUnknown,
    Set,
)
from kafka_cy.cluster.store_calls import StoreCalls
from kafka_cy.cluster.znode_formats import MALFORMED

PIECE_RESOURCES: Final = 16  # changed in one transaction
PIECE_BYTES_MAX: Final = NODE_BYTES_MAX  # of all operations together, unless it is one resource

Edit = Callable[[Resource, frozenset[AclEntry]], Collection[AclEntry]]
Stored = Callable[[Mapping[Resource, Collection[AclEntry]]], object]


class MalformedAcls(Exception):
    """The node of a resource cannot be understood, so it is not overwritten."""


class TooLarge(Exception):
    """The ACLs of one resource would not fit into a node."""


class AclWrites:
    """Owner: the store's. `outcomes` has what became of each resource: None, or why it was not changed."""

    def __init__(self, resources: Iterable[Resource], edit: Edit, stored: Stored, *, is_alone: bool) -> None:
        """`stored(entries by resource)` is called after each transaction. `is_alone`: no other broker uses the store."""
        self.outcomes: dict[Resource, Exception | None] = {}
        self._resources, self._edit, self._stored = list(dict.fromkeys(resources)), edit, stored
        self._is_alone = is_alone

    async def make(self, calls: StoreCalls) -> None:
        """Make the changes. Raises StoreError; resources without an outcome were not changed, or it is not known."""
        for start in range(0, len(self._resources), PIECE_RESOURCES):
            left: Sequence[Resource] = self._resources[start : start + PIECE_RESOURCES]
            while left:
                left = await self._make_some(calls, left)

    async def _make_some(self, calls: StoreCalls, resources: Sequence[Resource]) -> Sequence[Resource]:
        """Change as many as fit into one transaction; those that are left, because of their size or of another writer."""
        nodes: list[Node | None] = await calls.read(*[Get(acl_path(resource)) for resource in resources])
        operations: list[Operation] = []
        changed: dict[Resource, Collection[AclEntry]] = {}
        size = 0
        for place, (resource, node) in enumerate(zip(resources, nodes, strict=True)):
            try:
                entries, data = self._edited(resource, node)
            except Exception as error:  # noqa: BLE001 it concerns this resource only
                self.outcomes[resource] = error
                continue
            change = _operations(resource, node, entries, data)
            size += change_bytes(change)
            if changed and size > PIECE_BYTES_MAX:
                left = resources[place:]
                break
            changed[resource] = entries
            operations += change
        else:
            left = ()
        if operations and self._is_alone:
            operations += await self._superfluous(calls, operations)
        if operations and not await self._submit(calls, operations):
            return [*changed, *left]
        self._stored(changed)
        self.outcomes.update(dict.fromkeys(changed))
        return left

    async def _superfluous(self, calls: StoreCalls, operations: Sequence[Operation]) -> list[Operation]:
        """Deletions of notifications that nobody has to read."""
        parents = Counter(each.path.rpartition("/")[0] for each in operations)
        kinds = [kind for kind in CHANGES.values() if kind.parent in parents]
        return [each for kind in kinds for each in await superfluous(calls, kind, parents[kind.parent])]

    def _edited(self, resource: Resource, node: Node | None) -> tuple[Collection[AclEntry], bytes]:
        """The new entries; their encoded form, empty if there is nothing to write."""
        try:
            before = decode_acls(node.data) if node is not None else frozenset()
        except MALFORMED as error:
            raise MalformedAcls(f"the ACLs in {acl_path(resource)} are malformed: {error!r}") from None
        entries = self._edit(resource, before)
        if not entries or frozenset(entries) == before:
            return entries, b""
        data = acl_data(entries)
        if len(data) > NODE_BYTES_MAX:
            raise TooLarge(f"the ACLs of one resource have at most {NODE_BYTES_MAX} bytes")
        return entries, data

    async def _submit(self, calls: StoreCalls, operations: Sequence[Operation]) -> bool:
        """False: look again, somebody else has changed a node, or the answer was lost."""
        try:
            await calls.change(*operations)
        except NoNodeError:
            await calls.create_missing([each.path.rpartition("/")[0] for each in operations])
            return False
        except (NodeExistsError, BadVersionError, OutcomeUnknown):
            return False
        return True


def _operations(resource: Resource, node: Node | None, entries: Collection[AclEntry], data: bytes) -> list[Operation]:
    """What changes the node, and the notification; nothing if the entries are those of the node."""
    path = acl_path(resource)
    change: Operation
    if data:
        change = Set(path, data, node.version) if node is not None else Create(path, data)
    elif node is not None and not entries:
        change = Delete(path, node.version)
    else:
        return []
    kind, told = change_of(resource)
    return [change, Create(f"{kind.parent}/{kind.prefix}", told, sequential=True)]


