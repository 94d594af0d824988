"""A model of ZooKeeper: one tree, sessions with answers in order, watches, ephemeral nodes, lost connections and replies.

What a session hears (answers and watches) comes in the order in which it happened on the server, however late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

from kafka_cy.cluster.store import (
    ANY_VERSION,
    Answers,
    BadVersionError,
    ChangeTimes,
    Check,
    Children,
    ConnectionLost,
    Create,
    Delete,
    Done,
    Exists,
    Get,
    NoChildrenForEphemeralsError,
    Node,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    Operation,
    OutcomeUnknown,
    ReadDone,
    Request,
    Results,
    SessionEvent,
    SessionExpired,
    SessionListener,
    StoreError,
    Watch,
)
from tests.cluster.simulator.clock import Simulation
from tests.cluster.simulator.process import Process

IN_FLIGHT_MAX = 10  # as the default of zookeeper.max.in.flight.requests

Written = Callable[["ModelSession | None", Sequence[Operation], Results], object]


def parent_of(path: str) -> str:
    return path.rpartition("/")[0] or "/"


class ZooKeeperModel:
    """The servers. `zxid` counts changes; `on_write` hears every change with the session that made it."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.zxid = 0
        self.nodes: dict[str, Node] = {"/": Node(None, 0, 0)}
        self.children: dict[str, set[str]] = {"/": set()}
        self.sessions: dict[int, ModelSession] = {}
        self.on_write: list[Written] = []
        self.has_majority = True
        self.clients: list[ModelSession] = []
        self._late: list[tuple[int, ModelSession]] = []
        self._session_ids = count(1)
        self._sequences: dict[str, int] = {}
        self._undo: list[tuple[str, Node | None]] = []

    def session(
        self, process: Process | None = None, *, delay_ms: tuple[float, float] = (0.1, 3.0)
    ) -> ModelSession:
        """A new client, in a process."""
        client = ModelSession(self, delay_ms, process)
        self.clients.append(client)
        return client

    def lose_majority(self) -> None:
        """No server answers, and no session ends."""
        self.has_majority = False
        for client in self.clients:
            client.disconnect()

    def regain_majority(self) -> None:
        """A new leader of the ensemble gives all sessions their whole time-out again; clients come back a little later."""
        if self.has_majority:
            return
        self.has_majority = True
        late, self._late = self._late, []
        for session_id, client in late:
            client.expire_later(session_id)
        for client in self.clients:
            self.simulation.call_later(self.simulation.random.uniform(1, 3_000), client.connect)

    def out_of_time(self, session_id: int, client: ModelSession) -> None:
        """Nothing was heard of a client for its time-out."""
        if self.has_majority:
            self.expire(session_id)
        else:
            self._late.append((session_id, client))

    def open(self, session: ModelSession) -> int:
        session_id = next(self._session_ids)
        self.sessions[session_id] = session
        return session_id

    def put(self, path: str, data: bytes | None = None, version: int = 0, created_id: int | None = None) -> None:
        """Prepare a node, with its parents."""
        if path in ("", "/"):
            return
        if parent_of(path) not in self.nodes:
            self.put(parent_of(path))
        self.zxid += 1
        self._replace(path, Node(data, version, self.zxid if created_id is None else created_id))

    def apply(self, session: ModelSession | None, operations: Sequence[Operation]) -> Results:
        """Make a change, or raise."""
        before_sequences = dict(self._sequences)
        self.zxid += 1
        self._undo.clear()
        results: Results = []
        touched: list[tuple[str, bool]] = []
        for index, operation in enumerate(operations):
            try:
                results.append(self._one(session, operation, touched))
            except StoreError as error:
                for path, node in reversed(list(self._undo)):
                    self._replace(path, node)
                self._sequences = before_sequences
                error.operation = index
                raise
        self._fire(touched)
        for hear in self.on_write:
            hear(session, operations, results)
        return results

    def _one(
        self, session: ModelSession | None, operation: Operation, touched: list[tuple[str, bool]]
    ) -> str | int | None:
        if isinstance(operation, Create):
            path, parent = operation.path, parent_of(operation.path)
            if parent not in self.nodes:
                raise NoNodeError(parent)
            if operation.sequential:
                number = self._sequences.get(parent, 0)
                self._sequences[parent] = number + 1
                path = f"{path}{number:010d}"
            if path in self.nodes:
                raise NodeExistsError(path)
            if self.nodes[parent].ephemeral:
                raise NoChildrenForEphemeralsError(parent)
            owner = session.session_id if operation.ephemeral and session is not None else 0
            self._replace(path, Node(operation.data, 0, self.zxid, owner, int(self.simulation.now_ms)))
            touched.append((path, True))
            return path
        node = self.nodes.get(operation.path)
        if node is None:
            raise NoNodeError(operation.path)
        if operation.version not in (ANY_VERSION, node.version):
            raise BadVersionError(f"{operation.path}: version {node.version}, expected {operation.version}")
        if isinstance(operation, Check):
            return None
        if isinstance(operation, Delete):
            if self.children[operation.path]:
                raise NotEmptyError(operation.path)
            self._replace(operation.path, None)
            touched.append((operation.path, True))
            return None
        self._replace(operation.path, node._replace(data=operation.data, version=node.version + 1))
        touched.append((operation.path, False))
        return node.version + 1

    def _replace(self, path: str, node: Node | None) -> None:
        name = path.rpartition("/")[2]
        self._undo.append((path, self.nodes.get(path)))
        if node is None:
            del self.nodes[path], self.children[path]
            self.children[parent_of(path)].discard(name)
        else:
            self.nodes[path] = node
            self.children.setdefault(path, set())
            self.children[parent_of(path)].add(name)

    def _fire(self, touched: Sequence[tuple[str, bool]]) -> None:
        for path, structure in touched:
            for session in list(self.sessions.values()):
                session.fire(path, structure)

    def expire(self, session_id: int) -> None:
        """The servers end a session: its ephemeral nodes go."""
        session = self.sessions.pop(session_id, None)
        if session is None:
            return
        for path in [path for path, node in self.nodes.items() if node.owner == session_id]:
            self.apply(None, [Delete(path)])
        session.expired_by_server()


