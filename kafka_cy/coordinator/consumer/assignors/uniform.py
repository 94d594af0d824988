"""The `uniform` assignor: members get equally many partitions over all topics, and keep what they have as far as possible.

When all members read the same topics, the numbers differ by one at most. Otherwise topics are balanced one after the
other until nothing improves. Kafka: UniformAssignor with UniformHomogeneousAssignmentBuilder and
UniformHeterogeneousAssignmentBuilder. The numbers are Kafka's; which of equal members gets the extra partition may differ,
because Kafka goes by the order of Java's hash tables.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Collection, Generator, Iterator
from heapq import heapify, heappop, heappush, heapreplace

from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.modern.assignment import STEP_ITEMS, GroupSpec, Partitions, frozen_steps

ROUNDS_MAX = 16  # over all topics, when subscriptions differ: as in Kafka
Kept = dict[uuid.UUID, list[int]]
NOBODYS: Collection[int] = ()


class UniformAssignor:
    """Balance comes before stickiness."""

    name = "uniform"

    def assign(self, group: GroupSpec, result: dict[str, Partitions]) -> Iterator[object]:
        if not group.members:
            return iter(())
        return _same_topics(group, result) if group.is_homogeneous() else _Different(group).assign(result)


def _same_topics(group: GroupSpec, result: dict[str, Partitions]) -> Iterator[None]:
    free = deque[tuple[uuid.UUID, int]]()
    yield from _find_unassigned(group, free)
    quota, extras = divmod(sum(group.partition_counts.values()), len(group.members))
    unfilled: list[tuple[str, int, Kept]] = []
    left, steps = len(group.members), 0
    for member_id, member in group.members.items():
        room = quota + (extras > 0)
        kept: Kept = {}
        changed = False
        for topic_id, partitions in member.assigned.items():
            known = group.partition_counts.get(topic_id)
            ordered = sorted(partitions) if known is not None else []
            mine = ordered[:room]
            free.extend((topic_id, partition) for partition in ordered[len(mine) :])
            changed = changed or len(mine) < len(partitions)
            room -= len(mine)
            if mine:
                kept[topic_id] = mine
            steps += 1 + len(partitions)
            if steps > STEP_ITEMS:
                steps = 0
                yield
        took_extra = extras > 0
        if took_extra and room > 0 and left > extras:
            room -= 1  # another member may claim the extra partition
            took_extra = False
        extras -= took_extra
        left -= 1
        result[member_id] = (yield from frozen_steps(kept)) if changed else member.assigned
        if room > 0:
            unfilled.append((member_id, room, kept))
        steps += 1
        if steps > STEP_ITEMS:
            steps = 0
            yield
    for member_id, room, kept in unfilled:
        for count in range(1, min(room, len(free)) + 1):
            topic_id, partition = free.popleft()
            kept.setdefault(topic_id, []).append(partition)
            if count % STEP_ITEMS == 0:
                yield
        result[member_id] = yield from frozen_steps(kept)
        steps += 1 + room % STEP_ITEMS
        if steps > STEP_ITEMS:
            steps = 0
            yield


def _find_unassigned(group: GroupSpec, free: deque[tuple[uuid.UUID, int]]) -> Iterator[None]:
    """The partitions that are in no member's last target assignment."""
    taken: dict[uuid.UUID, set[int]] = {}
    steps = 0
    for member in group.members.values():
        for topic_id, partitions in member.assigned.items():
            if topic_id in group.partition_counts:
                taken.setdefault(topic_id, set()).update(partitions)
            steps += 1
            if steps > STEP_ITEMS:
                steps = 0
                yield
        if steps > STEP_ITEMS:
            steps = 0
            yield
    for topic_id, count in group.partition_counts.items():
        used = taken.get(topic_id, NOBODYS)
        for first in range(0, count if len(used) < count else 0, STEP_ITEMS):
            piece = range(first, min(first + STEP_ITEMS, count))
            free.extend((topic_id, partition) for partition in piece if partition not in used)
            steps += len(piece)
            if steps > STEP_ITEMS:
                steps = 0
                yield
        steps += 1
        if steps > STEP_ITEMS:
            steps = 0
            yield


