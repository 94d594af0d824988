"""CreateTopics, DeleteTopics and CreatePartitions in a cluster with ZooKeeper: the controller's, NOT_CONTROLLER elsewhere.

The checks and the responses are those of a broker by itself. What is stored is the topic; its partitions get leaders by the
controller's watch. As in Kafka, the response waits until this broker's metadata show the leaders (the deletion), for the time-out
of the request at most: then the topic has REQUEST_TIMED_OUT, and is created nevertheless. A time-out that is not positive means
the same without waiting; a broker by itself changes nothing then, as Kafka with KRaft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from kafka_cy.api import create_partitions, create_topics, delete_topics
from kafka_cy.api.change_lines import log_each
from kafka_cy.api.change_pieces import add_task, has_passed, one_answer
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_creation import TopicRefused, check_name
from kafka_cy.cluster.member_cache import NO_ID
from kafka_cy.cluster.topics import PartitionMetadata, Topic
from kafka_cy.cluster.znodes import new_id
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from uuid import UUID

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTopicsOfCluster
    from kafka_cy.controller.operator_events import Outcome

TOPICS_AT_ONCE: Final = 16  # stored before other requests have their turn
NOT_CONTROLLER: Final = TopicRefused(ErrorCode.NOT_CONTROLLER, None)
TIMED_OUT: Final = TopicRefused(ErrorCode.REQUEST_TIMED_OUT, None)


class _Pending:
    """What the controller is asked for one request; `done` once it has answered everything and the metadata show it."""

    def __init__(self, context: ChangesTopicsOfCluster, timeout: timedelta, refused: Callable[[str, TopicRefused], object]) -> None:
        """`refused(topic, why)`: the topic was not changed, or not in time."""
        self._context, self._timeout, self._refused = context, timeout, refused
        self._unanswered = 0
        self._is_complete = False
        self._waits: dict[str, Callable[[Topic | None], bool]] = {}
        self._done: Callable[[], object] = lambda: None

    def ask(
        self, name: str, ask: Callable[[Callable[[Outcome], object]], object], is_there: Callable[[Topic | None], bool]
    ) -> None:
        """Ask the controller for one topic. `is_there(topic)`: the metadata show the change."""
        self._unanswered += 1
        self._waits[name] = is_there
        ask(partial(self._answered, name))

    def _answered(self, name: str, outcome: Outcome) -> None:
        self._unanswered -= 1
        if outcome.error is not ErrorCode.NONE:
            del self._waits[name]
            self._refused(name, TopicRefused(outcome.error, outcome.message))
        self._look()

    def finish(self, request: Request[Any], done: Callable[[], object]) -> None:
        """Everything was asked for. The request waits without its turn: others must not wait for the leaders of its topics."""
        self._done, self._is_complete = request.guarded(done), True
        request.end_turn()
        self._look()

    def _look(self) -> None:
        if not self._is_complete or self._unanswered:
            return
        if has_passed(self._timeout):
            self._waited(list(self._waits))  # nobody waits: the work goes on, whether it is there already or not
        else:
            self._context.member.waits.wait(self._waits, self._timeout / timedelta(milliseconds=1), self._waited)

    def _waited(self, late: Sequence[str]) -> None:
        for name in late:
            self._refused(name, TIMED_OUT)
        self._done()


def _have_leaders(topic: Topic | None, count: int) -> bool:
    return topic is not None and len(topic.partitions) >= count and all(each.leader >= 0 for each in topic.partitions)


# -- CreateTopics --


class _Creation(create_topics.Creation):
    """As of a broker by itself, but for the storing."""

    def __init__(self, request: Request[Any], context: ChangesTopicsOfCluster) -> None:
        super().__init__(request, context)
        self._member = context.member
        self._failed: dict[str, TopicRefused] = {}  # topics that the controller was asked for
        self.pending = _Pending(context, request.body.timeout, self._refuse)

    def _create_all(self) -> Iterator[object]:
        for count, topic in enumerate(self._planned):
            try:
                check_name(self._context.cluster, topic.name)
                self._quota.take(len(topic.assignment))
                self._ask(topic)
            except TopicRefused as refused:
                self._results.append(create_topics._refused(topic.name, refused))
            if count % TOPICS_AT_ONCE == TOPICS_AT_ONCE - 1:
                yield None

    def _ask(self, topic: create_topics.Planned) -> None:
        """The controller may refuse at once: the result is there before."""
        name, topic_id = topic.name, new_id() if self._member.controller.gives_topic_ids else NO_ID
        self._results.append(self._result(topic, topic_id))
        if not self._request.body.validate_only:
            # Of the partitions, the line in the log has the number and the number of replicas.
            partitions = [PartitionMetadata(0, -1, 0, topic.assignment[0], [])] * len(topic.assignment)
            self._created.append(Topic(name, topic_id, partitions, topic.configs))
            create = self._member.controller.create_topic
            self.pending.ask(
                name,
                lambda done: create(name, topic.assignment, topic.configs, done, topic_id),
                lambda known: _have_leaders(known, len(topic.assignment)),
            )

    def _result(self, topic: create_topics.Planned, topic_id: UUID) -> dict[str, Any]:
        return {
            "name": topic.name,
            "topic_id": topic_id,
            "error_code": ErrorCode.NONE,
            "error_message": None,
            "num_partitions": len(topic.assignment),
            "replication_factor": len(topic.assignment[0]),
            "configs": topic.configs,
        }

    def _refuse(self, name: str, refused: TopicRefused) -> None:
        self._failed[name] = refused

    def response(self) -> dict[str, Any]:
        """With all settings of the topics."""
        failed = self._failed
        self._results = [
            create_topics._refused(each["name"], failed[each["name"]]) if each["name"] in failed else each
            for each in self._results
        ]
        return super().response()

    def _write_lines(self) -> None:
        """Nothing is stored yet."""

    def write_lines(self) -> None:
        """Everything is stored that will be: also what is late."""
        self._created = [each for each in self._created if self._failed.get(each.name) in (None, TIMED_OUT)]
        super()._write_lines()


@handler(api_key=19)
def create(request: Request[Any], context: ChangesTopicsOfCluster) -> dict[str, Any] | None:
    """CreateTopics."""
    body = request.body
    if not context.member.controller.is_active:
        return one_answer(
            request, len(body.topics),
            lambda: {
                "topics": [create_topics._refused(name, NOT_CONTROLLER) for name in {topic.name: None for topic in body.topics}]
            },
        )  # fmt: skip
    creation = _Creation(request, context)

    def prepare(ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        def done() -> None:
            creation.write_lines()
            ready(creation.response)

        add_task(request, context.slices, creation.steps(), lambda: creation.pending.finish(request, done))

    request.respond_long(prepare)
    return None


# -- DeleteTopics --


class _Deletion(delete_topics.Deletion):
    """As of a broker by itself, but for the storing."""

    def __init__(self, request: Request[Any], context: ChangesTopicsOfCluster) -> None:
        super().__init__(request, context)
        self._failed: dict[str, TopicRefused] = {}  # topics that the controller was asked for
        self.pending = _Pending(context, request.body.timeout, self._refuse)

    def _delete_all(self, wanted: Sequence[delete_topics.Wanted]) -> Iterator[object]:
        context = cast("ChangesTopicsOfCluster", self._context)
        for count, each in enumerate(wanted):
            response = delete_topics._delete(*each, self._request, cast("Any", _Recorded(context)), self._quota)
            self._responses.append(response)
            if response["error_code"] is ErrorCode.NONE:
                name = str(response["name"])
                self._deleted.append({"topic": name, "id": response["topic_id"]})
                delete = context.member.controller.delete_topic
                self.pending.ask(name, partial(delete, name), lambda known: known is None)
            if count % TOPICS_AT_ONCE == TOPICS_AT_ONCE - 1:
                yield None

    def _refuse(self, name: str, refused: TopicRefused) -> None:
        self._failed[name] = refused

    def response(self) -> dict[str, Any]:
        """One result for each topic."""
        for each in self._responses:
            refused = self._failed.get(each["name"])
            if refused is not None and each["error_code"] is ErrorCode.NONE:
                each |= {"error_code": refused.code, "error_message": refused.message}
        return super().response()

    def _write_lines(self) -> None:
        """Nothing is stored yet."""

    def write_lines(self) -> None:
        """Everything is stored that will be: also what is late."""
        self._deleted = [each for each in self._deleted if self._failed.get(each["topic"]) in (None, TIMED_OUT)]
        log_each(self._context.log, "topic deletion begun", self._deleted, self._request.sender)


class _Recorded:
    """A context whose topics are not changed: the caller asks the controller."""

    def __init__(self, context: ChangesTopicsOfCluster) -> None:
        self.cluster = context.cluster
        self.topic_changes = self

    def delete_topic(self, name: str) -> None:
        """See TopicChanges."""


@handler(api_key=20)
def delete(request: Request[Any], context: ChangesTopicsOfCluster) -> dict[str, Any] | None:
    """DeleteTopics."""
    is_active = context.member.controller.is_active
    code = delete_topics.deletion_disabled(request, context) if is_active else ErrorCode.NOT_CONTROLLER
    if code is not None:
        return delete_topics.refuse_all(request, code)
    deletion = _Deletion(request, context)

    def prepare(ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        def done() -> None:
            deletion.write_lines()
            ready(deletion.response)

        add_task(request, context.slices, deletion.steps(), lambda: deletion.pending.finish(request, done))

    request.respond_long(prepare)
    return None


# -- CreatePartitions --


class _Extension(create_partitions.Extension):
    """As of a broker by itself, but for the storing."""

    def __init__(self, request: Request[Any], context: ChangesTopicsOfCluster) -> None:
        super().__init__(request, context)
        self._member = context.member
        self.pending = _Pending(context, request.body.timeout, self._refuse)

    def steps(self) -> Iterator[object]:
        """Check all topics, then extend them."""
        self._excess = yield from self._check_all()
        if self._excess is not None or self._request.body.validate_only:
            return
        for count, planned in enumerate(list(self._planned.values())):
            self._ask(planned)
            if count % TOPICS_AT_ONCE == TOPICS_AT_ONCE - 1:
                yield None

    def _existing(self, name: str) -> create_partitions.Existing | None:
        """As the controller knows it: the metadata lack partitions that have had no leader yet."""
        known = self._member.controller.assignments(name)
        if known is None:
            return None
        if any(each.is_being_reassigned for each in known.values()):
            raise TopicRefused(
                ErrorCode.REASSIGNMENT_IN_PROGRESS, f"A partition reassignment is in progress for the topic '{name}'."
            )
        if 0 not in known:
            raise TopicRefused(
                ErrorCode.UNKNOWN_SERVER_ERROR,
                f"Unexpected existing replica assignment for topic '{name}', partition id 0 is missing.",
            )
        return create_partitions.Existing(len(known), known[0].replicas)

    def _when_free(self, names: Sequence[str]) -> Iterable[object]:
        """The controller's events follow each other."""
        return ()

    def _ask(self, planned: create_partitions.Planned) -> None:
        """The controller compares the count that is asked for with what is stored then."""
        name, count, assignment = planned.asked.name, planned.asked.count, planned.assignment
        self._extended.append({"topic": name, "added": len(assignment), "partitions": count})
        extend, is_manual = self._member.controller.create_partitions, planned.asked.assignments is not None
        self.pending.ask(
            name,
            lambda done: extend(name, count, assignment, done, is_manual=is_manual),
            lambda known: _have_leaders(known, count),
        )

    def _refuse(self, name: str, refused: TopicRefused) -> None:
        self._results[name] = refused

    def write_lines(self) -> None:
        """Everything is stored that will be: also what is late."""
        self._extended = [each for each in self._extended if self._results[each["topic"]] in (None, TIMED_OUT)]
        self._write_lines()


@handler(api_key=37)
def extend(request: Request[Any], context: ChangesTopicsOfCluster) -> dict[str, Any] | None:
    """CreatePartitions."""
    body = request.body
    if not context.member.controller.is_active:
        return one_answer(
            request, len(body.topics),
            lambda: {"results": [create_partitions._result(topic.name, NOT_CONTROLLER) for topic in body.topics]},
        )  # fmt: skip
    extension = _Extension(request, context)

    def prepare(ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        def done() -> None:
            extension.write_lines()
            ready(extension.response)

        add_task(request, context.slices, extension.steps(), lambda: extension.pending.finish(request, done))

    request.respond_long(prepare)
    return None
