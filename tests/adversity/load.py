"""Producers, a reader and a committer that continue through crashes of the broker and check its data afterwards."""

from __future__ import annotations

import struct
import threading
from collections import Counter
from collections.abc import Iterator

from kafka_cy.records import iterate_batches

from .wire import (
    Connection,
    await_coordinator,
    batch,
    commit_offset,
    committed_offset,
    fetch,
    init_producer_id,
    produce,
)

Content = tuple[bytes | None, bytes | None]
OUT_OF_RANGE = 1


def contents(data: bytes) -> Iterator[tuple[int, Content]]:
    """Offset and content of each record in a fetch response."""
    for each in iterate_batches(data, allow_partial=True):
        assert each.crc_matches, each.base_offset
        for record in each.records():
            yield record.offset, (record.key, record.value)


def read_log(connection: Connection, topic: str, index: int, start: int = 0) -> dict[int, Content]:
    """Every record from `start` up to the high watermark."""
    found: dict[int, Content] = {}
    at = start
    while True:
        error, high_watermark, data = fetch(connection, topic, index, at)
        assert error == 0, error
        rows = dict(contents(data))
        if not rows:
            assert at >= high_watermark, (at, high_watermark)
            return found
        found.update(rows)
        at = max(rows) + 1


class Worker(threading.Thread):
    """A thread with its own connection, which it reopens after each crash. `progress` counts its steps."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.running = True
        self.progress = 0
        self.failure: BaseException | None = None
        self.working = False  # whether a connection is in use
        self.up = threading.Event()
        self.up.set()

    def run(self) -> None:
        """Work until `finish` is called, which raises unexpected errors."""
        try:
            while self.running:
                self.up.wait()
                if self.running:
                    self.working = True
                    self.connect_and_work()
                    self.working = False
        except BaseException as failure:  # noqa: BLE001 raised again by finish()
            self.failure = failure

    def connect_and_work(self) -> None:
        """Work until the connection breaks."""
        try:
            connection = Connection(self.port)
        except OSError:
            return
        try:
            while self.running and self.up.is_set():
                self.work(connection)
                self.progress += 1
        except (ConnectionError, EOFError, struct.error):
            pass  # killed in between
        finally:
            connection.close()

    def work(self, connection: Connection) -> None:
        """Do one step."""
        raise NotImplementedError

    def finish(self) -> None:
        """End the thread; raises the error that occurred in it."""
        self.running = False
        self.up.set()
        self.join(60)
        assert not self.is_alive()
        if self.failure is not None:
            raise self.failure


class Producer(Worker):
    """Writes batches of distinct values to one partition; with `producer` (id, epoch), as an idempotent producer."""

    def __init__(self, port: int, topic: str, index: int, *, idempotent: bool, acks: int, padding: int = 700) -> None:
        super().__init__(port)
        self.topic, self.index, self.acks = topic, index, acks
        self.producer = init_producer_id(Connection(port)) if idempotent else None
        self.padding = b"." * padding
        self.next_value = 0
        self.sequence = 0
        self.pending: list[bytes] = []
        self.sent: set[bytes] = set()
        self.acknowledged: dict[int, Content] = {}

    def work(self, connection: Connection) -> None:
        """Produce one batch; an idempotent producer repeats a batch that got no response."""
        if not self.pending or self.producer is None:
            count = 1 + self.next_value % 13
            self.pending = [b"%d:%d:" % (self.index, self.next_value + i) + self.padding for i in range(count)]
            self.next_value += count
            self.sent.update(self.pending)
        identity: dict[str, object] = {}
        if self.producer is not None:
            producer_id, epoch = self.producer
            identity = {"producer_id": producer_id, "producer_epoch": epoch, "base_sequence": self.sequence}
        answer = produce(connection, self.topic, self.index, batch(self.pending, **identity), self.acks)
        assert answer.error == 0, (self.topic, self.index, answer)
        for i, value in enumerate(self.pending):
            self.acknowledged[answer.base_offset + i] = (b"key", value)
        self.sequence += len(self.pending)
        self.pending = []

    def check(self, log: dict[int, Content]) -> None:
        """Check that the log has everything acknowledged, nothing that was not sent, and no duplicates."""
        assert sorted(log) == list(range(len(log))), "holes"
        lost = [offset for offset, content in self.acknowledged.items() if log.get(offset) != content]
        assert not lost, (
            f"{self.topic}-{self.index}: acknowledged but lost or changed: {sorted(lost)[:10]} of {len(log)}"
        )
        counts = Counter(value for _, value in log.values())
        assert counts.keys() <= self.sent
        if self.producer is not None:
            assert max(counts.values(), default=1) == 1, "a duplicate of an idempotent producer"


class Reader(Worker):
    """Reads one partition as it grows; the content at an offset must never change."""

    def __init__(self, port: int, topic: str, index: int) -> None:
        super().__init__(port)
        self.topic, self.index = topic, index
        self.seen: dict[int, Content] = {}

    def work(self, connection: Connection) -> None:
        """Fetch new records."""
        error, _, data = fetch(connection, self.topic, self.index, len(self.seen))
        assert error == 0, f"offset {len(self.seen)}: error {error}"
        for offset, content in contents(data):
            assert self.seen.setdefault(offset, content) == content


class Committer(Worker):
    """Commits increasing offsets for one group."""

    def __init__(self, port: int, group: str, topic: str) -> None:
        super().__init__(port)
        self.group, self.topic = group, topic
        self.tried = self.acknowledged = -1

    def connect_and_work(self) -> None:
        """A new broker first has to load the group."""
        try:
            connection = Connection(self.port)
            self.check(connection)
            connection.close()
        except (OSError, struct.error):
            return
        super().connect_and_work()

    def work(self, connection: Connection) -> None:
        """Commit once."""
        self.tried += 1
        error = commit_offset(connection, self.group, self.topic, 0, self.tried)
        assert error == 0, error
        self.acknowledged = self.tried

    def check(self, connection: Connection) -> None:
        """Check that the broker has the last commit that it acknowledged, or the one during which it was killed."""
        await_coordinator(connection, self.group, self.topic)
        error, offset = committed_offset(connection, self.group, self.topic, 0)
        assert error == 0 and self.acknowledged <= offset <= self.tried, (error, offset, self.acknowledged, self.tried)
