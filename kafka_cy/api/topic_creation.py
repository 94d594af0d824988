"""Checks of a new topic, which CreateTopics and the automatic creation by Metadata share."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from kafka_cy.api.batch_limit import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS
from kafka_cy.api.change_pieces import pieces_of, stored_together, when_free
from kafka_cy.cluster.metadata_cache import MetadataCache
from kafka_cy.cluster.topic_changes import TopicChanges
from kafka_cy.cluster.topic_names import INTERNAL_TOPICS, METADATA_TOPIC, problem_of
from kafka_cy.cluster.topics import Topic
from kafka_cy.protocol.errors import ErrorCode

PARTITIONS_PER_REQUEST_MAX = 10_000
TOO_MANY_PARTITIONS = "Excessively large number of partitions per request."


class TopicRefused(Exception):
    """A topic cannot be created or changed. Has the error code and the message of the response."""

    def __init__(self, code: ErrorCode, message: str | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def check_name(cluster: MetadataCache, name: str) -> None:
    """Raise TopicRefused for an invalid name, an existing topic, or a name that differs from another only in '.' and '_'."""
    problem = problem_of(name)
    if problem is not None:
        raise TopicRefused(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {problem}")
    if name == METADATA_TOPIC:
        raise TopicRefused(ErrorCode.INVALID_REQUEST, f"Creation of internal topic {name} is prohibited.")
    if name in cluster.topics:
        raise TopicRefused(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
    check_collision(cluster, name)


class Collisions(Protocol):
    """Topics, by the part of their names that tells metrics apart."""

    def collides_with(self, name: str) -> str | None:
        """A topic whose name differs from `name` only in '.' and '_'; None if there is none."""


def check_collision(topics: Collisions, name: str) -> None:
    """Raise TopicRefused for a name that differs from another only in '.' and '_'."""
    other = topics.collides_with(name)
    if other is not None:
        raise TopicRefused(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic '{name}' collides with existing topic: {other}")


def check_configs(config: Any, name: str, settings: Mapping[str, str]) -> None:
    """Raise TopicRefused (INVALID_CONFIG) for an unknown key or a value that the key does not allow."""
    from kafka_cy.api.config_alterations import TOPIC, AlterationError, validate_settings

    try:
        validate_settings(config, TOPIC, name, settings)
    except AlterationError as error:
        raise TopicRefused(error.code, error.message) from error


def automatic_assignment(
    cluster: MetadataCache, partitions: int, replication: int, first: int = 0, first_replica: int | None = None
) -> list[list[int]]:
    """See automatic_replicas."""
    return list(automatic_replicas(cluster, partitions, replication, first, first_replica))


def automatic_replicas(
    cluster: MetadataCache, partitions: int, replication: int, first: int = 0, first_replica: int | None = None
) -> Iterator[list[int]]:
    """Return the replicas of each partition, on brokers with a log directory that is not cordoned, made when they are asked for.

    Raises TopicRefused, at once, for counts that are not possible. `first`: how many partitions the topic has already;
    `first_replica`: the first replica of its partition 0.
    """
    if partitions <= 0:
        raise TopicRefused(
            ErrorCode.INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive value."
        )
    if partitions > PARTITIONS_PER_REQUEST_MAX:
        raise TopicRefused(ErrorCode.POLICY_VIOLATION, TOO_MANY_PARTITIONS)
    if replication <= 0:
        raise TopicRefused(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        )
    usable = cluster.usable_broker_ids()
    if not usable:
        problem = "All brokers are currently fenced, or have all their log directories cordoned."
    elif replication > len(usable):
        problem = (
            f"The target replication factor of {replication} cannot be reached because only {len(cluster.broker_ids)} "
            "broker(s) are registered or some brokers have all their log directories cordoned."
        )
    else:
        try:
            return cluster.assign(partitions, replication, first, first_replica)
        except ValueError as error:
            raise TopicRefused(ErrorCode.UNKNOWN_SERVER_ERROR, str(error)) from error
    if first == 0:
        problem = f"Unable to replicate the partition {replication} time(s): {problem}"
    raise TopicRefused(ErrorCode.INVALID_REPLICATION_FACTOR, problem)


def check_replicas(replicas: Sequence[int], broker_ids: Collection[int]) -> None:
    """Raise TopicRefused (INVALID_REPLICA_ASSIGNMENT) for a manual assignment that is not possible.

    It looks at one replica more than there are brokers, at most.
    """
    if not replicas:
        raise TopicRefused(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT, "The manual partition assignment includes an empty replica list."
        )
    seen: set[int] = set()
    for broker in replicas:
        if broker not in broker_ids:
            raise TopicRefused(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"The manual partition assignment includes broker {broker}, but no such broker is registered.",
            )
        if broker in seen:
            raise TopicRefused(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"The manual partition assignment includes the broker {broker} more than once.",
            )
        seen.add(broker)


def create_all_on_demand(
    cluster: MetadataCache, changes: TopicChanges, config: Any, names: Sequence[str], created: list[Topic]
) -> Iterator[object]:
    """Create those of the topics that can be created, a few at a time, and add them to `created`: a task for slices.

    Raises TopicRefused (POLICY_VIOLATION: too many topics and partitions together, as in Kafka): none of them was created.
    Raises StoreBroken: the others were not created.
    """
    partitions = int(config["num.partitions"])
    if len(names) * (1 + partitions) > RECORDS_PER_REQUEST_MAX and len(names) > 1:
        raise TopicRefused(ErrorCode.POLICY_VIOLATION, TOO_MANY_RECORDS)
    for piece in pieces_of(names, lambda _: partitions):
        yield from when_free(changes, piece)
        with stored_together(changes.batch(in_steps=True), created) as stored:
            for name in piece:
                with contextlib.suppress(TopicRefused):  # the response to the client says why
                    if name not in cluster.topics:
                        stored.append(create_on_demand(cluster, changes, config, name))
        yield from changes.announce_in_steps()
        yield None


class NewTopic(Protocol):
    """A topic that a part of the broker needs, with settings of its own. `replication_factor` 0 or -1: the broker's default."""

    @property
    def name(self) -> str: ...

    @property
    def partitions(self) -> int: ...

    @property
    def replication_factor(self) -> int: ...

    @property
    def configs(self) -> Sequence[tuple[str, str]]: ...


