"""ShareFetches that wait: for a session, for the state of share partitions, or for records."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.fetch_requests import Answer, FetchRequest, PartitionResult, Results, Rights
from kafka_cy.share.group_totals import GroupCounts
from kafka_cy.share.member_walks import Steps
from kafka_cy.share.sessions import FIRST_EPOCH, TopicPartition
from kafka_cy.share.share_partition import SharePartition, Wanted
from kafka_cy.share.share_partitions import end_offsets
from kafka_cy.share.share_session import ShareSession

if TYPE_CHECKING:
    from kafka_cy.share.share_fetch import ShareFetches


class OpeningFetch:
    """A ShareFetch that opens a session while there are too many: it tries again, once, when its longest wait is over.

    As in Kafka; with an error at once the client would ask again at once.
    """

    def __init__(self, fetches: ShareFetches, request: FetchRequest, answer: Answer) -> None:
        self.fetches = fetches
        self.request = request
        self.answer = answer
        self.timer: Any = None
        self.has_ended = False

    def begin(self) -> None:
        """Begin to wait."""
        self.fetches.opening += 1
        self.fetches.opening_partitions += len(self.request.named)
        self.fetches.watch_connection(self.request.connection_id, self)
        self.timer = self.fetches.loop.call_later(self.request.max_wait_ms / 1000, self._try_again)

    def end(self) -> None:
        """The connection has closed, and there is nobody to respond to; or the wait is over."""
        self.has_ended = True
        self.timer.cancel()
        self.fetches.opening -= 1
        self.fetches.opening_partitions -= len(self.request.named)
        self.fetches.forget_connection(self.request.connection_id, self)

    def _try_again(self) -> None:
        self.fetches.walks.add(self.request.key, self.request.size, self._open(), self.answer.failed)

    def _open(self) -> Steps:
        """One may have ended meanwhile: of a connection that was closed just before, for example."""
        if self.has_ended:
            return
        self.end()
        error, session = self.fetches.open_session(self.request)
        if session is None:
            self.answer(error, {})
        else:
            yield from self.fetches.fetch_with(session, self.request._replace(max_wait_ms=0), self.answer)


class WaitingFetch:
    """A ShareFetch of a session. When its acknowledgements are stored it responds: with records, or when its time is over."""

    def __init__(self, fetches: ShareFetches, session: ShareSession, request: FetchRequest, answer: Answer) -> None:
        self.fetches = fetches
        self.session = session
        self.request = request
        self.answer = answer
        self.results: Results = {}
        self.found: list[SharePartition] = []  # of the session, and ready
        self.watched: list[SharePartition] = []  # those that wake it
        self.timer: Any = None
        self.is_stored = False  # its acknowledgements
        self.has_ended = request.is_gone  # nobody waits for its records any more
        self.done = False
        self._unready = 1  # share partitions whose state is being read, and the walk that finds them
        self._bytes_left = min(request.max_bytes, fetches.bytes_max)
        self._records_left = request.max_records
        self._something = False  # there are records, or an error
        self._is_trying = False  # the first walk that locks records
        self._tries_s: float | None = None  # when it began to try to lock records, the last time
        self._acquirable: set[TopicPartition] = set()  # of which it could lock records at the last try
        self._counts: GroupCounts | None = None

    def acknowledged(self, results: Results) -> None:
        """The acknowledgements are stored, or could not be."""
        self.results, self.is_stored = results, True
        if self.request.is_renewal or self.has_ended:
            self.finish()
        else:
            self._walk(len(self.session), self._find_partitions())

    def end(self) -> None:
        """Its session or its connection is gone: from now on it locks no records."""
        self.has_ended = True
        if self.is_stored:
            self.finish()

    def fail(self) -> None:
        """A fault has come."""
        self.finish(ErrorCode.UNKNOWN_SERVER_ERROR)

    def _walk(self, size: int, steps: Steps) -> None:
        self.fetches.walks.add(self.session.key, size, steps, self.fail)

    # -- the partitions of the session --

    def _find_partitions(self) -> Iterator[None]:
        """Find the session's partitions; those that are not ready are waited for."""
        rights = Rights(self.request.reads)
        for partition in self.session.walk():
            if self.done:
                return
            self._find(rights, partition)
            yield
        self._one_is_ready()

    def _find(self, rights: Rights, partition: TopicPartition) -> None:
        if not rights.may(partition[0]):
            self._failed(partition, ErrorCode.TOPIC_AUTHORIZATION_FAILED)
            return
        error, share_partition = self.fetches.partitions.find(self.session.key.group_id, partition)
        if share_partition is None:
            self._failed(partition, error)
        else:
            self._unready += 1
            share_partition.when_ready(partial(self._ready, partition, share_partition))

    def _ready(self, partition: TopicPartition, share_partition: SharePartition, error: ErrorCode) -> None:
        if self.done:
            return
        try:
            if error:
                self._failed(partition, error)
            else:
                self.found.append(share_partition)
                self._attach(partition, share_partition)
            self._one_is_ready()
        except Exception as fault:  # noqa: BLE001 the fetch would wait for good
            self.fetches.partitions.on_fault(fault)
            self.fail()

    def _one_is_ready(self) -> None:
        self._unready -= 1
        if not self._unready and not self.done:
            self._walk(len(self.found), self._first_try())

    def _attach(self, partition: TopicPartition, share_partition: SharePartition) -> None:
        """Reactors may handle the next requests of the session."""
        if share_partition.in_flight is not None:
            share_partition.publish_terms()
            self.session.attach(partition, share_partition.in_flight)
            self._counts = share_partition.group_counts

    def _has_something(self) -> bool:
        return self._something

    def _failed(self, partition: TopicPartition, error: ErrorCode) -> None:
        self._something = True
        self.results.setdefault(partition, PartitionResult()).error = error

    # -- records --

    def _first_try(self) -> Iterator[None]:
        """Lock records, one partition after the other, until the request has enough. Those that have none are watched from the
        same step on: nothing that comes between two steps is missed."""
        waits = self.request.max_wait_ms > 0 and self.request.wants_records
        is_full = False
        self._is_trying = True
        for each in self.found:
            if self.done:
                return
            if self._bytes_left <= 0 or self._records_left <= 0:
                break
            end = end_offsets(each)  # before: what is appended from here on wakes this fetch
            is_full = is_full or self._lock_records(each)
            if waits and not self._has_something():
                self.watched.append(each)
                self.fetches.partitions.wait(self, each, end)
            yield
        if self.done:
            return
        self._is_trying = False
        if self._acquirable:
            self._count_try()
        if self.request.max_wait_ms <= 0 or self._has_something():
            self.finish()
            return
        self.timer = self.fetches.loop.call_later(self.request.max_wait_ms / 1000, self.finish)
        self.fetches.partitions.look()

    def _lock_records(self, share_partition: SharePartition) -> bool:
        """Returns whether no more records can be locked, of any share partition."""
        if self._tries_s is None:
            self._tries_s = self.fetches.loop.now()
        if self.fetches.partitions.is_full():
            return True
        place = (share_partition.key.topic_id, share_partition.key.partition)
        self._acquirable.discard(place)
        if share_partition.error:
            self._failed(place, share_partition.error)
            return False
        wanted = Wanted(self._bytes_left, self._records_left, self.request.batch_size, self.request.strict)
        try:
            delivered = share_partition.fetch(self.session.key.member_id, wanted)
        except OSError:  # StorageFailure: the log has told the operator
            self._acquirable.add(place)
            self._failed(place, ErrorCode.KAFKA_STORAGE_ERROR)
            return False
        if delivered.acquirable:
            self._acquirable.add(place)
        if delivered.acquired:
            self._something = True
            result = self.results.setdefault(place, PartitionResult())
            result.records, result.acquired, _ = delivered
            self._bytes_left -= len(delivered.records)
            self._records_left -= sum(got.last_offset - got.first_offset + 1 for got in delivered.acquired)
            self.session.served(place)
        return False

    def wake(self, partition: SharePartition) -> bool:
        """The partition has changed. Returns whether it had something for this fetch, and so may have something for others."""
        if self.done or self._has_something():
            return True
        self._lock_records(partition)
        if self._acquirable and not self._is_trying:
            self._count_try()
        if not self._has_something():
            return False
        self.finish()
        return True

    # -- for the metrics of the group --

    def _count_try(self) -> None:
        """It could lock records, or ends, after it has tried for so long."""
        now_s = self.fetches.loop.now()
        if self._counts is not None and self._tries_s is not None:
            self._counts.acquired(now_s - self._tries_s)
        self._tries_s = now_s

    def _count_end(self) -> None:
        if self._tries_s is None:
            return  # it never tried
        if self._is_trying or not self._acquirable:
            self._count_try()
        if self._counts is not None:
            self._counts.fetch_ended(len(self._acquirable), len(self.session))

    # -- the end --

    def finish(self, error: ErrorCode = ErrorCode.NONE) -> None:
        """Respond with what there is. From now on it locks no records."""
        if self.done:
            return
        self.done = True
        if self.timer is not None:
            self.timer.cancel()
        self._count_end()
        self.fetches.forget(self)
        is_told_all = self.request.epoch == FIRST_EPOCH and not self.request.is_renewal and not error
        size = len(self.watched) + (len(self.session) if is_told_all else 0)
        self.fetches.walks.add_apart(size, self._finish(error, is_told_all=is_told_all), self.answer.failed)

    def _finish(self, error: ErrorCode, *, is_told_all: bool) -> Iterator[None]:
        for each in self.watched:
            self.fetches.partitions.end_wait(self, each)
            yield
        if is_told_all:
            for partition in self.session.walk():  # a new session is told about all of its partitions, as in Kafka
                self.results.setdefault(partition, PartitionResult())
                yield
        self.answer(error, {} if error else self.results)
