"""DeleteTopics.

Topics are deleted by name, and from version 6 on by id. The logs are renamed at once and removed after
`file.delete.delay.ms`. With `delete.topic.enable=false`, or a timeout that is not positive, nothing is deleted. Deviation: as with
CreateTopics, a few topics are deleted in each transaction. Clients do not see them from then on; their logs are renamed a few at
a time before the response is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from kafka_cy.api.authorization import MESSAGES, TOPIC_DENIED, may_cluster, may_topic
from kafka_cy.api.change_lines import log_each
from kafka_cy.api.change_pieces import (
    NAMES_AT_ONCE,
    PIECE_ENTITIES,
    add_task,
    has_passed,
    is_quick,
    one_answer,
    pieces_of,
    stored_together,
    when_free,
    with_lines,
)
from kafka_cy.api.id_keys import id_key
from kafka_cy.api.mutation_quota import MutationQuota
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_creation import TopicRefused
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from uuid import UUID

    from kio.schema.delete_topics.v5.request import DeleteTopicsRequest as DeleteTopicsRequestV5
    from kio.schema.delete_topics.v6.request import DeleteTopicsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTopics
    from kafka_cy.cluster.topics import Topic

    Wanted = tuple[str | None, UUID | None, int]  # name or id, and how often the request names it


STRICT_FROM: Final = 5  # KIP-599
BOTH_WAYS: Final = "The provided topic name maps to an ID that was already supplied."


@handler(api_key=20)
def handle(request: Request[DeleteTopicsRequest], context: ChangesTopics) -> dict[str, Any] | None:
    """Delete each topic; an error of one does not affect the others."""
    code = deletion_disabled(request, context)
    if code is None and has_passed(request.body.timeout):
        code = ErrorCode.REQUEST_TIMED_OUT
    if code is not None:
        return refuse_all(request, code)
    deletion = Deletion(request, context)
    if deletion.is_quick():
        for _ in deletion.steps():
            pass
        return deletion.response()

    def delete_many(ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        add_task(request, context.slices, deletion.steps(), lambda: ready(deletion.response))

    request.respond_long(delete_many)
    return None


def deletion_disabled(request: Request[Any], context: ChangesTopics) -> ErrorCode | None:
    """The answer if topics cannot be deleted at all."""
    if context.config["delete.topic.enable"]:
        return None
    return ErrorCode.TOPIC_DELETION_DISABLED if request.api_version >= 3 else ErrorCode.INVALID_REQUEST


def refuse_all(request: Request[Any], code: ErrorCode) -> dict[str, Any] | None:
    """The same answer for all topics."""

    def make() -> dict[str, Any]:
        return {"responses": [_refused(name, topic_id, code) for name, topic_id in asked_of(request)]}

    return one_answer(request, asked_count(request), make)


def asked_count(request: Request[Any]) -> int:
    """How many topics a request of any version names."""
    return len(request.body.topics if request.api_version >= 6 else request.body.topic_names)


def asked_of(request: Request[Any]) -> Iterator[tuple[str | None, UUID | None]]:
    """Their names or ids."""
    if request.api_version >= 6:
        return ((topic.name, topic.topic_id) for topic in request.body.topics)
    return ((name, None) for name in cast("DeleteTopicsRequestV5", request.body).topic_names)


class Deletion:
    """What one request deletes. `steps` is a task for slices, then comes `response`."""

    def __init__(self, request: Request[DeleteTopicsRequest], context: ChangesTopics) -> None:
        self._request = request
        self._context = context
        self._quota = MutationQuota(request, context.quotas, strict_from=STRICT_FROM)
        self._responses: list[dict[str, Any]] = []
        self._deleted: list[dict[str, Any]] = []  # for the log

    def steps(self) -> Iterator[object]:
        """Delete the topics."""
        wanted = yield from self._distinct()
        yield None
        yield from with_lines(self._delete_all(wanted), self._write_lines)

    def _distinct(self) -> Generator[None, None, list[Wanted]]:
        """What the request names, each once. A topic that it names by its name and by its id is refused."""
        topics = self._context.cluster.topics
        times: Counter[tuple[str | None, Any]] = Counter()
        ids: dict[tuple[str | None, Any], UUID | None] = {}
        for count, (name, topic_id) in enumerate(asked_of(self._request), 1):
            key = id_key(topic_id)
            times[name, key] += 1
            ids[name, key] = topic_id
            if count % NAMES_AT_ONCE == 0:
                yield
        both_ways: dict[str, Any] = {}  # names -> keys
        for count, (name, _) in enumerate(times, 1):
            topic = topics.get(name) if name is not None else None
            is_both = topic is not None and topic.name not in both_ways and (None, id_key(topic.id)) in ids
            if is_both and topic is not None and _denied(self._request, topic.name, topic) is None:
                both_ways[topic.name] = id_key(topic.id)
                self._responses.append(_refused(name, topic.id, ErrorCode.INVALID_REQUEST, BOTH_WAYS))
            if count % NAMES_AT_ONCE == 0:
                yield
        refused_ids = set(both_ways.values())
        wanted: list[Wanted] = []
        for count, ((name, key), often) in enumerate(times.items(), 1):
            if name not in both_ways and (name is not None or key not in refused_ids):
                wanted.append((name, ids[name, key], often))
            if count % NAMES_AT_ONCE == 0:
                yield
        return wanted

    def is_quick(self) -> bool:
        """Whether everything can be deleted at once."""
        if asked_count(self._request) > PIECE_ENTITIES:
            return False
        asked = list(asked_of(self._request))
        known = [topic for topic in (_find(self._context, *each) for each in asked) if topic is not None]
        names = {topic.name for topic in known} | {name for name, _ in asked if name is not None}
        return is_quick(self._context.topic_changes, names, sum(len(topic.partitions) for topic in known))

    def _delete_all(self, wanted: Sequence[Wanted]) -> Iterator[object]:
        changes = self._context.topic_changes
        for piece in pieces_of(wanted, self._partitions_of):
            yield from when_free(changes, [name for name in (self._name_of(each) for each in piece) if name is not None])
            with stored_together(changes.batch(in_steps=True), self._deleted) as deleted:
                for each in piece:
                    response = _delete(*each, self._request, self._context, self._quota)
                    self._responses.append(response)
                    if response["error_code"] is ErrorCode.NONE:
                        deleted.append({"topic": response["name"], "id": response["topic_id"]})
            yield from changes.announce_in_steps()
            yield None

    def _write_lines(self) -> None:
        log_each(self._context.log, "topic deleted", self._deleted, self._request.sender)

    def _name_of(self, wanted: Wanted) -> str | None:
        topic = _find(self._context, *wanted[:2])
        return wanted[0] if topic is None else topic.name

    def _partitions_of(self, wanted: Wanted) -> int:
        topic = _find(self._context, *wanted[:2])
        return 0 if topic is None else len(topic.partitions)

    def response(self) -> dict[str, Any]:
        """One entry for each topic."""
        return {"responses": self._responses}


def _find(context: ChangesTopics, name: str | None, topic_id: UUID | None) -> Topic | None:
    if name is not None:
        return context.cluster.topics.get(name)
    return None if topic_id is None else context.cluster.topic_by_id.get(topic_id)


def _denied(request: Request[Any], name: str, topic: Topic | None) -> Operation | None:
    """The right that the sender lacks: DESCRIBE, without which it must not learn whether the topic exists, or DELETE."""
    if may_cluster(request, Operation.DELETE, log_denied=False):
        return None
    if not may_topic(request, Operation.DESCRIBE, name):
        return Operation.DESCRIBE
    return None if topic is None or may_topic(request, Operation.DELETE, name) else Operation.DELETE


def _delete(
    name: str | None, topic_id: Any, times: int, request: Request[Any], context: ChangesTopics, quota: MutationQuota
) -> dict[str, Any]:
    if times > 1:
        return _refused(
            name,
            topic_id,
            ErrorCode.INVALID_REQUEST,
            "Duplicate topic name." if name is not None else "Duplicate topic id.",
        )
    if (name is None) == (topic_id is None):
        message = (
            "Neither topic name nor id were specified."
            if name is None
            else "You may not specify both topic name and topic id."
        )
        return _refused(name, topic_id, ErrorCode.INVALID_REQUEST, message)
    topic = _find(context, name, topic_id)
    known_name = topic.name if topic is not None else name
    lacks = _denied(request, known_name, topic) if known_name is not None else None
    if lacks is not None:
        shown = name if lacks is Operation.DESCRIBE else known_name
        return _refused(shown, topic_id, TOPIC_DENIED, MESSAGES[TOPIC_DENIED])
    if topic is None:
        code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if name is not None else ErrorCode.UNKNOWN_TOPIC_ID
        what = "topic-partition" if name is not None else "topic ID"
        return _refused(name, topic_id, code, f"This server does not host this {what}.")
    try:
        quota.take(len(topic.partitions))
    except TopicRefused as refused:
        return _refused(name, topic_id, refused.code, refused.message)
    context.topic_changes.delete_topic(topic.name)
    return {"name": topic.name, "topic_id": topic.id, "error_code": ErrorCode.NONE, "error_message": None}


def _refused(name: str | None, topic_id: Any, code: ErrorCode, message: str | None = None) -> dict[str, Any]:
    return {"name": name, "topic_id": topic_id, "error_code": code, "error_message": message}
