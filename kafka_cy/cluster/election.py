"""The election of the controller: /controller is created together with the next epoch in one change, so exactly one broker wins.

The loser looks at the nodes again, and so does a broker whose reply was lost: a /controller of its own session with the epoch
that it wrote is its own victory. All brokers watch /controller.
"""

from __future__ import annotations

from collections.abc import Callable

from kafka_cy.cluster import znodes
from kafka_cy.cluster.line_log import LineLog
from kafka_cy.cluster.store import (
    AsyncStore,
    BadVersionError,
    Create,
    Delete,
    Exists,
    Get,
    Node,
    NodeExistsError,
    NoNodeError,
    OutcomeUnknown,
    SessionEvent,
    SessionExpired,
    Set,
)
from kafka_cy.cluster.store_calls import CallLater, StoreCalls, run
from kafka_cy.cluster.znode_formats import MALFORMED, decode_controller_id

NO_CONTROLLER = -1
AFTER_RELEASE_MS = 100.0  # another broker is to win, if there is one
AFTER_FAULT_MS = 1000.0


class Election:
    """Owner: the store's. Lifetime: the broker's.

    `elected(epoch, epoch_version)`: this broker is the controller; `resigned()`: it is not any more;
    `controller_changed(id)`: who is, as the node says (NO_CONTROLLER: nobody).
    """

    def __init__(
        self,
        store: AsyncStore,
        broker_id: int,
        *,
        wall_clock_ms: Callable[[], int],
        call_later: CallLater,
        log: LineLog,
        elected: Callable[[int, int], object],
        resigned: Callable[[], object],
        controller_changed: Callable[[int], object] = lambda controller_id: None,
    ) -> None:
        self.active = False
        self.controller_id = NO_CONTROLLER
        self._store, self._broker_id = store, broker_id
        self._wall_clock_ms, self._call_later, self._log = wall_clock_ms, call_later, log
        self._elected, self._resigned, self._controller_changed = elected, resigned, controller_changed
        self._tried = 0  # the epoch of our latest attempt that may have been applied
        self._looking = False
        self._again = False
        self._sessions = 0  # that have ended
        store.listen(self._session_event)

    def contend(self) -> None:
        """Look who is the controller, and become it if nobody is. To be called once the broker is registered in this session."""
        if self._looking:
            self._again = True
            return
        self._looking, self._again = True, False
        run(self._contend(self._sessions), self._ended)

    def lost(self, release: bool) -> None:
        """The controller has resigned: a write was fenced, or it could not start (`release`: then /controller is still ours)."""
        self.active = False
        self._tried = 0  # /controller is deleted if it is ours, so that the next term has a new epoch
        if release:
            self._log.warning(f"broker {self._broker_id} gives the office of the controller away")
        self.contend()

    def _session_event(self, event: SessionEvent) -> None:
        if event is SessionEvent.EXPIRED:
            self._sessions += 1
            self._tried, self._again = 0, False
            self._resign()
            self._tell(NO_CONTROLLER)

    def _resign(self) -> None:
        if self.active:
            self.active = False
            self._resigned()

    def _tell(self, controller_id: int) -> None:
        if controller_id != self.controller_id:
            self.controller_id = controller_id
            self._controller_changed(controller_id)

    def _on_change(self, path: str) -> None:
        """Watch of /controller."""
        self.contend()

    def _ended(self, result: None, fault: Exception | None) -> None:
        self._looking = False
        if fault is not None and not isinstance(fault, SessionExpired):
            self._log.error(f"the election of the controller failed: {fault!r}")
            self._call_later(AFTER_FAULT_MS, self.contend)
        elif self._again:
            self.contend()

    async def _contend(self, sessions: int) -> None:
        """Until there is a controller, or a session has ended."""
        calls = StoreCalls(self._store, self._call_later)
        while True:
            _, node, epoch_node = await calls.read(
                Exists(znodes.CONTROLLER, self._on_change), Get(znodes.CONTROLLER), Get(znodes.CONTROLLER_EPOCH)
            )
            if sessions != self._sessions:
                raise SessionExpired("the session has ended")
            if node is None:
                self._resign()  # somebody has deleted it
                self._tell(NO_CONTROLLER)
                await self._try(calls, epoch_node)
            elif node.owner != self._store.session_id:
                self._resign()
                self._tell(_controller_in(node))
                return
            elif self.active:
                return
            elif epoch_node is not None and self._tried and epoch_node.data == str(self._tried).encode():
                self._win(self._tried, epoch_node.version)  # the reply was lost
                return
            else:
                await self._release(calls, node)

    async def _try(self, calls: StoreCalls, epoch_node: Node | None) -> None:
        if epoch_node is None:
            await _unless(calls, NodeExistsError, Create(znodes.CONTROLLER_EPOCH, b"0"))
            return
        self._tried = epoch = int(epoch_node.data or b"0") + 1
        data = znodes.controller_data(self._broker_id, self._wall_clock_ms())
        try:
            _, version = await calls.change(
                Create(znodes.CONTROLLER, data, ephemeral=True),
                Set(znodes.CONTROLLER_EPOCH, str(epoch).encode(), epoch_node.version),
            )
        except (NodeExistsError, BadVersionError, NoNodeError):
            self._tried = 0
        except OutcomeUnknown:
            pass  # the nodes tell
        else:
            assert isinstance(version, int)
            self._win(epoch, version)

    def _win(self, epoch: int, epoch_version: int) -> None:
        self.active = True
        self._log.info(f"broker {self._broker_id} is the controller", epoch=epoch)
        self._tell(self._broker_id)
        self._elected(epoch, epoch_version)

    async def _release(self, calls: StoreCalls, node: Node) -> None:
        """/controller is of our session, and we are not the controller: another round of the election."""
        self._tried = 0
        await _unless(calls, (NoNodeError, BadVersionError), Delete(znodes.CONTROLLER, node.version))
        await calls.sleep(AFTER_RELEASE_MS)


def _controller_in(node: Node) -> int:
    try:
        return decode_controller_id(node.data)
    except MALFORMED:
        return NO_CONTROLLER


async def _unless(
    calls: StoreCalls,
    expected: type[Exception] | tuple[type[Exception], ...],
    operation: Create | Delete,
) -> None:
    """Make a change which another broker may have made; a lost reply is as good: the nodes are read again."""
    try:
        await calls.change(operation)
    except expected:
        pass
    except OutcomeUnknown:
        pass