def create_with_settings(
    cluster: MetadataCache,
    changes: TopicChanges,
    config: Any,
    topics: Sequence[NewTopic],
    created: list[Topic],
    errors: dict[str, str],
) -> Iterator[object]:
    """Create those of the topics that can be created, a few at a time: a task for slices.

    Adds what was created to `created`. `errors` says why the others were not, by name; what is created leaves it. Raises
    StoreBroken: the others were not created.
    """
    size = sum(1 + each.partitions + len(each.configs) for each in topics)
    if sum(each.partitions for each in topics) > PARTITIONS_PER_REQUEST_MAX:
        errors.update({each.name: TOO_MANY_PARTITIONS for each in topics})
        return
    if size > RECORDS_PER_REQUEST_MAX:
        errors.update({each.name: TOO_MANY_RECORDS for each in topics})
        return
    for piece in pieces_of(topics, lambda each: each.partitions):
        yield from when_free(changes, [each.name for each in piece])
        before = len(created)
        with stored_together(changes.batch(in_steps=True), created) as stored:
            for each in piece:
                try:
                    stored.append(_create_with_settings(cluster, changes, config, each))
                except TopicRefused as refused:
                    errors[each.name] = refused.message or refused.code.name
        for topic in created[before:]:
            errors.pop(topic.name, None)
        yield from changes.announce_in_steps()
        yield None


def _create_with_settings(cluster: MetadataCache, changes: TopicChanges, config: Any, topic: NewTopic) -> Topic:
    check_name(cluster, topic.name)
    check_collision(changes, topic.name)
    replication = topic.replication_factor
    if replication in (0, -1):
        replication = int(config["default.replication.factor"])
    assignment = automatic_assignment(cluster, topic.partitions, replication)
    settings = dict(topic.configs)
    check_configs(config, topic.name, settings)
    return changes.create_topic(topic.name, assignment, settings)


def create_on_demand(cluster: MetadataCache, changes: TopicChanges, config: Any, name: str) -> Topic:
    """Create the topic of a metadata request with the broker's defaults. Raises TopicRefused."""
    if name in INTERNAL_TOPICS:
        from kafka_cy.cluster.internal_topics import ensure_internal_topic

        if name not in cluster.topics:
            automatic_assignment(cluster, 1, 1)
        return ensure_internal_topic(cluster, changes, config, name)
    check_name(cluster, name)
    check_collision(changes, name)
    replication = int(config["default.replication.factor"])
    assignment = automatic_assignment(cluster, int(config["num.partitions"]), replication)
    return changes.create_topic(name, assignment, {})
