"""CreatePartitions.

`count` is the new total. Manual assignments name the replicas of the new partitions only. With `validate_only`, or a timeout that
is not positive, nothing is changed. Deviation: as with CreateTopics, a few topics are extended in each transaction, and clients
see new partitions when all of them have logs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka_cy.api.authorization import TOPIC_DENIED, may_topic
from kafka_cy.api.batch_limit import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS
from kafka_cy.api.change_lines import log_each
from kafka_cy.api.change_pieces import (
    ENTRIES_AT_ONCE,
    PIECE_ENTITIES,
    TOPIC_AT_ONCE_MAX,
    add_task,
    counted,
    has_passed,
    in_steps,
    is_quick,
    one_answer,
    pieces_of,
    stored_together,
    when_free,
    with_lines,
)
from kafka_cy.api.mutation_quota import MutationQuota
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_creation import TopicRefused, automatic_replicas, check_replicas
from kafka_cy.authorizer.acls import Operation
from kafka_cy.cluster.new_partitions import problem_of_assignments, problem_of_count
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.create_partitions.v3.request import CreatePartitionsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTopics
    from kafka_cy.cluster.topics import Topic


STRICT_FROM: Final = 3  # KIP-599


class TooManyRecords(TopicRefused):
    """One topic asks for more than a request may: the whole request is refused."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.POLICY_VIOLATION, TOO_MANY_RECORDS)


class Existing(NamedTuple):
    """A topic as it is."""

    partitions: int
    replicas: Sequence[int]  # of its partition 0


class Planned(NamedTuple):
    """A topic that passed the checks."""

    asked: Any  # of the request
    known: Topic | None  # as it was then; a change of the topic makes another object
    assignment: list[list[int]]  # the replicas of the new partitions


