"""The `simple` assignor of share groups: partitions in equal numbers, and as few members as possible for each partition.

When all members read the same topics, the partitions of all topics are shared out together, else those of each topic among
its members. Members keep what they have as far as the numbers allow. Kafka: SimpleAssignor and its two builders.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Collection, Generator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.modern.assignment import STEP_ITEMS, Partitions, count, frozen

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
    ) -> Generator[object, None, None]:
        """Put the partitions of each member into `result`, by member id. Each step takes less than about a millisecond, or runs on
        another thread."""
        found: dict[str, dict[uuid.UUID, set[int]]] = {member_id: {} for member_id in members}
        subscriptions = {spec.topic_ids for spec in members.values()}
        if len(subscriptions) == 1:
            (topic_ids,) = subscriptions
            yield from _share_out(list(members), members, topic_ids, partitions, found)
        else:
            read = yield from in_work(lambda: {topic_id: None for spec in members.values() for topic_id in spec.topic_ids})
            for topic_id in read:
                readers = [member_id for member_id, spec in members.items() if topic_id in spec.topic_ids]
                yield from _share_out(readers, members, (topic_id,), partitions, found)
                yield None
        for member_id, assigned in found.items():
            keep = partial(_kept, members[member_id].assigned, assigned)
            result[member_id] = (yield from in_work(keep)) if count(assigned) > STEP_ITEMS else keep()
            yield None


def _kept(before: Partitions, assigned: dict[uuid.UUID, set[int]]) -> Partitions:
    return before if assigned == before else frozen(assigned)


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
) -> Generator[object, None, None]:  # fmt: skip
    """Share the partitions of the topics among the members `readers`."""
    begin = partial(_without_owners, topic_ids, partitions)
    is_much = len(topic_ids) > 1 or any(len(partitions.get(topic_id, ())) > STEP_ITEMS for topic_id in topic_ids)
    owners = (yield from in_work(begin)) if is_much else begin()
    sharing, counts = _wanted_counts(len(readers), len(owners))
    left = dict(zip(readers, counts, strict=True))
    work = 0
    for member_id in readers:
        before = members[member_id].assigned
        for topic_id in before if len(topic_ids) > 1 else topic_ids:
            work += 1
            if work % STEP_ITEMS == 0:
                yield None
            for partition in sorted(before.get(topic_id, ())) if topic_id in topic_ids else ():
                who = owners.get((topic_id, partition))
                if who is not None and left[member_id] and len(who) < sharing:
                    who.add(member_id)
                    left[member_id] -= 1
                    found[member_id].setdefault(topic_id, set()).add(partition)
                work += 1
                if work % STEP_ITEMS == 0:
                    yield None
    unfilled = deque(member_id for member_id in readers if left[member_id])
    for target, who in owners.items():
        _add_members(target, who, sharing, unfilled, left, found)
        work += 1
        if work % STEP_ITEMS == 0:
            yield None


def _without_owners(topic_ids: Collection[uuid.UUID], partitions: Partitions) -> dict[TopicPartition, set[str]]:
    return {(topic_id, each): set() for topic_id in topic_ids for each in sorted(partitions.get(topic_id, ()))}


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