class _Waiting:
    """One unanswered request."""

    __slots__ = ("applied", "done", "operations", "requests")

    def __init__(
        self, operations: Sequence[Operation] | None, requests: Sequence[Request] | None, done: object
    ) -> None:
        self.operations = operations
        self.requests = requests
        self.done = done
        self.applied = False


class ModelSession:
    """A client (see AsyncStore). One session after the other; `connect` begins the first.

    As ZooKeeperStore, it sends a few requests at a time. A lost connection fails these, and the others are sent over the next one.
    """

    def __init__(self, model: ZooKeeperModel, delay_ms: tuple[float, float], process: Process | None) -> None:
        self.change_times = ChangeTimes()
        self.session_id = 0
        self.timeout_ms = 6_000.0
        self._model = model
        self._process = process
        self._simulation = model.simulation
        self._delay_ms = delay_ms
        self._listeners: list[SessionListener] = []
        self._waiting: deque[_Waiting] = deque()  # sent and not answered
        self._to_send: deque[_Waiting] = deque()
        self._connection = 0  # its number; 0: there is none
        self._connections = count(1)
        self._sent_until_ms = 0.0
        self._heard_until_ms = 0.0
        self._data_watches: dict[str, dict[Watch, None]] = {}
        self._child_watches: dict[str, dict[Watch, None]] = {}
        self._missed: list[tuple[Watch, str]] = []
        self._closed = False
        self._expired = False

    @property
    def is_connected(self) -> bool:
        return self._connection != 0

    def listen(self, listener: SessionListener) -> None:
        self._listeners.append(listener)

    def read(self, requests: Sequence[Request], done: ReadDone) -> None:
        self._put(_Waiting(None, list(requests), done))

    def submit(self, operations: Sequence[Operation], done: Done) -> None:
        self._put(_Waiting(list(operations), None, done))

    def _put(self, waiting: _Waiting) -> None:
        if self._closed:
            return
        self._to_send.append(waiting)
        self._pump()

    def _pump(self) -> None:
        while self._connection and self._to_send and len(self._waiting) < IN_FLIGHT_MAX:
            waiting = self._to_send.popleft()
            self._waiting.append(waiting)
            self._send(waiting)

    def connect(self) -> None:
        """The network is there (again)."""
        if self._connection or self._closed or not self._model.has_majority:
            return
        if self._process is not None and self._process.stopped:
            self._simulation.call_later(100, self.connect)
            return
        if self._expired or self.session_id == 0:
            self._begin()
        connection = self._connection = next(self._connections)
        self._sent_until_ms = self._heard_until_ms = self._simulation.now_ms
        self._hear(connection, lambda: self._tell(SessionEvent.CONNECTED))
        missed, self._missed = self._missed, []
        for watch, path in missed:  # the client sets its watches again and hears what it missed
            self._hear_watch(connection, watch, path)  # again with the next connection, if this one is lost before that
        self._pump()

    def _begin(self) -> None:
        """A new session: what the old one had waiting gets its errors first."""
        if self._expired:
            self._fail_all(SessionExpired)
            self._expired = False
            self._tell(SessionEvent.EXPIRED)
        self._data_watches, self._child_watches, self._missed = {}, {}, []
        self.session_id = self._model.open(self)

    def disconnect(self) -> None:
        """The network is gone: replies on their way are lost. The session ends if it does not come back in time."""
        if not self._connection:
            return
        self._connection = 0
        session_id = self.session_id
        sent, self._waiting = self._waiting, deque()
        self._tell(SessionEvent.SUSPENDED)
        for waiting in sent:
            self._answer(waiting, None, OutcomeUnknown() if waiting.operations is not None else ConnectionLost())
        self.expire_later(session_id)

    def expire_later(self, session_id: int) -> None:
        """The session ends after its time-out, unless the client is heard of."""
        self._simulation.call_later(self.timeout_ms, lambda: self._out_of_time(session_id))

    def _out_of_time(self, session_id: int) -> None:
        is_silent = self._closed or not self._connection or (self._process is not None and self._process.stopped)
        if is_silent or self.session_id != session_id:
            self._model.out_of_time(session_id, self)

    def process_stopped(self) -> None:
        """The client sends no heartbeats; what was sent arrives."""
        if self._connection:
            self.expire_later(self.session_id)

    def expired_by_server(self) -> None:
        """The servers ended the session; the client hears of it when it has a connection."""
        self._expired = True
        if self._connection and not self._closed:
            connection = self._connection
            self._hear(connection, lambda: self._hear_expiry(connection))

    def _hear_expiry(self, connection: int) -> None:
        if self._connection == connection and self._expired:
            self._connection = 0
            self.connect()

    def crash(self) -> None:
        """The process died: nothing is heard any more; the session ends later, by its time-out."""
        self._closed = True
        self._connection = 0
        self._waiting.clear()
        self._to_send.clear()
        self.expire_later(self.session_id)

    def close(self) -> None:
        """The process ended cleanly: so does the session."""
        self._closed = True
        self._connection = 0
        self._waiting.clear()
        self._to_send.clear()
        self._model.expire(self.session_id)

    def _delay(self) -> float:
        return self._simulation.random.uniform(*self._delay_ms)

    def _send(self, waiting: _Waiting) -> None:
        connection = self._connection
        self._sent_until_ms = max(self._sent_until_ms, self._simulation.now_ms + self._delay())
        delay_ms = self._sent_until_ms - self._simulation.now_ms
        session_id = self.session_id
        self._simulation.call_later(delay_ms, lambda: self._arrive(waiting, connection, session_id))

    def _arrive(self, waiting: _Waiting, connection: int, session_id: int) -> None:
        """The request is at the server, where it is applied even if the client has lost the connection meanwhile."""
        if waiting.applied or session_id not in self._model.sessions or not self._model.has_majority:
            return
        if connection != self._connection and self._simulation.random.random() < 0.5:
            return  # it was lost with the connection
        if connection != self._connection and self._connection:
            return  # the session has moved to another server, which this request came too late for
        waiting.applied = True
        outcome: Results | Answers | None = None
        error: StoreError | None = None
        if waiting.operations is not None:
            try:
                outcome = self._model.apply(self, waiting.operations)
            except StoreError as refused:
                error = refused
        else:
            assert waiting.requests is not None
            outcome = [self._look(request) for request in waiting.requests]
        self._hear(connection, lambda: self._reply(waiting, connection, outcome, error))

    def _look(self, request: Request) -> Node | list[str] | None:
        node = self._model.nodes.get(request.path)
        if request.watch is not None and (node is not None or isinstance(request, Exists)):
            watches = self._child_watches if isinstance(request, Children) else self._data_watches
            watches.setdefault(request.path, {})[request.watch] = None
        if node is None:
            return None
        if isinstance(request, Children):
            return sorted(self._model.children[request.path], reverse=not request.in_order)
        return node if isinstance(request, Get) else node._replace(data=None)

    def fire(self, path: str, structure: bool) -> None:
        """A node changed; `structure`: it was created or deleted."""
        fired = [(watch, path) for watch in self._data_watches.pop(path, ())]
        if structure:
            parent = parent_of(path)
            fired += [(watch, parent) for watch in self._child_watches.pop(parent, ())]
            if path not in self._model.nodes:
                fired += [(watch, path) for watch in self._child_watches.pop(path, ())]
        connection = self._connection
        for watch, where in fired:
            if connection:
                self._hear_watch(connection, watch, where)
            else:
                self._missed.append((watch, where))

    def _hear_watch(self, connection: int, watch: Watch, path: str) -> None:
        session_id = self.session_id

        def heard() -> None:
            if self._closed or self.session_id != session_id:
                return
            if self._connection:  # this one, or the next, over which the client has set its watches again
                watch(path)
            else:
                self._missed.append((watch, path))  # lost with the connection

        self._schedule(heard)

    def _hear(self, connection: int, function: Callable[[], object]) -> None:
        self._schedule(lambda: function() if self._connection == connection else None)

    def _schedule(self, function: Callable[[], object]) -> None:
        self._heard_until_ms = max(self._heard_until_ms, self._simulation.now_ms + self._delay())
        process = self._process
        arrive = function if process is None else lambda: process.arrive("zookeeper", function)
        self._simulation.call_later(self._heard_until_ms - self._simulation.now_ms, arrive)

    def _reply(
        self, waiting: _Waiting, connection: int, outcome: Results | Answers | None, error: StoreError | None
    ) -> None:
        if self._connection == connection and waiting in self._waiting:
            self._waiting.remove(waiting)
            self._answer(waiting, outcome, error)
            self._pump()

    def _answer(self, waiting: _Waiting, outcome: Results | Answers | None, error: StoreError | None) -> None:
        if not self._closed:
            waiting.done(outcome, error)  # type: ignore[operator]

    def _fail_all(self, error: type[StoreError]) -> None:
        waiting = [*self._waiting, *self._to_send]
        self._waiting.clear()
        self._to_send.clear()
        for each in waiting:
            self._answer(each, None, error())

    def _tell(self, event: SessionEvent) -> None:
        if not self._closed:
            for listener in list(self._listeners):
                listener(event)
