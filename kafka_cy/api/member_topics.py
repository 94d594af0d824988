"""CreateTopics, DeleteTopics and CreatePartitions in a cluster with ZooKeeper: the controller's, NOT_CONTROLLER elsewhere.

The checks and the responses are those of a broker by itself. What is stored is the topic; its partitions get leaders by the
controller's watch. As in Kafka, the response waits until this broker's metadata show the leaders (the deletion), for the time-out
of the request at most: then the topic has REQUEST_TIMED_OUT, and is created nevertheless, if ZooKeeper does not answer later. A
time-out that is not positive means the same without waiting; a broker by itself changes nothing then, as Kafka with KRaft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from kafka_cy.api import create_partitions, create_topics, delete_topics
from kafka_cy.api.change_lines import log_each
from kafka_cy.api.change_pieces import add_task, one_answer
from kafka_cy.api.pending_topics import TOO_MANY, TOPICS_AT_ONCE, PendingTopics, Refused, has_no_place
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_creation import TopicRefused, check_name
from kafka_cy.cluster.member_cache import NO_ID
from kafka_cy.cluster.topics import PartitionMetadata, Topic
from kafka_cy.cluster.znodes import new_id
from kafka_cy.controller.topic_requests import QUEUED_FOR_DELETION
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from uuid import UUID

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTopicsOfCluster

NOT_CONTROLLER: Final = TopicRefused(ErrorCode.NOT_CONTROLLER, None)
REPLICA_BYTES: Final = 8  # of an assignment
PARTITION_BYTES: Final = 100  # of an assignment, without its replicas


def _size_of(assignment: Sequence[Sequence[int]]) -> int:
    return PARTITION_BYTES * len(assignment) + REPLICA_BYTES * sum(map(len, assignment))


def _refusal(request: Request[Any], context: ChangesTopicsOfCluster) -> TopicRefused | None:
    """Why the whole request is refused before anything is planned."""
    if not context.member.controller.is_active:
        return NOT_CONTROLLER
    return TOO_MANY if has_no_place(request, context) else None


def _have_leaders(topic: Topic | None, count: int) -> bool:
    return topic is not None and len(topic.partitions) >= count and all(each.leader >= 0 for each in topic.partitions)


# -- CreateTopics --


class _Creation(create_topics.Creation):
    """As of a broker by itself, but for the storing."""

    def __init__(self, request: Request[Any], context: ChangesTopicsOfCluster) -> None:
        super().__init__(request, context)
        self._member = context.member
        self.pending = PendingTopics(context, request.body.timeout)

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
        """Ask for it later, when the result is there."""
        name, topic_id = topic.name, new_id() if self._member.controller.gives_topic_ids else NO_ID
        self._results.append(self._result(topic, topic_id))
        if not self._request.body.validate_only:
            # Of the partitions, the line in the log has the number and the number of replicas.
            partitions = [PartitionMetadata(0, -1, 0, topic.assignment[0], [])] * len(topic.assignment)
            self._created.append(Topic(name, topic_id, partitions, topic.configs))
            create = self._member.controller.create_topic
            settings = sum(len(key) + len(value) for key, value in topic.configs.items())
            self.pending.add(
                name,
                _size_of(topic.assignment) + settings,
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

    def response_of(self, refused: Refused) -> dict[str, Any]:
        """With all settings of the topics, and these that the controller refused or did not create in time."""
        self._results = [
            create_topics._refused(each["name"], refused[each["name"]])
            if each["name"] in refused and not each["error_code"]
            else each
            for each in self._results
        ]
        return super().response()

    def _write_lines(self) -> None:
        """Nothing is stored yet."""

    def write_lines(self, refused: Refused) -> None:
        """Everything is stored that will be."""
        self._created = [each for each in self._created if each.name not in refused]
        super()._write_lines()


@handler(api_key=19)
def create(request: Request[Any], context: ChangesTopicsOfCluster) -> dict[str, Any] | None:
    """CreateTopics."""
    body, why = request.body, _refusal(request, context)
    if why is not None:
        return one_answer(
            request, len(body.topics),
            lambda: {
                "topics": [create_topics._refused(name, why) for name in {topic.name: None for topic in body.topics}]
            },
        )  # fmt: skip
    creation = _Creation(request, context)

    def prepare(ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        def respond(refused: Refused) -> None:
            ready(lambda: creation.response_of(refused))

        def finish() -> None:
            creation.pending.finish(request, len(creation._results), respond, creation.write_lines)

        add_task(request, context.slices, creation.steps(), finish)

    request.respond_long(prepare)
    return None


# -- DeleteTopics --


class _Deletion(delete_topics.Deletion):
    """As of a broker by itself, but for the storing."""

    def __init__(self, request: Request[Any], context: ChangesTopicsOfCluster) -> None:
        super().__init__(request, context)
        self.pending = PendingTopics(context, request.body.timeout)

    def _delete_all(self, wanted: Sequence[delete_topics.Wanted]) -> Iterator[object]:
        context = cast("ChangesTopicsOfCluster", self._context)
        for count, each in enumerate(wanted):
            response = delete_topics._delete(*each, self._request, cast("Any", _Recorded(context)), self._quota)
            name = str(response["name"])
            if response["error_code"] is ErrorCode.NONE and name in self.pending:  # by name and by id: see _distinct
                code, message = ErrorCode.INVALID_REQUEST, delete_topics.BOTH_WAYS
                response = delete_topics._refused(name, response["topic_id"], code, message)
            self._responses.append(response)
            if response["error_code"] is ErrorCode.NONE:
                self._deleted.append({"topic": name, "id": response["topic_id"]})
                delete = context.member.controller.delete_topic
                by_id = None if each[1] is None else response["topic_id"]
                self.pending.add(name, 0, partial(delete, name, topic_id=by_id), lambda known: known is None)
            if count % TOPICS_AT_ONCE == TOPICS_AT_ONCE - 1:
                yield None

    def response_of(self, refused: Refused) -> dict[str, Any]:
        """One result for each topic, with these that the controller refused or did not delete in time."""
        for each in self._responses:
            why = refused.get(each["name"])
            if why is not None and each["error_code"] is ErrorCode.NONE:
                each |= {"error_code": why.code, "error_message": why.message}
        return super().response()

    def _write_lines(self) -> None:
        """Nothing is stored yet."""

    def write_lines(self, refused: Refused) -> None:
        """Everything is stored that will be."""
        self._deleted = [each for each in self._deleted if each["topic"] not in refused]
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
    if not context.member.controller.is_active:
        return delete_topics.refuse_all(request, ErrorCode.NOT_CONTROLLER)
    code = delete_topics.deletion_disabled(request, context)
    if code is None and has_no_place(request, context):
        code = TOO_MANY.code
    if code is not None:
        return delete_topics.refuse_all(request, code)
    deletion = _Deletion(request, context)

    def prepare(ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        def respond(refused: Refused) -> None:
            ready(lambda: deletion.response_of(refused))

        def finish() -> None:
            deletion.pending.finish(request, len(deletion._responses), respond, deletion.write_lines)

        add_task(request, context.slices, deletion.steps(), finish)

    request.respond_long(prepare)
    return None


# -- CreatePartitions --


class _Extension(create_partitions.Extension):
    """As of a broker by itself, but for the storing."""

    def __init__(self, request: Request[Any], context: ChangesTopicsOfCluster) -> None:
        super().__init__(request, context)
        self._member = context.member
        self.pending = PendingTopics(context, request.body.timeout)

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
        if self._member.controller.is_deleting(name):
            raise TopicRefused(ErrorCode.INVALID_TOPIC_EXCEPTION, QUEUED_FOR_DELETION)
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
        self.pending.add(
            name,
            _size_of(assignment),
            lambda done: extend(name, count, assignment, done, is_manual=is_manual),
            lambda known: _have_leaders(known, count),
        )

    def response_of(self, refused: Refused) -> dict[str, Any]:
        """One result for each topic, with these that the controller refused or did not extend in time."""
        self._results |= refused
        return self.response()

    def write_lines(self, refused: Refused) -> None:
        """Everything is stored that will be."""
        self._extended = [each for each in self._extended if each["topic"] not in refused]
        self._write_lines()


@handler(api_key=37)
def extend(request: Request[Any], context: ChangesTopicsOfCluster) -> dict[str, Any] | None:
    """CreatePartitions."""
    body, why = request.body, _refusal(request, context)
    if why is not None:
        return one_answer(
            request, len(body.topics),
            lambda: {"results": [create_partitions._result(topic.name, why) for topic in body.topics]},
        )  # fmt: skip
    extension = _Extension(request, context)

    def prepare(ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        def respond(refused: Refused) -> None:
            ready(lambda: extension.response_of(refused))

        def finish() -> None:
            extension.pending.finish(request, len(extension._results), respond, extension.write_lines)

        add_task(request, context.slices, extension.steps(), finish)

    request.respond_long(prepare)
    return None
