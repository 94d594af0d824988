"""Checks of a new topic, which CreateTopics and the automatic creation by Metadata share."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from kafka_cy.cluster.assignment import assign_replicas
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


def automatic_assignment(broker_ids: Sequence[int], partitions: int, replication: int) -> list[list[int]]:
    """Return the replicas of each partition. Raises TopicRefused for counts that are not possible."""
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
    if replication > len(broker_ids):
        raise TopicRefused(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Unable to replicate the partition {replication} time(s): The target replication factor of {replication} "
            f"cannot be reached because only {len(broker_ids)} broker(s) are registered.",
        )
    return assign_replicas(broker_ids, partitions, replication)


def check_replicas(replicas: Sequence[int], broker_ids: Sequence[int]) -> None:
    """Raise TopicRefused (INVALID_REPLICA_ASSIGNMENT) for a manual assignment that is not possible."""
    if not replicas:
        raise TopicRefused(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT, "The manual partition assignment includes an empty replica list."
        )
    times = Counter(replicas)
    if len(times) != len(replicas):
        duplicate = next(broker for broker in replicas if times[broker] > 1)
        raise TopicRefused(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"The manual partition assignment includes the broker {duplicate} more than once.",
        )
    for broker in replicas:
        if broker not in broker_ids:
            raise TopicRefused(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"The manual partition assignment includes broker {broker}, but no such broker is registered.",
            )


def create_all_on_demand(cluster: MetadataCache, changes: TopicChanges, config: Any, names: Sequence[str]) -> list[Topic]:
    """Create those of the topics that can be created, in one transaction, and return them.

    Raises StoreBroken: none of them was created.
    """
    created = []
    with changes.batch():
        for name in names:
            with contextlib.suppress(TopicRefused):  # the response to the client says why
                if name not in cluster.topics:
                    created.append(create_on_demand(cluster, changes, config, name))
    return created


def create_on_demand(cluster: MetadataCache, changes: TopicChanges, config: Any, name: str) -> Topic:
    """Create the topic of a metadata request with the broker's defaults. Raises TopicRefused."""
    if name in INTERNAL_TOPICS:
        from kafka_cy.cluster.internal_topics import ensure_internal_topic

        return ensure_internal_topic(cluster, changes, config, name)
    check_name(cluster, name)
    check_collision(changes, name)
    replication = int(config["default.replication.factor"])
    assignment = automatic_assignment(cluster.broker_ids, int(config["num.partitions"]), replication)
    return changes.create_topic(name, assignment, {})
