"""The stored ACLs: read at the start and when a notification names them, and changed for requests.

The nodes are those of Kafka's AclAuthorizer (acl_formats.py), in ZooKeeper and in the embedded store. A resource's node and the
notification of its change are written in one transaction, under the version that was read, so a crash leaves the old ACLs or
the new ones, and whoever reads notifications misses no change. A broker by itself keeps the newest notifications only.

A node that cannot be understood closes its resource: nobody but super users may do anything with it, and no request overwrites it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from kafka_cy.authorizer.acl_image import TooManyAcls
from kafka_cy.authorizer.acls import DENY_ALL, AclEntry, PatternType, Resource
from kafka_cy.authorizer.authorizer import Authorizer
from kafka_cy.cluster.acl_formats import (
    ACL_ROOTS,
    CHANGES,
    TYPE_NAMES,
    acl_path,
    changed_resource,
    decode_acls,
    type_path,
)
from kafka_cy.cluster.acl_writes import AclWrites, Edit
from kafka_cy.cluster.change_notifications import ChangeNotifications
from kafka_cy.cluster.line_log import LineLog
from kafka_cy.cluster.session_reads import AFTER_FAULT_MS, SessionReads
from kafka_cy.cluster.store import AsyncStore, Children, Get, MetadataStore, Node
from kafka_cy.cluster.store_calls import CallLater, StoreCalls, run
from kafka_cy.cluster.store_now import StoreNow
from kafka_cy.cluster.znode_formats import MALFORMED

READ_AT_ONCE: Final = 100  # each takes some 7 us
AGAIN_MS_MAX: Final = 32_000.0  # between two reads of too many ACLs

Outcomes = Mapping[Resource, Exception | None]
Changed = Callable[[Outcomes, Exception | None], object]  # what became of each resource; the fault that ended the others


class StoredAcls:
    """Owner: the store's. Lifetime: the broker's. Limit: that of the authorizer, and the changes of requests that wait."""

    def __init__(
        self,
        store: AsyncStore,
        authorizer: Authorizer,
        *,
        is_alone: bool,
        wall_clock_ms: Callable[[], int],
        call_later: CallLater,
        log: LineLog,
    ) -> None:
        """`is_alone`: no other broker uses the store."""
        self._is_alone = is_alone
        self._store, self.authorizer, self._call_later, self._log = store, authorizer, call_later, log
        self._reads = SessionReads(store, self.read_all, call_later, self._log_fault)
        self._notifications = [
            ChangeNotifications(
                store, kind, self._notified, missed=self._reads.missed, wall_clock_ms=wall_clock_ms, call_later=call_later,
                log=log,
            )
            for kind in CHANGES.values()
        ]  # fmt: skip
        self._malformed: set[Resource] = set()
        self._told: dict[Resource, None] = {}  # that notifications have named, and that are not read yet
        self._following = False
        self._waiting: deque[tuple[AclWrites, Changed]] = deque()  # changes of requests, one after the other
        self._changing = False
        self._refusals = 0  # how often there were too many
        self._looks_later, self._again_ms = False, AFTER_FAULT_MS  # whether there are too many still

    # -- reading --

    def load(self, store: MetadataStore) -> None:
        """Read everything at the start of a broker by itself. Raises StoreError."""
        faults: list[Exception] = []
        calls = StoreCalls(StoreNow(store), self._call_later)
        run(self.read_all(calls), lambda _, fault: faults.append(fault) if fault is not None else None)
        for fault in faults:
            raise fault

    async def read_all(self, calls: StoreCalls) -> None:
        """Read everything; from then on the authorizer decides by it. Raises StoreError.

        If there are too many, only super users are allowed anything, until enough are gone; it is looked later whether they are.
        """
        refusals = self._refusals
        try:
            await self._read_everything(calls)
        except TooManyAcls:
            return  # `_take` has told it
        if self._refusals != refusals:
            return  # what was read is old already
        if self.authorizer.image.closed and refusals:
            self._log.warning("the stored ACLs can be used again")
        self.authorizer.open()
        self._again_ms = AFTER_FAULT_MS

    async def _read_everything(self, calls: StoreCalls) -> None:
        types = [(pattern, kind) for pattern in ACL_ROOTS for kind in TYPE_NAMES]
        containers = [type_path(pattern, kind) for pattern, kind in types]
        await calls.create_missing([*containers, *(kind.parent for kind in CHANGES.values())])
        await self._look_for_unknown(calls)
        children = await calls.read(*[Children(path) for path in containers])
        # Those that are known are read, too: they may have been removed, or added after the children were listed.
        resources = dict.fromkeys(self.authorizer.resources())
        for (pattern, kind), names in zip(types, children, strict=True):
            resources.update(dict.fromkeys(Resource(kind, pattern, name) for name in names or ()))
        await self._read(calls, list(resources))

    async def _look_for_unknown(self, calls: StoreCalls) -> None:
        """Tell the operator of ACLs that do not count here."""
        literal, extended = (await calls.read(Children(ACL_ROOTS[PatternType.LITERAL]), Children("/kafka-acl-extended")))[:2]
        unknown = [f"/kafka-acl/{name}" for name in set(literal or ()) - set(TYPE_NAMES.values())]
        unknown += [f"/kafka-acl-extended/{name}" for name in set(extended or ()) - {"prefixed"}]
        for path in sorted(unknown):
            self._log.warning(f"the ACLs in {path} have no effect: this version does not know this kind")

    async def _read(self, calls: StoreCalls, resources: Sequence[Resource]) -> None:
        for start in range(0, len(resources), READ_AT_ONCE):
            some = resources[start : start + READ_AT_ONCE]
            nodes: list[Node | None] = await calls.read(*[Get(acl_path(resource)) for resource in some])
            self._take({each: self._decoded(each, node) for each, node in zip(some, nodes, strict=True)})

    def _decoded(self, resource: Resource, node: Node | None) -> Collection[AclEntry]:
        try:
            entries = decode_acls(node.data) if node is not None else ()
        except MALFORMED as error:
            if resource not in self._malformed:
                self._malformed.add(resource)
                self._log.error(f"the ACLs in {acl_path(resource)} are malformed, so nobody is allowed anything: {error!r}")
            return (DENY_ALL,)
        self._malformed.discard(resource)
        return entries

    def _take(self, changes: Mapping[Resource, Collection[AclEntry]]) -> None:
        """These are the ACLs of the resources. Raises TooManyAcls; then nothing is allowed."""
        try:
            self.authorizer.update(changes)
        except TooManyAcls as error:
            self._shut(error)
            for resource, entries in changes.items():  # what fits, so that super users see it and can delete it
                with suppress(TooManyAcls):
                    self.authorizer.update({resource: entries})
            raise

    def _shut(self, error: TooManyAcls) -> None:
        """Allow nothing, and look later whether somebody has deleted enough."""
        if not self._refusals or not self.authorizer.image.closed:  # else it was told
            effect = "so only super users are allowed anything, until they have deleted some"
            self._log.error(f"the stored ACLs cannot be used, {effect}: {error}")
        self._refusals += 1
        self.authorizer.shut()
        if not self._looks_later:
            self._looks_later = True
            self._call_later(self._again_ms, self._look_again)
            self._again_ms = min(2 * self._again_ms, AGAIN_MS_MAX)

    def _look_again(self) -> None:
        self._looks_later = False
        self._reads.read_all()

    # -- running --

    def start(self) -> None:
        """Follow the notifications. What changed since everything was read may have none any more, so it is read again.

        A broker by itself knows all changes: they are its own.
        """
        if self._is_alone:
            return
        for notifications in self._notifications:
            notifications.start()
        self._reads.start()

    @property
    def is_current(self) -> bool:
        """Whether everything was read since `start`."""
        return self._reads.is_current

    @property
    def fault(self) -> Exception | None:
        """Why the last attempt to read everything has failed; the end of a session is none."""
        return self._reads.fault

    def _notified(self, data: bytes | None) -> None:
        try:
            resource = changed_resource(data)
        except MALFORMED as error:
            self._log.error(f"a notification of changed ACLs is malformed, so all are read: {error!r}")
            self._reads.read_all()
            return
        self._told[resource] = None
        self._follow()

    def _follow(self) -> None:
        """Read what notifications have named; those that come meanwhile are read together afterwards."""
        if not self._following:
            self._following = True
            run(self._read_told(StoreCalls(self._store, self._call_later)), self._followed)

    async def _read_told(self, calls: StoreCalls) -> None:
        while self._told:
            some = dict(self._told)
            self._told.clear()
            try:
                await self._read(calls, list(some))
            except Exception:
                self._told.update(some)
                raise

    def _followed(self, result: None, fault: Exception | None) -> None:
        self._following = False
        if fault is not None and not isinstance(fault, TooManyAcls):  # else everything is read later
            self._reads.failed(fault, self._follow)

    def _log_fault(self, fault: Exception) -> None:
        self._log.repeated("error", f"stored ACLs cannot be read: {fault!r}", {})

    # -- changing --

    def change(self, resources: Iterable[Resource], edit: Edit, done: Changed) -> None:
        """Change the ACLs of resources: `edit(resource, entries)` gives the new ones. They are in force before `done` is called.

        Each resource is changed as a whole or not at all. `edit` may be called again if another broker changes the same
        resource; if it raises, the resource is not changed, which is an outcome. The fault that `done` gets ended everything
        that has no outcome.
        """
        self._waiting.append((AclWrites(resources, edit, self._stored, is_alone=self._is_alone), done))
        self._next()

    def _next(self) -> None:
        if self._changing or not self._waiting:
            return
        self._changing = True
        writes, done = self._waiting.popleft()

        def ended(result: None, fault: Exception | None) -> None:
            self._changing = False
            try:
                done(writes.outcomes, fault)
            finally:
                self._next()

        run(writes.make(StoreCalls(self._store, self._call_later)), ended)

    def _stored(self, changes: Mapping[Resource, Collection[AclEntry]]) -> None:
        self._malformed.difference_update(changes)
        self._take(changes)


