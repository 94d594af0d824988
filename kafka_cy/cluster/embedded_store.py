"""The metadata store of a single broker: the whole tree is in memory, and each change goes to a SQLite file (WAL).

A change is on disk (fsync) before the call returns, or before its `done` is called if it was submitted. Ephemeral nodes
exist in memory only: they end with the process, as they would end with a ZooKeeper session.

SQLite opens a file whose write-ahead file is missing or truncated, and silently loses its changes. Therefore the number
of changes is kept twice: in the file, and in a second file (`-changes`) that is written after each commit and needs no
fsync, because it may lag behind. A store with fewer changes than the second file records is refused.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence

from kafka_cy.cluster.pending_changes import PendingChanges, Post, StoredChange
from kafka_cy.cluster.session_counts import SessionCounts
from kafka_cy.cluster.store import (
    ANY_VERSION,
    BadVersionError,
    ChangeTimes,
    Check,
    Children,
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
    ReadDone,
    Request,
    Results,
    SessionListener,
    Set,
    StoreBroken,
    StoreError,
    Watch,
)
from kafka_cy.storage.checkpoints import sync_directory

FILE_NAME = "kafka-cy-metadata.sqlite"
FORMAT_VERSION = 1
CHANGES_SUFFIX = "-changes"
CHANGES_DIGITS = 20
SESSION_ID = 1  # of the only session that this process has


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


class EmbeddedStore:
    """See MetadataStore. Owner: the controller's thread; at the start and the end of the broker, the main thread.

    `path` None: nothing is stored (tests).
    """

    def __init__(
        self,
        path: str | None,
        post: Post | None = None,
        wall_clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`post(function, *arguments)` runs a function on the owner's thread; None: `submit` and `read` answer at once."""
        self.change_times = ChangeTimes()
        self.session_counts = SessionCounts()
        self._wall_clock_ms = wall_clock_ms
        self._nodes: dict[str, Node] = {"/": Node(None, 0, 0)}
        self._children: dict[str, set[str]] = {"/": set()}
        self._sequences: dict[str, int] = {}
        self._data_watches: dict[str, dict[Watch, None]] = {}
        self._child_watches: dict[str, dict[Watch, None]] = {}
        self._last_id = 0
        self._undo: list[tuple[str, Node | None]] = []
        self._touched: set[str] = set()
        self._child_changes: set[str] = set()
        self._changes = 0
        self._changes_fd = -1
        self._together: list[StoredChange] | None = None  # within together()
        self._pending = PendingChanges(self._persist, self.take_back, self.notify, post)
        self._connection = self._open(path) if path is not None else None

    def _open(self, path: str) -> sqlite3.Connection:
        try:
            _close_to_others(path)
            connection = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # one process only
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA cache_size=-256")
            connection.execute("PRAGMA secure_delete=ON")  # passwords that are replaced do not stay in free pages
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")  # new, or its first start was interrupted
            elif found != FORMAT_VERSION:
                raise StoreBroken(f"{path} has format {found}, but this version supports only {FORMAT_VERSION}")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS nodes "
                "(path TEXT PRIMARY KEY, data BLOB, version INTEGER, created_id INTEGER) WITHOUT ROWID"
            )
            connection.execute(
                "CREATE TABLE IF NOT EXISTS sequences (path TEXT PRIMARY KEY, next INTEGER) WITHOUT ROWID"
            )
            connection.execute("CREATE TABLE IF NOT EXISTS changes (id INTEGER PRIMARY KEY, count INTEGER)")
            counted = connection.execute("SELECT count FROM changes").fetchone()
            self._changes = counted[0] if counted is not None else 0
            self._open_changes(path)
            now_ms = self._wall_clock_ms()
            for node_path, data, version, created_id in connection.execute("SELECT * FROM nodes"):
                self._nodes[node_path] = Node(data, version, created_id, 0, now_ms)
                self._children.setdefault(node_path, set())
                if node_path != "/":
                    self._children.setdefault(_parent(node_path), set()).add(node_path.rpartition("/")[2])
                self._last_id = max(self._last_id, created_id)
            self._sequences = dict(connection.execute("SELECT path, next FROM sequences").fetchall())
        except sqlite3.Error as error:
            held = "locked" in str(error)
            raise StoreBroken(f"{path} is in use by another broker" if held else f"{path}: {error}") from error
        except OSError as error:
            raise StoreBroken(f"{error.filename or path + CHANGES_SUFFIX}: {error.strerror}") from error
        return connection

    def _open_changes(self, path: str) -> None:
        """Compare the numbers of changes; create the second file if it is missing. Raises OSError, StoreBroken."""
        beside = path + CHANGES_SUFFIX
        self._changes_fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        text = os.read(self._changes_fd, CHANGES_DIGITS)
        if text.isdigit() and int(text) > self._changes:
            raise StoreBroken(
                f"{path} lacks the last {int(text) - self._changes} of {int(text)} changes: its write-ahead file {path}-wal is"
                " missing or truncated, or the file is an old copy; restore the missing file, or remove"
                f" {beside} to continue without these changes"
            )
        self._write_changes()
        if not text:
            os.fsync(self._changes_fd)
            sync_directory(os.path.dirname(path) or ".")  # noqa: PTH120

    def _write_changes(self) -> None:
        os.pwrite(self._changes_fd, b"%0*d\n" % (CHANGES_DIGITS, self._changes), 0)

    @property
    def changes(self) -> int:
        """See MetadataStore."""
        return self._changes

    def get(self, path: str, watch: Watch | None = None) -> Node:
        """See MetadataStore."""
        node = self._nodes.get(path)
        if node is None:
            raise NoNodeError(path)
        if watch is not None:
            self._data_watches.setdefault(path, {})[watch] = None
        return node

    def find(self, path: str, watch: Watch | None = None) -> Node | None:
        """See MetadataStore."""
        if watch is not None:
            self._data_watches.setdefault(path, {})[watch] = None
        return self._nodes.get(path)

    def children(self, path: str, watch: Watch | None = None) -> list[str]:
        """See MetadataStore."""
        if path not in self._nodes:
            raise NoNodeError(path)
        if watch is not None:
            self._child_watches.setdefault(path, {})[watch] = None
        return sorted(self._children[path])

    def children_count(self, path: str) -> int:
        """See MetadataStore."""
        if path not in self._nodes:
            raise NoNodeError(path)
        return len(self._children[path])

    def create(self, path: str, data: bytes | None = None, *, ephemeral: bool = False, sequential: bool = False) -> str:
        """See MetadataStore."""
        return str(self.multi([Create(path, data, ephemeral, sequential)])[0])

    def set(self, path: str, data: bytes | None, version: int = ANY_VERSION) -> int:
        """See MetadataStore."""
        result = self.multi([Set(path, data, version)])[0]
        assert isinstance(result, int)
        return result

    def delete(self, path: str, version: int = ANY_VERSION) -> None:
        """See MetadataStore."""
        self.multi([Delete(path, version)])

    def multi(self, operations: Sequence[Operation]) -> Results:
        """See MetadataStore."""
        begun = time.perf_counter()
        if self._pending.waits:
            self._pending.commit()  # changes are made in call order
        change = self._change(operations)
        if self._together is not None:
            self._together.append(change)
            return change.results
        self._store([change])
        self.change_times.add((time.perf_counter() - begun) * 1000)
        return change.results

    def submit(self, operations: Sequence[Operation], done: Done) -> None:
        """See MetadataStore. The change is applied in memory at once; the `metadata-store` thread makes it durable."""
        try:
            change = self._change(operations)
        except StoreError as error:
            self._pending.add(None, error, done)
        else:
            self._pending.add(change, None, done)

    @property
    def session_id(self) -> int:
        """See AsyncStore."""
        return SESSION_ID

    def listen(self, listener: SessionListener) -> None:
        """See AsyncStore: the session lasts as long as the process."""

    def read(self, requests: Sequence[Request], done: ReadDone) -> None:
        """See AsyncStore. The answer is the tree of now, and `done` is called after that of the changes which it shows."""
        answers = [self._read(request) for request in requests]

        def set_watches() -> None:
            for request, answer in zip(requests, answers, strict=True):
                if request.watch is not None and (answer is not None or isinstance(request, Exists)):
                    watches = self._child_watches if isinstance(request, Children) else self._data_watches
                    watches.setdefault(request.path, {})[request.watch] = None

        self._pending.add_read(answers, set_watches, done)

    def _read(self, request: Request) -> Node | list[str] | None:
        node = self._nodes.get(request.path)
        if node is None or isinstance(request, Get):
            return node
        if isinstance(request, Children):
            return (sorted if request.in_order else list)(self._children[request.path])
        return node._replace(data=None)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """See MetadataStore."""
        if self._together is not None:
            yield
            return
        begun = time.perf_counter()
        changes: list[StoredChange] = []
        self._together = changes
        try:
            yield
        finally:
            self._together = None
            if changes:
                self._store(changes)
                self.change_times.add((time.perf_counter() - begun) * 1000)

    def _change(self, operations: Sequence[Operation]) -> StoredChange:
        """Apply all operations in memory, or none. Raises StoreError."""
        sequences = dict(self._sequences)
        last_id = self._last_id
        self._undo, self._touched, self._child_changes = [], set(), set()
        results: Results = []
        try:
            for operation in operations:
                results.append(self._apply(operation))
        except BaseException as error:
            self._take_back(self._undo, sequences)
            self._last_id = last_id
            if isinstance(error, StoreError):
                error.operation = len(results)
            raise
        numbers = [(path, n) for path, n in self._sequences.items() if sequences.get(path) != n]
        nodes = [(path, self._nodes.get(path)) for path in self._touched]
        return StoredChange(results, nodes, numbers, self._undo, sequences, self._touched, self._child_changes)

    def _store(self, changes: list[StoredChange]) -> None:
        """Make changes durable, then call the watches. On failure undoes the changes and raises StoreBroken."""
        try:
            self._persist(changes)
        except BaseException:
            self.take_back(changes)
            raise
        for change in changes:
            self.notify(change)

    def take_back(self, changes: Sequence[StoredChange]) -> None:
        """Undo changes that could not be stored; later changes must not exist."""
        for change in reversed(changes):
            self._take_back(change.undo, change.sequences_before)

    def _take_back(self, undo: list[tuple[str, Node | None]], sequences: dict[str, int]) -> None:
        for path, node in reversed(undo):
            self._replace(path, node)
        self._sequences = sequences

    def close(self) -> None:
        """See MetadataStore."""
        self._pending.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._changes_fd >= 0:
            os.close(self._changes_fd)
            self._changes_fd = -1

    def _apply(self, operation: Operation) -> str | int | None:
        if isinstance(operation, Create):
            return self._create(operation)
        node = self._nodes.get(operation.path)
        if node is None:
            raise NoNodeError(operation.path)
        if operation.version not in (ANY_VERSION, node.version):
            raise BadVersionError(f"{operation.path}: version {node.version}, expected {operation.version}")
        if isinstance(operation, Check):
            return None
        if isinstance(operation, Delete):
            if self._children[operation.path]:
                raise NotEmptyError(operation.path)
            self._put(operation.path, None)
            return None
        changed = node._replace(data=operation.data, version=node.version + 1)
        self._put(operation.path, changed)
        return changed.version

    def _create(self, operation: Create) -> str:
        path, parent = operation.path, _parent(operation.path)
        if parent not in self._nodes:
            raise NoNodeError(parent)
        if operation.sequential:
            number = self._sequences.get(parent, 0)
            self._sequences[parent] = number + 1
            path = f"{path}{number:010d}"
        if path in self._nodes:
            raise NodeExistsError(path)
        if self._nodes[parent].ephemeral:
            raise NoChildrenForEphemeralsError(parent)
        self._last_id += 1
        owner = SESSION_ID if operation.ephemeral else 0
        self._put(path, Node(operation.data, 0, self._last_id, owner, self._wall_clock_ms()))
        return path

    def _put(self, path: str, node: Node | None) -> None:
        before = self._nodes.get(path)
        self._undo.append((path, before))
        self._touched.add(path)
        if (before is None) != (node is None):
            self._child_changes.add(_parent(path))
        if node is None:
            self._child_changes.add(path)
        self._replace(path, node)

    def _replace(self, path: str, node: Node | None) -> None:
        siblings = self._children.get(_parent(path))
        if node is None:
            self._nodes.pop(path, None)
            self._children.pop(path, None)
            if siblings is not None:
                siblings.discard(path.rpartition("/")[2])
        else:
            self._nodes[path] = node
            self._children.setdefault(path, set())
            if siblings is not None:
                siblings.add(path.rpartition("/")[2])

    def _persist(self, changes: Sequence[StoredChange]) -> None:
        """One transaction and one fsync. Thread: the owner's or `metadata-store`, one at a time. Raises StoreBroken."""
        if self._connection is None:
            return
        last: dict[str, Node | None] = {}
        sequences: dict[str, int] = {}
        for change in changes:
            last.update(change.nodes)
            sequences.update(change.numbers)
        gone = [(path,) for path, node in last.items() if node is None]
        rows = [
            (path, node.data, node.version, node.created_id)
            for path, node in last.items()
            if node is not None and not node.ephemeral
        ]
        numbers = list(sequences.items())
        if not rows and not gone and not numbers:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM nodes WHERE path = ?", gone)
            self._connection.executemany("INSERT OR REPLACE INTO nodes VALUES (?, ?, ?, ?)", rows)
            self._connection.executemany("INSERT OR REPLACE INTO sequences VALUES (?, ?)", numbers)
            self._connection.execute("INSERT OR REPLACE INTO changes VALUES (0, ?)", (self._changes + 1,))
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise StoreBroken(str(error)) from error
        self._changes += 1
        with contextlib.suppress(OSError):  # the number then lags behind, which only weakens the check
            self._write_changes()

    def notify(self, change: StoredChange) -> None:
        """Call the watches of a durable change. A fault in one is reported; it stops neither the others nor who made the change."""
        faults: list[Exception] = []
        for watches, paths in ((self._data_watches, change.touched), (self._child_watches, change.child_changes)):
            for path in sorted(paths):
                for watch in watches.pop(path, ()):
                    try:
                        watch(path)
                    except Exception as fault:  # noqa: BLE001 it is reported
                        faults.append(fault)
        self._pending.report(faults)


def _close_to_others(path: str) -> None:
    """Create the file if it is missing; only its user may read it, because settings and credentials can be secret. Raises OSError.

    SQLite gives the files beside it the same mode. A file of an earlier version keeps its group's rights.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        mode = os.fstat(descriptor).st_mode & 0o777
    finally:
        os.close(descriptor)
    if mode & 0o007:
        for name in (path, f"{path}-wal", f"{path}-shm"):
            with contextlib.suppress(OSError):  # it is missing, or belongs to another user
                os.chmod(name, mode & 0o770)  # noqa: PTH101 (pathlib costs start time)
