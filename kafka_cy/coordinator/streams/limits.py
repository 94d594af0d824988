"""What clients can make the coordinator keep for streams groups, in all groups together.

Kafka has no such limits; `group.streams.max.size` bounds the members of one group. A member over a limit gets
GROUP_MAX_SIZE_REACHED, a topology with too many names or tasks STREAMS_INVALID_TOPOLOGY.
"""

from __future__ import annotations

from typing import Any, Final

from kafka_cy.coordinator.classic.limits import text_bytes
from kafka_cy.coordinator.streams.records import Member, TopicInfo, Topology

MEMBER_BYTES_MAX: Final = 256 << 20  # members with their ids and tags, and topologies
MEMBER_OBJECT_BYTES: Final = 2000  # of a member besides the fields that are counted: objects, tables, deadlines
TEXT_OBJECT_BYTES: Final = 150  # of a name, key or value besides its characters
TOPIC_OBJECT_BYTES: Final = 500  # of an internal topic besides its texts, also as it is configured
SUBTOPOLOGY_OBJECT_BYTES: Final = 2000
COPARTITION_GROUP_BYTES: Final = 300
INDEX_BYTES: Final = 16  # of a topic's index in a copartition group
NAMES_MAX: Final = 5000  # of topics and subtopologies of a topology, and of places in copartition groups
SUBTOPOLOGIES_FEW: Final = 200  # a topology with more of them is much work, however small they are
TOPIC_CONFIGS_MAX: Final = 100  # of an internal topic
TASKS_MAX: Final = 100_000  # of a group: more would not fit into the records of its members


def member_bytes(group_id: str, member_id: str, details: Member) -> int:
    """How much of `MEMBER_BYTES_MAX` a member takes. `heartbeat_table` has a copy of the group's id for each."""
    texts = [group_id, member_id, details.rack_id or "", details.client_id, details.process_id]
    texts += [text for each in details.client_tags for text in each]
    if details.user_endpoint is not None:
        texts.append(details.user_endpoint.host)
    return MEMBER_OBJECT_BYTES + sum(TEXT_OBJECT_BYTES + text_bytes(each) for each in texts)


def topology_bytes(topology: Topology | None) -> int:
    """How much of `MEMBER_BYTES_MAX` a topology takes, with what follows from it."""
    size = 0
    for each in topology.subtopologies if topology is not None else ():
        size += SUBTOPOLOGY_OBJECT_BYTES
        for names in (each.source_topics, each.source_topic_regex, each.repartition_sink_topics):
            size += sum(TEXT_OBJECT_BYTES + text_bytes(name) for name in names)
        for topics in (each.state_changelog_topics, each.repartition_source_topics):
            size += sum(map(_topic_bytes, topics))
        for group in each.copartition_groups:
            size += COPARTITION_GROUP_BYTES + INDEX_BYTES * sum(map(len, group))
    return size


def names_count(topology: Any) -> int:
    """How many names count for `NAMES_MAX`; of a Topology, or of that of a request."""
    return sum(map(subtopology_names, topology.subtopologies))


def subtopology_names(subtopology: Any) -> int:
    """How many names of a subtopology count for `NAMES_MAX`."""
    names = (subtopology.source_topics, subtopology.repartition_sink_topics, subtopology.repartition_source_topics)
    return (
        1 + sum(map(len, names)) + len(subtopology.state_changelog_topics)
        + sum(map(_indexes_count, subtopology.copartition_groups))
    )  # fmt: skip


def _indexes_count(group: Any) -> int:
    return 1 + len(group.source_topics) + len(group.source_topic_regex) + len(group.repartition_source_topics)


def _topic_bytes(topic: TopicInfo) -> int:
    texts = [topic.name, *(text for each in topic.topic_configs for text in each)]
    return TOPIC_OBJECT_BYTES + sum(TEXT_OBJECT_BYTES + text_bytes(text) for text in texts)
