"""Topics that the broker creates for streams groups: settings, defaults, and why a topic is refused."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

from kafka_cy.api import topic_creation
from kafka_cy.api.context import ApiContext
from kafka_cy.api.topic_creation import create_with_settings
from kafka_cy.cluster.topics import Topic
from kafka_cy.coordinator.streams.configured import InternalTopic
from kafka_cy.coordinator.streams.records import KeyValue

from .control_fakes import make_context

COMPACT = (KeyValue("cleanup.policy", "compact"),)


def create(context: ApiContext, topics: Sequence[InternalTopic]) -> tuple[list[Topic], dict[str, str]]:
    created: list[Topic] = []
    errors = {each.name: "unknown" for each in topics}
    for _ in create_with_settings(context.cluster, context.topic_changes, context.config, topics, created, errors):
        pass
    return created, errors


def test_topics_are_created_with_their_settings_or_refused_with_a_reason() -> None:
    context = make_context()
    topics = [
        InternalTopic("a-changelog", 3, 1, COMPACT),
        InternalTopic("b-changelog", 1, -1, ()),
        InternalTopic("c-repartition", 2, 0, ()),
        InternalTopic("d-changelog", 1, 3, ()),
        InternalTopic("e-changelog", 1, 1, (KeyValue("cleanup.policy", "shred"),)),
        InternalTopic("a_changelog", 1, 1, ()),
        InternalTopic("no/name", 1, 1, ()),
    ]
    created, errors = create(context, topics)
    assert [(each.name, len(each.partitions)) for each in created] == [
        ("a-changelog", 3), ("b-changelog", 1), ("c-repartition", 2), ("a_changelog", 1)
    ]  # fmt: skip
    assert context.cluster.topics["a-changelog"].config == {"cleanup.policy": "compact"}
    assert "only 1 broker(s) are registered" in errors["d-changelog"] and "cleanup.policy" in errors["e-changelog"]
    assert "Topic name is invalid" in errors["no/name"]
    _, errors = create(context, topics[:1])
    assert errors == {"a-changelog": "Topic 'a-changelog' already exists."}


def test_too_many_topics_at_once_are_refused() -> None:
    context = make_context()
    topics = [InternalTopic(f"t{number}", 3, 1, COMPACT) for number in range(3)]
    for limit in ("PARTITIONS_PER_REQUEST_MAX", "RECORDS_PER_REQUEST_MAX"):
        with patch.object(topic_creation, limit, 8):
            created, errors = create(context, topics)
        assert created == [] and set(errors) == {"t0", "t1", "t2"} and not context.cluster.topics
