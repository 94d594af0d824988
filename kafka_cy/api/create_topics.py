"""CreateTopics.

A topic has a partition count and a replication factor (-1: the broker's default) or a manual assignment, and configs.
`validate_only` checks everything and creates nothing. From version 5 on, the response contains the partition count, the
replication factor and all configs of the topic, and from version 7 on its id. The topic and its logs exist before the response is
sent. The timeout only matters if it has passed from the beginning: then nothing is created. A name that differs from another
topic's only in '.' and '_' is refused. Deviation: topics are created a few in each transaction, and other requests are served in
between; after a crash, a part of a large request that was not answered may exist. A topic with many partitions is stored, then
gets its logs a few at a time; clients see it when it has all of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka_cy.api.authorization import TOPIC_DENIED, may_cluster, may_topic
from kafka_cy.api.batch_limit import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS
from kafka_cy.api.change_lines import created_topic, log_each
from kafka_cy.api.change_pieces import (
    ENTRIES_AT_ONCE,
    NAMES_AT_ONCE,
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
from kafka_cy.api.config_alterations import TOPIC, warn_of_keys_without_effect
from kafka_cy.api.mutation_quota import MutationQuota
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_creation import (
    PARTITIONS_PER_REQUEST_MAX,
    TOO_MANY_PARTITIONS,
    TopicRefused,
    automatic_replicas,
    check_collision,
    check_configs,
    check_name,
    check_replicas,
)
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.create_topics.v7.request import CreateTopicsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTopics
    from kafka_cy.cluster.topics import Topic


STRICT_FROM: Final = 6  # KIP-599
TOPICS_AT_ONCE_MAX: Final = 4  # the settings in the response take about 0.3 ms each
CHECKED_AT_ONCE: Final = 16  # topics


class Planned(NamedTuple):
    """A topic that passed the checks."""

    name: str
    assignment: list[list[int]]
    configs: dict[str, str]


@handler(api_key=19)
def handle(request: Request[CreateTopicsRequest], context: ChangesTopics) -> dict[str, Any] | None:
    """Create or check each topic. A bad topic does not affect the others; too many topics refuse the whole request."""
    body = request.body
    if has_passed(body.timeout):
        late = TopicRefused(ErrorCode.REQUEST_TIMED_OUT, None)
        return one_answer(
            request, len(body.topics), lambda: {"topics": [_refused(topic.name, late) for topic in body.topics]}
        )
    creation = Creation(request, context)
    if len(body.topics) <= TOPICS_AT_ONCE_MAX and creation.is_quick():
        for _ in creation.steps():
            pass
        return creation.response()

    def create_many(ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        add_task(request, context.slices, creation.steps(), lambda: ready(creation.response))

    request.respond_long(create_many)
    return None


class Creation:
    """What one request creates. `steps` is a task for slices; then `response` may be called on any thread."""

    def __init__(self, request: Request[CreateTopicsRequest], context: ChangesTopics) -> None:
        self._request = request
        self._context = context
        self._times: Mapping[Any, int] = {}  # how often the request names a topic
        self._excess: TopicRefused | None = None  # why the whole request is too large
        self._quota = MutationQuota(request, context.quotas, strict_from=STRICT_FROM)
        self._may_create_all = may_cluster(request, Operation.CREATE, log_denied=False)
        self._results: list[dict[str, Any]] = []
        self._planned: list[Planned] = []
        self._created: list[Topic] = []

    def is_quick(self) -> bool:
        """Whether the topics, which are few, can be created at once."""
        body, default = self._request.body, int(self._context.config["num.partitions"])
        if sum(len(topic.configs) for topic in body.topics) > ENTRIES_AT_ONCE:
            return False
        asked = sum(partitions_of(topic, default) for topic in body.topics)
        names = [topic.name for topic in body.topics]
        return is_quick(self._context.topic_changes, names, asked, validate_only=body.validate_only)

    def steps(self) -> Iterator[object]:
        """Check all topics, then create them."""
        self._times = yield from counted(topic.name for topic in self._request.body.topics)
        self._excess = yield from self._too_many_partitions()
        if self._excess is None:
            self._excess = yield from self._check_all()
        if self._excess is None:
            yield from with_lines(self._create_all(), self._write_lines)

    def _too_many_partitions(self) -> Generator[None, None, TopicRefused | None]:
        """Why the request asks for too much. Before anything is planned, so that what is planned is bounded."""
        asked, default = 0, int(self._context.config["num.partitions"])
        for count, topic in enumerate(self._request.body.topics, 1):
            if self._times[topic.name] == 1:
                asked += partitions_of(topic, default)
            if asked > PARTITIONS_PER_REQUEST_MAX:
                return TopicRefused(ErrorCode.POLICY_VIOLATION, TOO_MANY_PARTITIONS)
            if count % NAMES_AT_ONCE == 0:
                yield
        return None

    def _check_all(self) -> Generator[None, None, TopicRefused | None]:
        """Plan the topics that can be created. Returns why there is too much to store."""
        left, default = RECORDS_PER_REQUEST_MAX, int(self._context.config["num.partitions"])
        named: set[str] = set()
        work = 0
        for topic in self._request.body.topics:
            if topic.name in named:
                continue
            named.add(topic.name)
            try:
                planned = yield from self._plan(topic)
                self._planned.append(planned)
                left -= 1 + len(planned.assignment) + len(planned.configs)
            except TopicRefused as refused:
                self._results.append(_refused(topic.name, refused))
            if left < 0:
                self._planned.clear()
                return TopicRefused(ErrorCode.POLICY_VIOLATION, TOO_MANY_RECORDS)
            work += ENTRIES_AT_ONCE // CHECKED_AT_ONCE + partitions_of(topic, default) + len(topic.configs)
            if work >= ENTRIES_AT_ONCE:
                work = 0
                yield
        return None

    def _create_all(self) -> Iterator[object]:
        changes = self._context.topic_changes
        for piece in pieces_of(self._planned, lambda each: len(each.assignment)):
            yield from when_free(changes, [each.name for each in piece])
            self._create_piece(piece)
            yield from changes.announce_in_steps()
            yield None

    def _plan(self, topic: Any) -> Generator[None, None, Planned]:
        if self._times[topic.name] > 1:
            raise TopicRefused(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
        if not self._may_create_all and not may_topic(self._request, Operation.CREATE, topic.name):
            raise TopicRefused(TOPIC_DENIED, None)
        check_name(self._context.cluster, topic.name)
        assignment = yield from _assignment(topic, self._context)
        configs = yield from _configs(topic)
        check_configs(self._context.config, topic.name, configs)
        return Planned(topic.name, assignment, configs)

    def _create_piece(self, piece: Sequence[Planned]) -> None:
        with stored_together(self._context.topic_changes.batch(in_steps=True), self._created) as created:
            for each in piece:
                try:
                    self._results.append(self._create(each, created))
                except TopicRefused as refused:
                    self._results.append(_refused(each.name, refused))

    def _create(self, topic: Planned, created: list[Topic]) -> dict[str, Any]:
        context = self._context
        check_name(context.cluster, topic.name)  # another request may have created it since it was checked
        check_collision(context.topic_changes, topic.name)  # with another topic of this piece
        self._quota.take(len(topic.assignment))
        topic_id = uuid.uuid4()  # with validate_only the id has no meaning
        if not self._request.body.validate_only:
            created.append(context.topic_changes.create_topic(topic.name, topic.assignment, topic.configs))
            topic_id = created[-1].id
        return {
            "name": topic.name,
            "topic_id": topic_id,
            "error_code": ErrorCode.NONE,
            "error_message": None,
            "num_partitions": len(topic.assignment),
            "replication_factor": len(topic.assignment[0]),
            "configs": topic.configs,
        }

    def _write_lines(self) -> None:
        context = self._context
        log_each(context.log, "topic created", [created_topic(topic) for topic in self._created], self._request.sender)
        # One warning for each key, however many topics of the request set it.
        settings = {key: (topic.name, text) for topic in self._created for key, text in topic.config.items()}
        for key, (name, text) in settings.items():
            warn_of_keys_without_effect(context, TOPIC, name, {key: text})

    def response(self) -> dict[str, Any]:
        """With all settings of the topics."""
        if self._excess is not None:
            return {"topics": [_refused(name, self._excess) for name in self._times]}
        return {"topics": [each if each["error_code"] else self._described(each) for each in self._results]}

    def _described(self, created: dict[str, Any]) -> dict[str, Any]:
        if may_topic(self._request, Operation.DESCRIBE_CONFIGS, created["name"], log_denied=False):
            return created | {"configs": topic_config_entries(self._context, created["configs"])}
        hidden = {"topic_config_error_code": TOPIC_DENIED, "num_partitions": -1, "replication_factor": -1, "configs": []}
        return created | hidden


def _refused(name: str, refused: TopicRefused) -> dict[str, Any]:
    return {"name": name, "error_code": refused.code, "error_message": refused.message, "configs": []}


def partitions_of(topic: Any, default: int) -> int:
    """How many partitions a topic of a request gets, if it is created. `default`: num.partitions."""
    return len(topic.assignments) or (default if topic.num_partitions == -1 else max(topic.num_partitions, 0))


def _configs(topic: Any) -> Generator[None, None, dict[str, str]]:
    configs: dict[str, str] = {}
    for count, entry in enumerate(topic.configs, 1):
        if entry.value is None:
            raise TopicRefused(ErrorCode.INVALID_CONFIG, f"Null value not supported for topic configs: {entry.name}")
        configs[entry.name] = entry.value
        if count % ENTRIES_AT_ONCE == 0:
            yield
    return configs


def _assignment(topic: Any, context: ChangesTopics) -> Generator[None, None, list[list[int]]]:
    """The replicas of each partition; there are PARTITIONS_PER_REQUEST_MAX at most."""
    if not topic.assignments:
        partitions, replication = topic.num_partitions, topic.replication_factor
        if partitions == -1:
            partitions = int(context.config["num.partitions"])
        if replication == -1:
            replication = int(context.config["default.replication.factor"])
        made = yield from in_steps(automatic_replicas(context.cluster, partitions, replication))
        return made
    for field, value in (("replication factor", topic.replication_factor), ("numPartitions", topic.num_partitions)):
        if value != -1:
            raise TopicRefused(
                ErrorCode.INVALID_REQUEST,
                f"A manual partition assignment was specified, but {field} was not set to -1.",
            )
    broker_ids = frozenset(context.cluster.broker_ids)
    by_index: dict[int, list[int]] = {}
    for count, entry in enumerate(topic.assignments, 1):
        if entry.partition_index in by_index:
            raise TopicRefused(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Found multiple manual partition assignments for partition {entry.partition_index}",
            )
        check_replicas(entry.broker_ids, broker_ids)
        by_index[entry.partition_index] = list(entry.broker_ids)
        if count % ENTRIES_AT_ONCE == 0:
            yield
    if min(by_index) != 0 or max(by_index) != len(by_index) - 1:
        raise TopicRefused(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT, "partitions should be a consecutive 0-based integer sequence"
        )
    if len({len(replicas) for replicas in by_index.values()}) > 1:
        raise TopicRefused(ErrorCode.INVALID_REPLICA_ASSIGNMENT, "Inconsistent replication factor between partitions")
    return [by_index[index] for index in range(len(by_index))]


def topic_config_entries(context: ChangesTopics, overrides: dict[str, str]) -> list[dict[str, Any]]:
    """All settings of a topic with these overrides, as the response lists them."""
    from kafka_cy.config.describe import describe_topic

    return [
        {
            "name": entry.key.name,
            "value": entry.value,
            "read_only": entry.read_only,
            "config_source": entry.source,
            "is_sensitive": entry.key.sensitive,
        }
        for entry in describe_topic(context.config, overrides)
    ]