@handler(api_key=37)
def handle(request: Request[CreatePartitionsRequest], context: ChangesTopics) -> dict[str, Any] | None:
    """Extend each topic; an error of one does not affect the others. Too many new partitions refuse the whole request."""
    body = request.body
    if has_passed(body.timeout):
        late = {"error_code": ErrorCode.REQUEST_TIMED_OUT, "error_message": None}
        return one_answer(
            request, len(body.topics), lambda: {"results": [{"name": topic.name, **late} for topic in body.topics]}
        )
    extension = Extension(request, context)
    if len(body.topics) <= PIECE_ENTITIES and extension.is_quick():
        for _ in extension.steps():
            pass
        return extension.response()

    def extend_many(ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        add_task(request, context.slices, extension.steps(), lambda: ready(extension.response))

    request.respond_long(extend_many)
    return None


class Extension:
    """What one request adds. `steps` is a task for slices, then comes `response`."""

    def __init__(self, request: Request[CreatePartitionsRequest], context: ChangesTopics) -> None:
        self._request = request
        self._context = context
        self._quota = MutationQuota(request, context.quotas, strict_from=STRICT_FROM)
        self._times: Mapping[Any, int] = {}  # how often the request names a topic
        self._excess: TopicRefused | None = None  # why the whole request is too large
        self._results: dict[str, TopicRefused | None] = {}
        self._planned: dict[str, Planned] = {}  # with RECORDS_PER_REQUEST_MAX new partitions at most
        self._extended: list[dict[str, Any]] = []  # for the log

    def steps(self) -> Iterator[object]:
        """Check all topics, then extend them."""
        self._excess = yield from self._check_all()
        if self._excess is None and not self._request.body.validate_only:
            yield from with_lines(self._extend_all(), self._write_lines)

    def is_quick(self) -> bool:
        """Whether everything can be added at once: the topics get few partitions, and do not have many."""
        topics = self._request.body.topics
        known = self._context.cluster.topics
        sizes = [(topic.count, len(known[topic.name].partitions)) for topic in topics if topic.name in known]
        added = sum(max(0, count - existing) for count, existing in sizes)
        names, validate_only = [topic.name for topic in topics], self._request.body.validate_only
        is_large = added and not validate_only and sum(existing for _, existing in sizes) > TOPIC_AT_ONCE_MAX
        return not is_large and is_quick(self._context.topic_changes, names, added, validate_only=validate_only)

    def _extend_all(self) -> Iterator[object]:
        changes = self._context.topic_changes
        for piece in pieces_of(list(self._planned), lambda name: len(self._planned[name].assignment)):
            yield from self._make_current(piece)
            with stored_together(changes.batch(in_steps=True), self._extended) as extended:
                for name in piece:
                    if self._results[name] is None:
                        self._extend(name, extended)
            yield from changes.announce_in_steps()
            yield None

    def _write_lines(self) -> None:
        log_each(self._context.log, "partitions added", self._extended, self._request.sender)

    def _check_all(self) -> Generator[object, None, TopicRefused | None]:
        """Plan the topics that can be extended. Returns why there is too much to store."""
        left = RECORDS_PER_REQUEST_MAX
        work = 0
        self._times = yield from counted(topic.name for topic in self._request.body.topics)
        for topic in self._request.body.topics:
            if topic.name in self._results:
                continue
            yield from self._when_free([topic.name])
            added = yield from self._check(topic)
            left -= added
            if left < 0:
                self._planned.clear()
                return TooManyRecords()
            work += ENTRIES_AT_ONCE // PIECE_ENTITIES + added + len(topic.assignments or ())
            if work >= ENTRIES_AT_ONCE:
                work = 0
                yield None
        return None

    def _check(self, topic: Any) -> Generator[None, None, int]:
        """Plan it, or note why it is refused. Returns how many partitions are added."""
        self._results[topic.name] = None
        try:
            if self._times[topic.name] > 1:
                raise TopicRefused(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
            if not may_topic(self._request, Operation.ALTER, topic.name):
                raise TopicRefused(TOPIC_DENIED, None)
            self._planned[topic.name] = yield from self._plan(topic, self._quota)
        except TooManyRecords:
            return RECORDS_PER_REQUEST_MAX + 1  # as many as it takes to refuse the request
        except TopicRefused as refused:
            self._results[topic.name] = refused.with_traceback(None)  # it would keep the frames
            return 0
        return len(self._planned[topic.name].assignment)

    def _plan(self, topic: Any, quota: MutationQuota | None) -> Generator[None, None, Planned]:
        """In steps. Raises TopicRefused."""
        cluster = self._context.cluster
        known, existing = cluster.topics.get(topic.name), self._existing(topic.name)
        if existing is None:
            raise TopicRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, None)
        problem = problem_of_count(topic.name, existing.partitions, topic.count)
        if problem is not None:
            raise TopicRefused(ErrorCode.INVALID_PARTITIONS, problem)
        added, replication = topic.count - existing.partitions, len(existing.replicas)
        if quota is not None:
            quota.take(added)
        if topic.assignments is None:
            replicas = automatic_replicas(cluster, added, replication, existing.partitions, existing.replicas[0])
        else:
            replicas = _manual_replicas(topic, added, replication, frozenset(cluster.broker_ids))
        made = yield from in_steps(replicas)
        return Planned(topic, known, made)

    def _existing(self, name: str) -> Existing | None:
        """What a topic has now; None: it does not exist. Raises TopicRefused."""
        known = self._context.cluster.topics.get(name)
        return None if known is None else Existing(len(known.partitions), known.partitions[0].replicas)

    def _when_free(self, names: Sequence[str]) -> Iterable[object]:
        return when_free(self._context.topic_changes, names)

    def _make_current(self, names: Sequence[str]) -> Iterator[object]:
        """Another request may have changed topics since they were checked: those are checked again."""
        topics = self._context.cluster.topics
        while True:
            yield from self._when_free(names)
            changed = [
                name for name in names if self._results[name] is None and self._planned[name].known is not topics.get(name)
            ]
            if not changed:
                return
            for name in changed:
                try:
                    self._planned[name] = yield from self._plan(self._planned[name].asked, None)
                except TopicRefused as refused:
                    self._results[name] = refused

    def _extend(self, name: str, extended: list[dict[str, Any]]) -> None:
        _, known, assignment = self._planned[name]
        assert known is not None
        before = len(known.partitions)
        self._context.topic_changes.create_partitions(name, assignment)
        extended.append({"topic": name, "added": len(assignment), "partitions": before + len(assignment)})

    def response(self) -> dict[str, Any]:
        """One result for each topic, in the order of the request."""
        if self._excess is not None:
            return {"results": [_result(name, self._excess) for name in self._times]}
        return {"results": [_result(name, refused) for name, refused in self._results.items()]}


def _result(name: str, refused: TopicRefused | None) -> dict[str, Any]:
    code, message = (ErrorCode.NONE, None) if refused is None else (refused.code, refused.message)
    return {"name": name, "error_code": code, "error_message": message}


def _manual_replicas(topic: Any, added: int, replication: int, brokers: frozenset[int]) -> Iterator[list[int]]:
    """The replicas of each new partition, checked when they are asked for. Raises TopicRefused then."""
    problem = problem_of_assignments(added, len(topic.assignments))
    if problem is not None:
        raise TopicRefused(ErrorCode.INVALID_REPLICA_ASSIGNMENT, problem)
    if added > RECORDS_PER_REQUEST_MAX:
        raise TooManyRecords
    for assignment in topic.assignments:
        check_replicas(assignment.broker_ids, brokers)
        if len(assignment.broker_ids) != replication:
            raise TopicRefused(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"The manual partition assignment includes a partition with {len(assignment.broker_ids)} replica(s), "
                f"but this is not consistent with previous partitions, which have {replication} replica(s).",
            )
        yield list(assignment.broker_ids)
