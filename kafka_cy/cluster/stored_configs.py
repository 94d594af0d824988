"""The stored settings of a cluster: read from ZooKeeper at the start, and again when a notification names them.

The settings of a topic are read before the broker takes what the controller tells of a new topic: they are stored before the
topic is, and no notification names them. What was read before the controller has told of the topic may be the settings of an
earlier one of that name, which is being deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kafka_cy.cluster import znodes
from kafka_cy.cluster.change_formats import ConfigChange
from kafka_cy.cluster.change_notifications import CONFIGS, ChangeNotifications
from kafka_cy.cluster.line_log import LineLog
from kafka_cy.cluster.metadata_cache import ConfigChanged, MetadataCache
from kafka_cy.cluster.session_reads import AFTER_FAULT_MS, SessionReads
from kafka_cy.cluster.store import AsyncStore, Children, Get, NoAuthError, Node, SessionExpired
from kafka_cy.cluster.store_calls import CallLater, StoreCalls, run
from kafka_cy.cluster.znode_formats import MALFORMED, decode_config

ENTITY_TYPES = ("topics", "brokers", "clients", "users", "ips")
READ_AT_ONCE = 200
REFUSED_AGAIN_MS, REFUSED_AGAIN_MS_MAX = 10_000.0, 60_000.0  # from one pass over the refused topics to the next one


class MalformedSettings(Exception):
    """The stored settings of a topic cannot be understood, or one is not allowed."""


class StoredConfigs:
    """Owner: the store's. Lifetime: the broker's. Limit: what is stored."""

    def __init__(
        self,
        store: AsyncStore,
        cache: MetadataCache,
        *,
        are_usable: Callable[[str, dict[str, str]], bool],
        wall_clock_ms: Callable[[], int],
        call_later: CallLater,
        log: LineLog,
    ) -> None:
        """`are_usable(topic, values)`: whether all of these settings are allowed; else it tells which one is not."""
        self._store, self._cache, self._call_later, self._log = store, cache, call_later, log
        self._are_usable = are_usable
        self._reads = SessionReads(store, self.read_all, call_later, self._log_fault)
        self._notifications = ChangeNotifications(
            store, CONFIGS, self._notified, missed=self._reads.missed, wall_clock_ms=wall_clock_ms, call_later=call_later, log=log
        )
        self._known_topics: set[str] = set()  # whose settings were read; they are those of a topic that the controller has told of
        # Paths of topics that may not be read, cannot be understood and never could, or are not allowed: until they are read again.
        self._refused: dict[str, None] = {}
        self._again_ms = REFUSED_AGAIN_MS
        self._reads_later = False  # those that are refused are read again, or a timer is set for it
        self.malformed_topics: set[str] = set()  # whose settings are there, but could never be read; any thread may look
        # Whose settings are read, but not allowed. They are known all the same: a change of one of them must not lose the others.
        self.unusable_topics: set[str] = set()  # any thread may look; none is malformed

    async def read_all(self, calls: StoreCalls) -> None:
        """Read everything; what is new is announced. Raises StoreError.

        From when the logs are open on, the settings of topics without logs here are left out until the controller tells of them.
        """
        paths: list[str] = []
        stored: set[str] = set()
        for entity_type in ENTITY_TYPES:
            names = (await calls.read(Children(f"/config/{entity_type}")))[0] or []
            stored.update(f"{entity_type}/{name}" for name in names)
            paths += [f"{entity_type}/{name}" for name in names if entity_type != "topics" or self._is_used(name)]
            if entity_type == "users":
                paths += await self._clients_of(calls, names)
        await self._read(calls, paths)
        # Those that are known are read, too: they may have been removed, or stored after the children were listed.
        stored.update(paths)
        await self._read(calls, [path for path in self._known_paths() if path not in stored])

    def _is_used(self, topic: str) -> bool:
        """Whether the settings of a topic have an effect already; when the controller tells of it they are read in any case."""
        logs = self._cache.logs
        return logs is None or topic in self._cache.topics or logs.has_topic(topic)

    def _known_paths(self) -> list[str]:
        """Of all entities with settings, except of topics that exist: one that is being deleted keeps its settings."""
        return [
            znodes.config_entity(entity_type, name)
            for entity_type in ENTITY_TYPES
            for name in self._cache.config_entities(entity_type)
            if entity_type != "topics" or name not in self._cache.topics
        ]

    async def _clients_of(self, calls: StoreCalls, users: Sequence[str]) -> list[str]:
        found = []
        for start in range(0, len(users), READ_AT_ONCE):
            some = users[start : start + READ_AT_ONCE]
            answers = await calls.read(*[Children(f"/config/users/{user}/clients") for user in some])
            found += [f"users/{u}/clients/{name}" for u, names in zip(some, answers, strict=True) for name in names or ()]
        return found

    async def _read(self, calls: StoreCalls, paths: Sequence[str]) -> None:
        """Raises StoreError."""
        refused: list[str] = []
        try:
            for start in range(0, len(paths), READ_AT_ONCE):
                some = paths[start : start + READ_AT_ONCE]
                try:
                    nodes: list[Node | None] = await calls.read(*[Get(f"/config/{path}") for path in some])
                except NoAuthError:
                    await self._read_each(calls, some, refused)
                else:
                    for path, node in zip(some, nodes, strict=True):
                        self._take(path, node)
        finally:
            if refused:  # one line for all of them: a line for each topic would suppress all others that repeat
                details = {"topics": len(refused), "first": refused[0]}
                self._log.repeated("error", "the settings of topics may not be read", details)

    async def _read_each(self, calls: StoreCalls, paths: Sequence[str], refused: list[str]) -> None:
        """Read them one by one: ZooKeeper may refuse the settings of a topic, and the other topics do not wait for it.

        Each is taken when it is answered: one that a notification names while others are read is newer. Raises StoreError.
        """
        for path in paths:
            try:
                (node,) = await calls.read(Get(f"/config/{path}"))
            except NoAuthError:
                if not path.startswith("topics/"):
                    raise
                refused.append(f"/config/{path}")
                self._cannot_be_read(path)
                self._refused[path] = None
                self._read_later()
            else:
                self._take(path, node)

    def _take(self, path: str, node: Node | None) -> None:
        """These settings are stored."""
        self._refused.pop(path, None)
        try:
            decoded = decode_config(node.data) if node is not None else {}
            values = {str(key): str(value) for key, value in decoded.items()}
        except MALFORMED as error:
            self._log.repeated("error", "stored settings are malformed", {"path": f"/config/{path}", "error": repr(error)})
            if self._cannot_be_read(path):
                self._refused[path] = None
                self._read_later()
        else:
            self._put(path, values)

    def _cannot_be_read(self, path: str) -> bool:
        """There is a node, but nothing that can be understood. If settings are known, they stay.

        Whether a topic has none now.
        """
        entity_type, _, name = path.partition("/")
        if entity_type != "topics" or name in self._known_topics:
            return False
        self.malformed_topics.add(name)
        self.unusable_topics.discard(name)
        return True

    def _look_at_values(self, path: str, topic: str, values: dict[str, str]) -> None:
        self.malformed_topics.discard(topic)
        if self._are_usable(topic, values):
            self.unusable_topics.discard(topic)
        else:
            self.unusable_topics.add(topic)
            self._refused[path] = None
            self._read_later()

    def _read_later(self) -> None:
        """ZooKeeper tells nobody when an operator allows again what it refuses, or repairs a node with ZooKeeper's own tools."""
        if self._refused and not self._reads_later:
            self._reads_later = True
            self._call_later(self._again_ms, self._read_refused)
            self._again_ms = min(2 * self._again_ms, REFUSED_AGAIN_MS_MAX)

    def _read_refused(self) -> None:
        """One pass; the next one begins some time after its end."""
        paths = [path for path in self._refused if self._is_used(path.removeprefix("topics/"))]
        self._refused.clear()

        def ended(result: None, fault: Exception | None) -> None:
            self._reads_later = False
            if fault is not None:
                self._refused.update(dict.fromkeys(paths))
                if not isinstance(fault, SessionExpired):
                    self._log_fault(fault)
            if not self._refused:
                self._again_ms = REFUSED_AGAIN_MS
            self._read_later()

        run(self._read(StoreCalls(self._store, self._call_later), paths), ended)

    def _log_fault(self, fault: Exception) -> None:
        self._log.repeated("error", f"stored settings cannot be read: {fault!r}", {})

    def _put(self, path: str, values: dict[str, str]) -> None:
        """The settings of an entity are these."""
        entity_type, _, child = path.partition("/")
        if entity_type not in ENTITY_TYPES or not child:
            return
        name = znodes.config_entity_name(entity_type, child)
        has_changed = values != self._cache.config(entity_type, name)
        if has_changed:
            self._cache.put_config(entity_type, name, values)
        if entity_type == "topics":  # when the settings are there: other threads may look
            self._known_topics.add(child)
            self._look_at_values(path, child, values)
        if has_changed:
            self._cache.announce(ConfigChanged(entity_type, name, values))

    # -- running --

    def start(self) -> None:
        """Follow the notifications. What changed since everything was read may have none any more, so it is read again."""
        self._notifications.start()
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
        path = ConfigChange.decode(data).entity_path
        self._reads.run(lambda calls: self._read(calls, [path]))

    def stored(self, entity_type: str, entity_name: str, values: dict[str, str]) -> None:
        """This broker has stored these settings: they are in force before the notification comes.

        Those of a broker are announced even if they do not differ: a file of the same name may have changed (KIP-226).
        """
        if entity_type == "brokers" and values == self._cache.config(entity_type, entity_name):
            self._cache.announce(ConfigChanged(entity_type, entity_name, values))
        else:
            self._put(znodes.config_entity(entity_type, entity_name), values)

    def knows(self, topic: str) -> bool:
        """Whether the settings of this topic are known. Those of a topic that the controller has not told of never are."""
        return topic in self._known_topics and topic in self._cache.topics

    def lacks_settings(self, topic: str) -> bool:
        """Whether a topic has settings that cannot be used: nobody can read them, or one is not allowed. Any thread."""
        return topic in self.malformed_topics or topic in self.unusable_topics

    def ensure(self, topics: Iterable[str], done: Callable[[], object], *, newest: bool = False) -> None:
        """Call `done` when the settings of these topics are known, or malformed (`malformed_topics`); at once if they are known.

        Those of topics that the controller has not told of are read with each call. `newest`: as whoever told of the topics sees
        them, who may have asked a server of ZooKeeper that is ahead. That costs ZooKeeper a change of nothing.
        """
        missing = [name for name in topics if not self.knows(name)]
        if not missing:
            done()
            return

        def ended(result: None, fault: Exception | None) -> None:
            if fault is not None and not isinstance(fault, SessionExpired):
                self._log.repeated("error", f"settings of new topics cannot be read: {fault!r}", {})
            if fault is None:
                done()
            else:
                self._call_later(AFTER_FAULT_MS, lambda: self.ensure(topics, done, newest=newest))

        run(self._read_new(StoreCalls(self._store, self._call_later), missing, newest=newest), ended)

    async def _read_new(self, calls: StoreCalls, topics: Sequence[str], *, newest: bool) -> None:
        if newest:
            await calls.catch_up()
        self._known_topics.difference_update(topics)  # malformed settings leave nothing of those of an earlier topic
        await self._read(calls, [f"topics/{name}" for name in topics])

    def forget(self, topic: str) -> None:
        """The topic was deleted: one of the same name may have other settings."""
        self._known_topics.discard(topic)
        self.malformed_topics.discard(topic)
        self.unusable_topics.discard(topic)
        if topic not in self._cache.topics:
            self._cache.remove_topic_config(topic)