class _Different:
    """Members read different topics. Members are numbered; `owners` has the number of each partition's member, -1 for none."""

    def __init__(self, group: GroupSpec) -> None:
        self.group = group
        self.member_ids = list(group.members)
        self.sizes = [0] * len(self.member_ids)  # partitions of each member
        self.subscribers: dict[uuid.UUID, list[int]] = {}
        self.owners: dict[uuid.UUID, list[int]] = {}

    def assign(self, result: dict[str, Partitions]) -> Iterator[object]:
        yield from self._keep()
        topic_ids, shared = yield from in_work(self._ordered)
        for topic_id in topic_ids:
            yield from self._assign_free(topic_id)
            yield None
        yield from self._balance(shared)
        found: list[dict[uuid.UUID, list[int]]] = [{} for _ in self.member_ids]
        for topic_id, owners in self.owners.items():
            for partition, owner in enumerate(owners, 1):
                found[owner].setdefault(topic_id, []).append(partition - 1)
                if partition % STEP_ITEMS == 0:
                    yield None
            yield None
        for place, (member_id, partitions) in enumerate(zip(self.member_ids, found, strict=True)):
            result[member_id] = yield from frozen_steps(partitions)
            if place % STEP_ITEMS == 0:
                yield None

    def _ordered(self) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
        """The topics, and those with more than one subscriber."""
        topic_ids = sorted(self.subscribers, key=self._order)
        return topic_ids, [topic_id for topic_id in topic_ids if len(self.subscribers[topic_id]) > 1]

    def _order(self, topic_id: uuid.UUID) -> tuple[float, int, uuid.UUID]:
        """Topics with the most partitions for each subscriber come first."""
        subscribers = len(self.subscribers[topic_id])
        return -self.group.partition_counts[topic_id] / subscribers, subscribers, topic_id

    def _keep(self) -> Iterator[None]:
        """Members keep the partitions of the topics that they still read."""
        steps = 0
        for index, member in enumerate(self.group.members.values()):
            for topic_id in member.topic_ids:
                self.subscribers.setdefault(topic_id, []).append(index)
                if topic_id not in self.owners:
                    self.owners[topic_id] = [-1] * self.group.partition_counts[topic_id]
                owners = self.owners[topic_id]
                for partition in member.assigned.get(topic_id, ()):
                    if partition < len(owners) and owners[partition] < 0:
                        owners[partition] = index
                        self.sizes[index] += 1
                    steps += 1
                    if steps > STEP_ITEMS:
                        steps = 0
                        yield
                steps += 1
                if steps > STEP_ITEMS:
                    steps = 0
                    yield
            if steps > STEP_ITEMS:
                steps = 0
                yield

    def _assign_free(self, topic_id: uuid.UUID) -> Iterator[None]:
        """Each free partition goes to the subscriber with the fewest partitions."""
        owners = self.owners[topic_id]
        free = [partition for partition, owner in enumerate(owners) if owner < 0]
        if not free:
            return
        least = [(self.sizes[index], index) for index in self.subscribers[topic_id]]
        heapify(least)
        for place, partition in enumerate(free, 1):
            size, index = least[0]
            owners[partition] = index
            self.sizes[index] = size + 1
            heapreplace(least, (size + 1, index))
            if place % STEP_ITEMS == 0:
                yield

    def _balance(self, topic_ids: list[uuid.UUID]) -> Iterator[None]:
        """Move partitions from the most to the least loaded subscribers of each topic, until a whole round changes nothing."""
        unchanged = 0
        for _ in range(ROUNDS_MAX):
            for topic_id in topic_ids:
                unchanged = 0 if (yield from self._balance_topic(topic_id)) else unchanged + 1
                yield
                if unchanged >= len(topic_ids):
                    return

    def _balance_topic(self, topic_id: uuid.UUID) -> Generator[None, None, bool]:
        subscribers, owners, sizes = self.subscribers[topic_id], self.owners[topic_id], self.sizes
        counts = [sizes[index] for index in subscribers]
        if max(counts) - min(counts) <= 1:
            return False
        owned: dict[int, list[int]] = {}
        for partition, owner in enumerate(owners, 1):
            owned.setdefault(owner, []).append(partition - 1)
            if partition % STEP_ITEMS == 0:
                yield
        least = [(sizes[index], index) for index in subscribers]
        most = [(-sizes[index], index) for index in subscribers if index in owned]
        heapify(least)
        heapify(most)
        moved, rounds = False, 0
        while most:
            rounds += 1
            if rounds % STEP_ITEMS == 0:
                yield
            size, giver = heappop(most)
            if -size != sizes[giver] or not owned.get(giver):
                continue  # the entry is old, or nothing is left to give
            while least[0][0] != sizes[least[0][1]]:
                heappop(least)
            taker_size, taker = least[0]
            if -size - taker_size <= 1:
                return moved
            partition = owned[giver].pop()
            owned.setdefault(taker, []).append(partition)
            owners[partition] = taker
            moved = True
            for index, change in ((giver, -1), (taker, 1)):
                sizes[index] += change
                heappush(least, (sizes[index], index))
                heappush(most, (-sizes[index], index))
        return moved
