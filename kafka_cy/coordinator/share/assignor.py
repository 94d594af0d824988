"""The `simple` assignor of share groups: partitions in equal numbers, and as few members as possible for each partition.

When all members read the same topics, the partitions of all topics are shared out together, else those of each topic among
its members. Members keep what they have as far as the numbers allow. Kafka: SimpleAssignor and its two builders.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from kafka_cy.coordinator.modern.assignment import NO_PARTITIONS, STEP_ITEMS, Partitions, frozen

TopicPartition = tuple[uuid.UUID, int]


class ShareMemberSpec(NamedTuple):
    """A member as the assignor sees it. `assigned` is its last target assignment."""

    topic_ids: frozenset[uuid.UUID]
    assigned: Partitions


class SimpleAssignor:
    """Cost: linear in the partitions and members, and in what is assigned."""

    name = "simple"

    def assign(
        self, members: Mapping[str, ShareMemberSpec], partitions: Partitions, result: dict[str, Partitions]
    ) -> Iterator[None]:
        """Put the partitions of each member into `result`, by member id. Each step takes less than about a millisecond."""
        found: dict[str, dict[uuid.UUID, set[int]]] = {member_id: {} for member_id in members}
        subscriptions = {spec.topic_ids for spec in members.values()}
        if len(subscriptions) == 1:
            (topic_ids,) = subscriptions
            yield from _share_out(list(members), members, topic_ids, partitions, found)
        else:
            for topic_id in {topic_id: None for spec in members.values() for topic_id in spec.topic_ids}:
                readers = [member_id for member_id, spec in members.items() if topic_id in spec.topic_ids]
                yield from _share_out(readers, members, (topic_id,), partitions, found)
        for member_id, assigned in found.items():
            before = members[member_id].assigned
            result[member_id] = before if assigned == before else frozen(assigned)
            yield


def _wanted_counts(members: int, partitions: int) -> tuple[int, list[int]]:
    """How many members each partition shall have, and how many partitions each member."""
    if not partitions or not members:
        return 0, [0] * members
    sharing = -(-members // partitions)
    total = sharing * partitions
    ends = [-(-total * (place + 1) // members) for place in range(members)]
    return sharing, [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def _share_out(
    readers: Sequence[str], members: Mapping[str, ShareMemberSpec], topic_ids: Collection[uuid.UUID], partitions: Partitions,
    found: dict[str, dict[uuid.UUID, set[int]]],
) -> Iterator[None]:  # fmt: skip
    """Share the partitions of the topics among the members `readers`."""
    targets = [(topic_id, each) for topic_id in topic_ids for each in sorted(partitions.get(topic_id, ()))]
    sharing, counts = _wanted_counts(len(readers), len(targets))
    left = dict(zip(readers, counts, strict=True))
    owners: dict[TopicPartition, set[str]] = {target: set() for target in targets}
    work = 0
    for member_id in readers:
        before = members[member_id].assigned or NO_PARTITIONS
        for topic_id, each in before.items():
            for partition in sorted(each) if topic_id in topic_ids else ():
                who = owners.get((topic_id, partition))
                if who is not None and left[member_id] and len(who) < sharing:
                    who.add(member_id)
                    left[member_id] -= 1
                    found[member_id].setdefault(topic_id, set()).add(partition)
                work += 1
                if work % STEP_ITEMS == 0:
                    yield
    unfilled = deque(member_id for member_id in readers if left[member_id])
    for target in targets:
        _add_members(target, owners[target], sharing, unfilled, left, found)
        work += 1
        if work % STEP_ITEMS == 0:
            yield


def _add_members(
    target: TopicPartition, who: set[str], sharing: int, unfilled: deque[str], left: dict[str, int],
    found: dict[str, dict[uuid.UUID, set[int]]],
) -> None:  # fmt: skip
    """Give the partition to as many members as it shall have, in turn."""
    tries = len(unfilled)  # each member is tried once
    while len(who) < sharing and tries:
        tries -= 1
        member_id = unfilled.popleft()
        if member_id not in who:
            who.add(member_id)
            left[member_id] -= 1
            found[member_id].setdefault(target[0], set()).add(target[1])
        if left[member_id]:
            unfilled.append(member_id)
