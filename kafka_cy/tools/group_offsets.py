"""Committed offsets and log offsets of partitions, for the commands of `kafka-cy groups`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kafka_cy.base import coordinator_retry
from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, new_consumer, reason_of

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient


def committed_offsets(admin: AdminClient, bootstrap_servers: str, group: str) -> dict[tuple[str, int], int]:
    """The offsets that the group has committed, of topics that exist."""
    from confluent_kafka import TopicPartition

    topics = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    partitions = [TopicPartition(name, index) for name, topic in topics.items() for index in topic.partitions]
    if not partitions:
        return {}
    consumer = new_consumer(bootstrap_servers, {"group.id": group})
    try:
        return coordinator_retry.committed_offsets(consumer, partitions, REQUEST_TIMEOUT_S)
    finally:
        consumer.close()


def log_offsets(
    admin: AdminClient,
    partitions: list[tuple[str, int]],
    spec: Any,
    on_failure: Callable[[str], object] = lambda failure: None,
) -> dict[tuple[str, int], int]:
    """The offset of a spec (latest, earliest, of a time) by partition.

    Partitions of which it is not known are missing. `on_failure` gets a sentence about each, except for deleted topics.
    """
    from confluent_kafka import KafkaError, KafkaException, TopicPartition

    if not partitions:
        return {}
    wanted = {TopicPartition(topic, index): spec for topic, index in partitions}
    offsets = {}
    for place, future in admin.list_offsets(wanted).items():
        try:
            offsets[place.topic, place.partition] = future.result(REQUEST_TIMEOUT_S).offset
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                on_failure(f"The offset of {place.topic}-{place.partition} is not known: {reason_of(error.args[0])}.")
    return offsets


def partitions_of(admin: AdminClient, topics: tuple[str, ...]) -> list[tuple[str, int]]:
    """All partitions of the named topics (`TOPIC`, or `TOPIC:0,1` for some). Raises ToolError."""
    known = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    result = []
    for word in topics:
        topic, _, numbers = word.partition(":")
        if topic not in known:
            raise ToolError(f"Topic {topic} does not exist.")
        try:
            chosen = [int(number) for number in numbers.split(",")] if numbers else sorted(known[topic].partitions)
        except ValueError:
            raise ToolError(f"--topic must be TOPIC or TOPIC:0,1, not {word!r}.") from None
        for index in chosen:
            if index not in known[topic].partitions:
                raise ToolError(f"Topic {topic} has no partition {index}.")
            result.append((topic, index))
    return result
