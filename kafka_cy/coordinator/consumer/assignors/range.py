"""The `range` assignor: each topic's partitions in contiguous ranges, in the order of the members (Kafka: RangeAssignor)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from kafka_cy.coordinator.modern.assignment import STEP_ITEMS, GroupSpec, Partitions


class RangeAssignor:
    """The first members get one partition more when a topic's partitions cannot be divided. Topics with equally many
    partitions are split at the same places, so that a member gets the same partitions of each. Nothing is sticky."""

    name = "range"

    def assign(self, group: GroupSpec, result: dict[str, Partitions]) -> Iterator[None]:
        members = sorted(group.members.items(), key=lambda each: (each[1].instance_id is None, each[1].instance_id or each[0]))
        subscribers: dict[uuid.UUID, int] = {}
        steps = 0
        for _, member in members:
            for topic_id in member.topic_ids:
                subscribers[topic_id] = subscribers.get(topic_id, 0) + 1
                steps += 1
                if steps > STEP_ITEMS:
                    steps = 0
                    yield
            steps += 1
        places = dict.fromkeys(subscribers, 0)  # how many subscribers of the topic have their part
        for member_id, member in members:
            partitions = {}
            for topic_id in member.topic_ids:
                place, count = places[topic_id], group.partition_counts[topic_id]
                places[topic_id] = place + 1
                quota, extra = divmod(count, subscribers[topic_id])
                start = place * quota + min(place, extra)
                end = start + quota + (place < extra)
                if start < end:
                    partitions[topic_id] = frozenset(range(start, end))
                steps += 1 + end - start
                if steps > STEP_ITEMS:
                    steps = 0
                    yield
            steps += 1
            result[member_id] = partitions
