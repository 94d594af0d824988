"""ShareFetch and ShareAcknowledge: sessions, acknowledgements, and the fetch that waits for records (KIP-932, KIP-1222)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.acknowledgements import Acknowledgements
from kafka_cy.share.group_totals import GroupCounts
from kafka_cy.share.in_flight_values import Acquired
from kafka_cy.share.sessions import FINAL_EPOCH, FIRST_EPOCH, SessionKey, ShareSessions, TopicPartition
from kafka_cy.share.share_partition import SharePartition, Wanted
from kafka_cy.share.share_partitions import SharePartitions, end_offsets
from kafka_cy.share.share_session import ShareSession

Reads = Callable[[UUID | None], bool]  # whether the sender may read the topic of an id; None instead: it may
Acknowledged = Mapping[TopicPartition, Acknowledgements]
#: Bytes of records in a response, unless the first batch is larger: they are read on the loop's thread.
RESPONSE_BYTES_MAX = 1 << 20


class PartitionResult:
    """The response of one partition."""

    __slots__ = ("acknowledge_error", "acquired", "error", "records")

    def __init__(self) -> None:
        self.error = ErrorCode.NONE
        self.acknowledge_error = ErrorCode.NONE
        self.records = b""
        self.acquired: list[Acquired] = []


Results = dict[TopicPartition, PartitionResult]
Respond = Callable[[ErrorCode, Results], object]


class FetchRequest(NamedTuple):
    """A ShareFetch. `named` are the partitions that the request names, with or without acknowledgements."""

    key: SessionKey
    connection_id: int
    is_gone: bool  # the connection has closed already
    epoch: int
    max_wait_ms: int
    min_bytes: int
    max_bytes: int
    max_records: int
    batch_size: int
    strict: bool
    is_renewal: bool
    named: list[TopicPartition]
    acknowledgements: Acknowledged
    forgotten: list[TopicPartition]
    reads: Reads | None = None

    @property
    def wants_records(self) -> bool:
        """Whether it takes any."""
        return self.max_records > 0 and self.max_bytes > 0

    def without_lists(self) -> FetchRequest:
        """What matters once its partitions belong to the session: a fetch that waits keeps no more."""
        return self._replace(named=[], acknowledgements={}, forgotten=[])


class AcknowledgeRequest(NamedTuple):
    """A ShareAcknowledge."""

    key: SessionKey
    epoch: int
    is_renewal: bool
    acknowledgements: Acknowledged
    reads: Reads | None = None


def denied_topics(reads: Reads | None, partitions: Iterable[TopicPartition]) -> set[UUID | None]:
    """The ids of the topics that the sender may not read; each is asked once."""
    if reads is None:
        return set()
    return {topic_id for topic_id in {each[0] for each in partitions} if not reads(topic_id)}


class ShareFetches:
    """Owner: the loop's thread. Limits: those of ShareSessions and SharePartitions; fetches that wait for a session name at most
    `partitions_max` partitions of ShareSessions, all together; a connection has a few fetches."""

    def __init__(
        self, sessions: ShareSessions, partitions: SharePartitions, loop: Any, bytes_max: int = RESPONSE_BYTES_MAX
    ) -> None:
        self.sessions = sessions
        self.partitions = partitions
        self.loop = loop
        self.bytes_max = bytes_max
        self.waiting: dict[SessionKey, dict[WaitingFetch, None]] = {}
        self.by_connection: dict[int, dict[WaitingFetch | OpeningFetch, None]] = {}
        self.opening_partitions = 0  # that fetches name which wait for a session

    # -- requests --

    def fetch(self, request: FetchRequest, respond: Respond) -> None:
        """ShareFetch; `respond` gets the error of the whole request, or the partitions that have something to say."""
        error = _check_fetch(request)
        if error:
            respond(error, {})
        elif request.epoch == FIRST_EPOCH:
            self._open(request, respond)
        else:
            error, session = self.sessions.check(request.key, request.epoch)
            if session is None:
                respond(error, {})
            elif request.epoch == FINAL_EPOCH:
                self._acknowledge(request, partial(self._end, session, respond))
            else:
                self.fetch_with(session, request, respond)

    def _open(self, request: FetchRequest, respond: Respond) -> None:
        if request.is_gone:  # nothing would end its session
            respond(ErrorCode.SHARE_SESSION_NOT_FOUND, {})
            return
        error, session = self.open_session(request)
        if session is not None:
            self.fetch_with(session, request, respond)
        elif self.opening_partitions + len(request.named) > self.sessions.partitions_max:
            respond(error, {})
        else:
            OpeningFetch(self, request, respond).begin()

    def open_session(self, request: FetchRequest) -> tuple[ErrorCode, ShareSession | None]:
        """ShareSessions.open; fetches of the member's old session get nothing any more."""
        self._answer_waiting(request.key)
        old = self.sessions.close(request.key)
        if old is not None:
            self._wake_reactors(old)
        return self.sessions.open(request.key, request.connection_id)

    def fetch_with(self, session: ShareSession, request: FetchRequest, respond: Respond) -> None:
        """Fetch for a session that the request has opened or named."""
        error = self.sessions.update(session, request.named, request.forgotten)
        if error:
            respond(error, {})
            return
        fetch = WaitingFetch(self, session, request.without_lists(), respond)
        self.waiting.setdefault(session.key, {})[fetch] = None
        self.watch_connection(request.connection_id, fetch)
        self._acknowledge(request, fetch.acknowledged)

    def watch_connection(self, connection_id: int, fetch: WaitingFetch | OpeningFetch) -> None:
        """End the fetch when the connection of its request closes."""
        self.by_connection.setdefault(connection_id, {})[fetch] = None

    def forget_connection(self, connection_id: int, fetch: WaitingFetch | OpeningFetch) -> None:
        """The fetch is over."""
        _remove(self.by_connection, connection_id, fetch)

    def forget(self, fetch: WaitingFetch) -> None:
        """The fetch has responded."""
        _remove(self.waiting, fetch.session.key, fetch)
        self.forget_connection(fetch.request.connection_id, fetch)

    def acknowledge(self, request: AcknowledgeRequest, respond: Respond) -> None:
        """ShareAcknowledge; `respond` as for fetch, with `error` of each partition that was named."""
        if not request.key.member_id:
            respond(ErrorCode.INVALID_REQUEST, {})
            return
        if request.epoch == FIRST_EPOCH:
            respond(ErrorCode.INVALID_SHARE_SESSION_EPOCH, {})
            return
        error, session = self.sessions.check(request.key, request.epoch)
        if session is None:
            respond(error, {})
            return

        def acknowledged(results: Results) -> None:
            for each in results.values():
                each.error = each.acknowledge_error
            if request.epoch == FINAL_EPOCH:
                self._end(session, respond, results)
            else:
                respond(ErrorCode.NONE, results)

        self._acknowledge(request, acknowledged)

    def stop(self) -> None:
        """Respond to the fetches that wait: the broker stops."""
        for key in list(self.waiting):
            self._answer_waiting(key)

    # -- acknowledgements --

    def _acknowledge(self, request: FetchRequest | AcknowledgeRequest, done: Callable[[Results], object]) -> None:
        """Store all acknowledgements; `done` gets the partitions with their errors."""
        acknowledgements = request.acknowledgements
        results: Results = {partition: PartitionResult() for partition in acknowledgements}
        denied = denied_topics(request.reads, acknowledgements)
        left = [len(results)]

        def stored(partition: TopicPartition, error: ErrorCode) -> None:
            results[partition].acknowledge_error = error
            left[0] -= 1
            if not left[0]:
                done(results)

        if not results:
            done(results)
        for partition, batches in acknowledgements.items():
            if partition[0] in denied:
                stored(partition, ErrorCode.TOPIC_AUTHORIZATION_FAILED)
            else:
                self._acknowledge_one(request.key, partition, batches, request.is_renewal, partial(stored, partition))

    def _acknowledge_one(
        self, key: SessionKey, partition: TopicPartition, batches: Acknowledgements, is_renewal: bool,
        stored: Callable[[ErrorCode], object],
    ) -> None:  # fmt: skip
        if not batches.are_valid(is_renewal):
            stored(ErrorCode.INVALID_REQUEST)
            return
        error, share_partition = self.partitions.find(key.group_id, partition)
        if share_partition is None:
            stored(error)
            return
        share_partition.when_ready(
            lambda error: stored(error) if error else share_partition.acknowledge(key.member_id, batches, stored)
        )

    # -- the end of sessions --

    def _end(self, session: ShareSession, respond: Respond, results: Results) -> None:
        """The member closes its session: what it holds becomes available."""
        self.close(session)
        respond(ErrorCode.NONE, results)

    def close(self, session: ShareSession) -> None:
        """End a session, unless it was replaced meanwhile, and release what its member holds."""
        if self.sessions.is_open(session):
            self.sessions.close(session.key)
            self._answer_waiting(session.key)
            self._release(session)

    def _release(self, session: ShareSession) -> None:
        for partition in session.partitions:
            _, share_partition = self.partitions.find(session.key.group_id, partition)
            if share_partition is not None:
                share_partition.release(session.key.member_id)
                share_partition.hosted.wake()  # fetches of the session, which wait on reactors

    def _wake_reactors(self, session: ShareSession) -> None:
        """Fetches of the session that wait on reactors respond: it has ended."""
        for partition in session.partitions:
            _, share_partition = self.partitions.find(session.key.group_id, partition)
            if share_partition is not None:
                share_partition.hosted.wake()

    def connection_closed(self, connection_id: int) -> None:
        """End the fetches and the sessions of a connection."""
        for fetch in list(self.by_connection.get(connection_id, ())):
            fetch.end()
        for session in self.sessions.close_connection(connection_id):
            self._answer_waiting(session.key)
            self._release(session)

    def _answer_waiting(self, key: SessionKey) -> None:
        for fetch in list(self.waiting.get(key, ())):
            fetch.end()


