"""ShareFetch and ShareAcknowledge: sessions, acknowledgements, and the fetch that waits for records (KIP-932, KIP-1222).

What is done for each partition of a request or of a session is a walk in slices (member_walks).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, TypeVar

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.acknowledging import STORED_AT_ONCE, Acknowledging
from kafka_cy.share.fetch_requests import AcknowledgeRequest, Answer, FetchRequest, Respond, Results
from kafka_cy.share.member_walks import MemberWalks, Steps
from kafka_cy.share.sessions import FINAL_EPOCH, FIRST_EPOCH, SessionKey, ShareSessions, TopicPartition
from kafka_cy.share.share_partition import Write
from kafka_cy.share.share_partitions import SharePartitions
from kafka_cy.share.share_session import ShareSession
from kafka_cy.share.waiting_fetch import OpeningFetch, WaitingFetch

R = TypeVar("R")
#: Bytes of records in a response, unless the first batch is larger: they are read on the loop's thread.
RESPONSE_BYTES_MAX = 1 << 20
OPENING_MAX = 2000  # fetches that wait for a session, at most 64 KiB of names each; more get SHARE_SESSION_LIMIT_REACHED at once


class ShareFetches:
    """Owner: the loop's thread. Limits: those of ShareSessions and SharePartitions; OPENING_MAX fetches wait for a session and
    name at most `partitions_max` partitions of ShareSessions, all together; a connection has a few requests."""

    def __init__(
        self, sessions: ShareSessions, partitions: SharePartitions, loop: Any, bytes_max: int = RESPONSE_BYTES_MAX
    ) -> None:
        self.sessions = sessions
        self.partitions = partitions
        self.loop = loop
        self.bytes_max = bytes_max
        self.walks = MemberWalks(loop, partitions.on_fault)
        self.waiting: dict[SessionKey, dict[WaitingFetch, None]] = {}
        self.by_connection: dict[int, dict[WaitingFetch | OpeningFetch, None]] = {}
        self.opening = 0  # fetches that wait for a session
        self.opening_partitions = 0  # that they name

    # -- requests --

    def fetch(self, request: FetchRequest, respond: Respond) -> None:
        """ShareFetch; `respond` gets the error of the whole request, or the partitions that have something to say."""
        self.read_fetch(request.key, request.size + len(request.acknowledgements), _made(request), respond)

    def read_fetch(
        self, key: SessionKey, size: int, reading: Generator[object, None, FetchRequest], respond: Respond
    ) -> None:
        """fetch() of a request that is read in steps; `size`: about how many partitions it names."""
        answer = Answer(respond)
        self.walks.add(key, size, self._fetch(reading, answer), answer.failed)

    def _fetch(self, reading: Generator[object, None, FetchRequest], answer: Answer) -> Steps:
        request = yield from reading
        error = request.error()
        if error:
            answer(error, {})
        elif request.epoch == FIRST_EPOCH:
            yield from self._open(request, answer)
        else:
            error, session = self.sessions.check(request.key, request.epoch)
            if session is None:
                answer(error, {})
            elif request.epoch == FINAL_EPOCH:
                yield from Acknowledging(self.partitions, request, partial(self._end, session, answer)).steps()
            else:
                yield from self.fetch_with(session, request, answer)

    def _open(self, request: FetchRequest, answer: Answer) -> Steps:
        if request.is_gone:  # nothing would end its session
            answer(ErrorCode.SHARE_SESSION_NOT_FOUND, {})
            return
        error, session = self.open_session(request)
        if session is not None:
            yield from self.fetch_with(session, request, answer)
        elif self._has_room(request):
            OpeningFetch(self, request._replace(forgotten=[]), answer).begin()  # a new session has nothing to forget
        else:
            answer(error, {})

    def _has_room(self, request: FetchRequest) -> bool:
        """Whether the fetch may wait for a session."""
        return (
            self.opening < OPENING_MAX and self.opening_partitions + len(request.named) <= self.sessions.partitions_max
        )

    def open_session(self, request: FetchRequest) -> tuple[ErrorCode, ShareSession | None]:
        """ShareSessions.open; fetches of the member's old session get nothing any more."""
        self._answer_waiting(request.key)
        old = self.sessions.close(request.key)
        if old is not None:
            self.walks.add_apart(len(old), self._wake_reactors(old), lambda: None)
        return self.sessions.open(request.key, request.connection_id)

    def fetch_with(self, session: ShareSession, request: FetchRequest, answer: Answer) -> Steps:
        """Fetch for a session that the request has opened or named."""
        fetch = WaitingFetch(self, session, request.without_lists(), answer)
        self.waiting.setdefault(session.key, {})[fetch] = None  # before the first step: its session or connection may end
        self.watch_connection(request.connection_id, fetch)
        try:
            error = yield from self.sessions.update(session, request.named, request.forgotten)
            if error:
                fetch.finish(error)
            else:
                yield from Acknowledging(self.partitions, request, fetch.acknowledged).steps()
        except Exception:
            fetch.fail()
            raise

    def watch_connection(self, connection_id: int, fetch: WaitingFetch | OpeningFetch) -> None:
        """End the fetch when the connection of its request closes."""
        self.by_connection.setdefault(connection_id, {})[fetch] = None

    def forget_connection(self, connection_id: int, fetch: WaitingFetch | OpeningFetch) -> None:
        """The fetch is over."""
        _remove(self.by_connection, connection_id, fetch)

    def forget(self, fetch: WaitingFetch) -> None:
        """The fetch has its response."""
        _remove(self.waiting, fetch.session.key, fetch)
        self.forget_connection(fetch.request.connection_id, fetch)

    def acknowledge(self, request: AcknowledgeRequest, respond: Respond) -> None:
        """ShareAcknowledge; `respond` as for fetch, with `error` of each partition that was named."""
        self.read_acknowledge(request.key, len(request.acknowledgements), _made(request), respond)

    def read_acknowledge(
        self, key: SessionKey, size: int, reading: Generator[object, None, AcknowledgeRequest], respond: Respond
    ) -> None:
        """acknowledge() of a request that is read in steps."""
        answer = Answer(respond)
        self.walks.add(key, size, self._acknowledge(reading, answer), answer.failed)

    def _acknowledge(self, reading: Generator[object, None, AcknowledgeRequest], answer: Answer) -> Steps:
        request = yield from reading
        if not request.key.member_id:
            answer(ErrorCode.INVALID_REQUEST, {})
            return
        if request.epoch == FIRST_EPOCH:
            answer(ErrorCode.INVALID_SHARE_SESSION_EPOCH, {})
            return
        error, session = self.sessions.check(request.key, request.epoch)
        if session is None:
            answer(error, {})
            return
        done = partial(self._end, session, answer) if request.epoch == FINAL_EPOCH else partial(answer, ErrorCode.NONE)
        yield from Acknowledging(self.partitions, request, done).steps()

    def stop(self) -> None:
        """Respond to the fetches that wait: the broker stops."""
        self.walks.stop()
        for key in list(self.waiting):
            self._answer_waiting(key)

    # -- the end of sessions --

    def _end(self, session: ShareSession, answer: Answer, results: Results) -> None:
        """The member closes its session: what it holds becomes available, unless the session was replaced meanwhile."""
        if self.sessions.is_open(session):
            self.sessions.close(session.key)
            self._answer_waiting(session.key)
            self._release(session, len(session), lambda: answer(ErrorCode.NONE, results))
        else:
            answer(ErrorCode.NONE, results)

    def _release(self, session: ShareSession, size: int, done: Callable[[], object]) -> None:
        """Nothing is acquired for the session any more, and a new one of its member begins later: this walk comes before."""
        self.walks.add(session.key, size, self._release_each(session, done), done)

    def _release_each(self, session: ShareSession, done: Callable[[], object]) -> Iterator[None]:
        write = self.partitions.write_later if len(session) > 1 else None
        for count, partition in enumerate(session.walk(), 1):
            try:
                self._release_one(session.key, partition, write)
            except Exception as fault:  # noqa: BLE001 the other partitions have their turn
                self.partitions.on_fault(fault)
            if count % STORED_AT_ONCE == 0:
                self.partitions.write_collected()
            yield
        self.partitions.write_collected()
        done()

    def _release_one(self, key: SessionKey, partition: TopicPartition, write: Write | None) -> None:
        _, share_partition = self.partitions.find(key.group_id, partition)
        if share_partition is not None:
            share_partition.release(key.member_id, write)
            share_partition.hosted.wake()  # fetches of the session, which wait on reactors

    def _wake_reactors(self, session: ShareSession) -> Iterator[None]:
        """Fetches of the session that wait on reactors respond: it has ended."""
        for partition in session.walk():
            _, share_partition = self.partitions.find(session.key.group_id, partition)
            if share_partition is not None:
                share_partition.hosted.wake()
            yield

    def connection_closed(self, connection_id: int) -> None:
        """End the fetches and the sessions of a connection."""
        for fetch in list(self.by_connection.get(connection_id, ())):
            fetch.end()
        closed = self.sessions.close_connection(connection_id)
        size = sum(len(session) for session in closed)
        for session in closed:
            self._answer_waiting(session.key)
            self._release(session, size, lambda: None)

    def _answer_waiting(self, key: SessionKey) -> None:
        for fetch in list(self.waiting.get(key, ())):
            fetch.end()


def _remove(table: dict[Any, dict[Any, None]], key: Any, entry: Any) -> None:
    """Remove the entry of a key; the key goes with its last entry."""
    entries = table.get(key)
    if entries is not None:
        entries.pop(entry, None)
        if not entries:
            del table[key]


def _made(request: R) -> Generator[object, None, R]:
    """A request that is read already."""
    yield from ()
    return request
