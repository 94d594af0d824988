"""The registration of this broker: /brokers/ids/<id>, an ephemeral node whose creation id is the broker epoch.

A registration that Kafka's controller cannot use stops a whole cluster, so it is checked before it is written. A node that an
earlier process left is waited for: it goes when that process' session ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kafka_cy.cluster import znodes
from kafka_cy.cluster.line_log import LineLog
from kafka_cy.cluster.store import (
    AsyncStore,
    BadVersionError,
    Children,
    Create,
    Delete,
    Get,
    Node,
    NodeExistsError,
    NoNodeError,
    Operation,
    OutcomeUnknown,
    SessionEvent,
    SessionExpired,
    Set,
)
from kafka_cy.cluster.store_calls import Answer, CallLater, StoreCalls, run
from kafka_cy.cluster.znode_formats import MALFORMED, BrokerInfo

NO_EPOCH = -1
SESSIONS_KEPT = 10  # earlier sessions of this process whose node may still be there


class RegistrationRefused(Exception):
    """The registration would harm the cluster; the text says why."""


def check_own(info: BrokerInfo, needed: Mapping[str, str | None]) -> None:
    """`needed`: configuration key -> the listener that it names. Raises RegistrationRefused."""
    names = [endpoint.listener for endpoint in info.endpoints]
    for key, listener in needed.items():
        if listener is not None and listener not in names:
            raise RegistrationRefused(f"{key} is {listener}, but only {', '.join(names) or 'nothing'} is advertised")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RegistrationRefused(f"listener {twice[0]} is advertised twice")


def check_with_others(info: BrokerInfo, others: Mapping[int, BrokerInfo], inter_broker_listener: str) -> None:
    """No other broker has one of our addresses, and all have our inter-broker listener. Raises RegistrationRefused."""
    ours = {(endpoint.host, endpoint.port) for endpoint in info.endpoints}
    for broker_id, other in sorted(others.items()):
        common = sorted(ours & {(endpoint.host, endpoint.port) for endpoint in other.endpoints})
        if common:
            host, port = common[0]
            raise RegistrationRefused(f"broker {broker_id} has registered the advertised address {host}:{port} already")
        names = [endpoint.listener for endpoint in other.endpoints]
        if inter_broker_listener not in names:
            raise RegistrationRefused(
                f"inter.broker.listener.name is {inter_broker_listener}, but broker {broker_id} has only {', '.join(names)}"
            )


class Registration:
    """Owner: the store's. Registers once there is a session, and again in each new one. Lifetime: the broker's.

    `registered(epoch)`: also when the epoch has changed; `lost()`: the session has ended, the broker is none for the others;
    `refused(why)`: nothing was written, and nothing will be.
    """

    def __init__(
        self,
        store: AsyncStore,
        broker_id: int,
        info: BrokerInfo,
        inter_broker_listener: str,
        *,
        control_plane_listener: str | None = None,
        version: int = 5,
        call_later: CallLater,
        log: LineLog,
        registered: Callable[[int], object],
        lost: Callable[[], object],
        refused: Callable[[str], object],
    ) -> None:
        self.epoch = NO_EPOCH
        self._info = info
        self._store, self._broker_id, self._version = store, broker_id, version
        self._needed = {
            "inter.broker.listener.name": inter_broker_listener,
            "control.plane.listener.name": control_plane_listener,
        }
        self._inter_broker_listener = inter_broker_listener
        self._call_later, self._log = call_later, log
        self._registered, self._lost, self._refused = registered, lost, refused
        self._path = f"{znodes.BROKER_IDS}/{broker_id}"
        self._sessions: list[int] = []  # of this process, the latest last
        self._checked = False
        self._running = False
        self._again = False
        self._changed: Answer[bool] | None = None  # the node that we wait for has changed; False: the session has ended
        self._told_to_wait = False
        self._was_refused = False

    def start(self) -> None:
        """Register as soon as there is a session."""
        self._store.listen(self._session_event)
        if self._store.session_id:
            self._begin()

    def _session_event(self, event: SessionEvent) -> None:
        if event is SessionEvent.EXPIRED:
            was_registered, self.epoch = self.epoch != NO_EPOCH, NO_EPOCH
            if self._changed is not None:
                self._changed.set(False)
            if was_registered:
                self._lost()
        elif event is SessionEvent.CONNECTED and self.epoch == NO_EPOCH:
            self._begin()

    def _begin(self) -> None:
        """Look at the node and write it if necessary."""
        self._again = True
        if self._running or self._was_refused:
            return
        self._running, self._again = True, False
        run(self._register(), self._ended)

    def _ended(self, epoch: int | None, fault: Exception | None) -> None:
        self._running = False
        if epoch is not None and epoch != self.epoch:
            self.epoch = epoch
            self._log.info(f"registered as broker {self._broker_id}", epoch=epoch)
            self._registered(epoch)
        if isinstance(fault, RegistrationRefused):
            self._was_refused = True
            self._log.error(f"broker {self._broker_id} is not registered: {fault}")
            self._refused(str(fault))
        elif fault is not None and not isinstance(fault, SessionExpired):
            self._log.error(f"broker {self._broker_id} cannot register: {fault!r}")
            self._call_later(1000.0, self._begin)
        elif self._again or (fault is not None and self._store.session_id):
            self._begin()

    async def _register(self) -> int:
        """Write the node unless it is there; its epoch. Raises RegistrationRefused, StoreError."""
        calls = StoreCalls(self._store, self._call_later)
        if not self._checked:
            check_own(self._info, self._needed)
            check_with_others(self._info, await self._others(calls), self._inter_broker_listener)
            self._checked = True
        while True:
            node: Node | None = (await calls.read(Get(self._path, self._on_change)))[0]
            session_id = self._store.session_id
            if node is not None and node.owner == session_id:
                if node.data == self._data():
                    self._told_to_wait = False
                    return node.created_id
                await self._write(calls, [Set(self._path, self._data())])
            elif node is None:
                await self._write(calls, self._creation(session_id))
            elif node.owner in self._sessions:  # ours, of a session that has ended
                await self._write(calls, [Delete(self._path, node.version), *self._creation(session_id)])
            else:
                await self._wait_for_end(calls, node)

    def _creation(self, session_id: int) -> list[Operation]:
        if session_id not in self._sessions:
            self._sessions = [*self._sessions[-SESSIONS_KEPT:], session_id]
        if self.epoch != NO_EPOCH:
            self._log.warning(f"the registration of broker {self._broker_id} was deleted: it registers again")
        return [Create(self._path, None, ephemeral=True), Set(self._path, self._data(), 0)]

    async def _write(self, calls: StoreCalls, operations: list[Operation]) -> None:
        """Submit a change. If it is refused or its reply is lost, the node says what is to be done."""
        try:
            await calls.change(*operations)
        except NoNodeError:
            await calls.create_missing([znodes.BROKER_IDS])
        except (NodeExistsError, BadVersionError, OutcomeUnknown):
            pass

    async def _wait_for_end(self, calls: StoreCalls, node: Node) -> None:
        if not self._told_to_wait:
            self._told_to_wait = True
            self._log.warning(
                f"broker {self._broker_id} is registered by another session: waiting until it ends",
                session=f"0x{node.owner & (1 << 64) - 1:x}",
                registered=_addresses(node),
            )
        self._changed = Answer()
        goes_on = await self._changed
        self._changed = None
        if not goes_on:
            raise SessionExpired("the session has ended")
        calls.check_session()

    def _on_change(self, path: str) -> None:
        """Watch of the node."""
        if self._changed is not None:
            self._changed.set(True)
        else:
            self._begin()

    async def _others(self, calls: StoreCalls) -> dict[int, BrokerInfo]:
        names = (await calls.read(Children(znodes.BROKER_IDS)))[0] or []
        nodes = await calls.read(*[Get(f"{znodes.BROKER_IDS}/{name}") for name in names])
        found = {}
        for name, node in zip(names, nodes, strict=True):
            if node is not None and name != str(self._broker_id):
                try:
                    found[int(name)] = BrokerInfo.decode(node.data)
                except MALFORMED:
                    self._log.warning(f"the registration of broker {name} is malformed")
        return found

    def _data(self) -> bytes:
        return self._info.encode(self._version)


def _addresses(node: Node) -> str:
    try:
        return ", ".join(f"{each.host}:{each.port}" for each in BrokerInfo.decode(node.data).endpoints)
    except MALFORMED:
        return "malformed"