class OpeningFetch:
    """A ShareFetch that opens a session while there are too many: it tries again, once, when its longest wait is over.

    As in Kafka; with an error at once the client would ask again at once.
    """

    def __init__(self, fetches: ShareFetches, request: FetchRequest, respond: Respond) -> None:
        self.fetches = fetches
        self.request = request
        self.respond = respond
        self.timer: Any = None

    def begin(self) -> None:
        """Begin to wait."""
        self.fetches.opening_partitions += len(self.request.named)
        self.fetches.watch_connection(self.request.connection_id, self)
        self.timer = self.fetches.loop.call_later(self.request.max_wait_ms / 1000, self._try_again)

    def end(self) -> None:
        """The connection has closed: there is nobody to respond to."""
        self.timer.cancel()
        self.fetches.opening_partitions -= len(self.request.named)
        self.fetches.forget_connection(self.request.connection_id, self)

    def _try_again(self) -> None:
        """One may have ended meanwhile: of a connection that was closed just before, for example."""
        self.end()
        error, session = self.fetches.open_session(self.request)
        if session is None:
            self.respond(error, {})
        else:
            self.fetches.fetch_with(session, self.request._replace(max_wait_ms=0), self.respond)


class WaitingFetch:
    """A ShareFetch of a session. When its acknowledgements are stored it responds: with records, or when its time is over."""

    def __init__(self, fetches: ShareFetches, session: ShareSession, request: FetchRequest, respond: Respond) -> None:
        self.fetches = fetches
        self.session = session
        self.request = request
        self.respond = respond
        self.results: Results = {}
        self.watched: list[SharePartition] = []
        self.timer: Any = None
        self.is_stored = False  # its acknowledgements
        self._tries_s: float | None = None  # when it began to try to lock records, the last time
        self._acquirable: set[TopicPartition] = set()  # of which it could lock records at the last try
        self.has_ended = request.is_gone  # nobody waits for its records any more
        self.done = False

    def acknowledged(self, results: Results) -> None:
        """The acknowledgements are stored, or could not be."""
        self.results, self.is_stored = results, True
        if self.request.is_renewal or self.has_ended:
            self.finish()
        else:
            self._find_partitions()

    def end(self) -> None:
        """Its session or its connection is gone: it gets no records any more."""
        self.has_ended = True
        if self.is_stored:
            self.finish()

    def _find_partitions(self) -> None:
        """Find the session's partitions; those that are not ready are waited for."""
        unready = [len(self.session.partitions)]

        def ready(partition: TopicPartition, share_partition: SharePartition, error: ErrorCode) -> None:
            if error:
                self._failed(partition, error)
            else:
                self.watched.append(share_partition)
                self._attach(partition, share_partition)
            found()

        def found() -> None:
            unready[0] -= 1
            if not unready[0]:
                self._first_try()

        if not unready[0]:
            self._first_try()
        partitions = list(self.session.partitions)
        denied = denied_topics(self.request.reads, partitions)
        for partition in partitions:
            if partition[0] in denied:
                self._failed(partition, ErrorCode.TOPIC_AUTHORIZATION_FAILED)
                found()
                continue
            error, share_partition = self.fetches.partitions.find(self.session.key.group_id, partition)
            if share_partition is None:
                self._failed(partition, error)
                found()
            else:
                share_partition.when_ready(partial(ready, partition, share_partition))

    def _attach(self, partition: TopicPartition, share_partition: SharePartition) -> None:
        """Reactors may handle the next requests of the session."""
        if share_partition.in_flight is not None:
            share_partition.publish_terms()
            self.session.attach(partition, share_partition.in_flight)

    def _failed(self, partition: TopicPartition, error: ErrorCode) -> None:
        self.results.setdefault(partition, PartitionResult()).error = error

    def _first_try(self) -> None:
        if self.done:
            return
        ends = [end_offsets(each) for each in self.watched]  # before: what is appended from here on wakes this fetch
        self._take(self.watched)
        if self.request.max_wait_ms <= 0 or self._has_something():
            self.finish()
            return
        self.timer = self.fetches.loop.call_later(self.request.max_wait_ms / 1000, self.finish)
        if self.request.wants_records:
            self.fetches.partitions.wait(self, self.watched, ends)

    def _has_something(self) -> bool:
        return any(each.error or each.acquired for each in self.results.values())

    def _take(self, partitions: Sequence[SharePartition]) -> None:
        self._lock_records(partitions)
        if self._acquirable:
            self._count_try()

    def _count_try(self) -> None:
        """For the metrics of the group: it could lock records, or ends, after it has tried for so long."""
        now_s = self.fetches.loop.now()
        counts = self._group_counts()
        if counts is not None and self._tries_s is not None:
            counts.acquired(now_s - self._tries_s)
        self._tries_s = now_s

    def _count_end(self) -> None:
        if self._tries_s is None:
            return  # it never tried
        if not self._acquirable:
            self._count_try()
        counts = self._group_counts()
        if counts is not None:
            counts.fetch_ended(len(self._acquirable), len(self.session.partitions))

    def _group_counts(self) -> GroupCounts | None:
        return next((each.group_counts for each in self.watched if each.group_counts is not None), None)

    def _lock_records(self, partitions: Sequence[SharePartition]) -> None:
        """Lock records, one partition after the other, until the request has enough."""
        request = self.request
        if self._tries_s is None:
            self._tries_s = self.fetches.loop.now()
        bytes_left, records_left = min(request.max_bytes, self.fetches.bytes_max), request.max_records
        if self.fetches.partitions.is_full():
            return
        for each in list(partitions):
            if bytes_left <= 0 or records_left <= 0:
                return
            place = (each.key.topic_id, each.key.partition)
            self._acquirable.discard(place)
            if each.error:
                self._failed(place, each.error)
                continue
            wanted = Wanted(bytes_left, records_left, request.batch_size, request.strict)
            try:
                delivered = each.fetch(self.session.key.member_id, wanted)
            except OSError:  # StorageFailure: the log has told the operator
                self._acquirable.add(place)
                self._failed(place, ErrorCode.KAFKA_STORAGE_ERROR)
                continue
            if delivered.acquirable:
                self._acquirable.add(place)
            if delivered.acquired:
                result = self.results.setdefault(place, PartitionResult())
                result.records, result.acquired, _ = delivered
                bytes_left -= len(delivered.records)
                records_left -= sum(got.last_offset - got.first_offset + 1 for got in delivered.acquired)
                self.session.served(place)

    def wake(self, partition: SharePartition) -> bool:
        """The partition has changed. Returns whether it had something for this fetch, and so may have something for others."""
        if self.done:
            return True
        self._take([partition])
        if not self._has_something():
            return False
        self.finish()
        return True

    def finish(self) -> None:
        """Respond with what there is."""
        if self.done:
            return
        self.done = True
        if self.timer is not None:
            self.timer.cancel()
        self._count_end()
        self.fetches.forget(self)
        self.fetches.partitions.end_wait(self, self.watched)
        if self.request.epoch == FIRST_EPOCH and not self.request.is_renewal:
            for partition in self.session.partitions:  # a new session is told about all of its partitions, as in Kafka
                self.results.setdefault(partition, PartitionResult())
        self.respond(ErrorCode.NONE, self.results)


def _remove(table: dict[Any, dict[Any, None]], key: Any, entry: Any) -> None:
    """Remove the entry of a key; the key goes with its last entry."""
    entries = table.get(key)
    if entries is not None:
        entries.pop(entry, None)
        if not entries:
            del table[key]


def _check_fetch(request: FetchRequest) -> ErrorCode:
    """INVALID_REQUEST for a fetch that contradicts itself."""
    if not request.key.member_id:
        return ErrorCode.INVALID_REQUEST
    if request.epoch == FIRST_EPOCH and any(request.acknowledgements.values()):
        return ErrorCode.INVALID_REQUEST
    takes = request.max_wait_ms or request.min_bytes or request.max_bytes or request.max_records
    if request.is_renewal and takes:
        return ErrorCode.INVALID_REQUEST
    return ErrorCode.NONE
