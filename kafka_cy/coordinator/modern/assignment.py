"""Assignments of partitions to members, and what an assignor of the broker gets and returns."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

#: Topic id -> partitions. Never changed once it is part of a group or a result.
Partitions = Mapping[uuid.UUID, frozenset[int]]
NO_PARTITIONS: Partitions = {}


class MemberSpec(NamedTuple):
    """A member as an assignor sees it. `assigned` is its last target assignment."""

    instance_id: str | None
    topic_ids: Collection[uuid.UUID]
    assigned: Partitions


class GroupSpec(NamedTuple):
    """A group as an assignor sees it: members by id, and the number of partitions of every topic that a member reads."""

    members: Mapping[str, MemberSpec]
    partition_counts: Mapping[uuid.UUID, int]

    def is_homogeneous(self) -> bool:
        """Whether all members read the same topics."""
        subscriptions = iter(self.members.values())
        known = next(subscriptions).topic_ids if self.members else ()
        first = set(known)
        return all(  # members that read the same topics mostly have the same object
            each.topic_ids is known or (len(each.topic_ids) == len(first) and first.issuperset(each.topic_ids))
            for each in subscriptions
        )

    def cost(self) -> int:
        """Roughly how many steps an assignor needs."""
        return sum(self.partition_counts.values()) + sum(1 + len(each.topic_ids) for each in self.members.values())


class Assignor(Protocol):
    """Computes the target assignment of a group."""

    name: str

    def assign(self, group: GroupSpec, result: dict[str, Partitions]) -> Iterator[object]:
        """Put the partitions of each member into `result`, by member id. A task for slices: each step takes less than about a
        millisecond, or is a Work."""


STEP_ITEMS = 256  # members or partitions that an assignor handles in one step


def steps_of(items: Iterable[Any], size: int = STEP_ITEMS) -> Iterator[list[Any]]:
    """The items in pieces of this size."""
    piece: list[Any] = []
    for item in items:
        piece.append(item)
        if len(piece) == size:
            yield piece
            piece = []
    if piece:
        yield piece


def frozen(partitions: Mapping[uuid.UUID, Collection[int]]) -> Partitions:
    """A copy that is never changed, without empty topics."""
    return {topic_id: frozenset(each) for topic_id, each in partitions.items() if each}


def frozen_steps(partitions: Mapping[uuid.UUID, Collection[int]]) -> Generator[None, None, Partitions]:
    """frozen() as a task for slices."""
    copy: dict[uuid.UUID, frozenset[int]] = {}
    for place, (topic_id, each) in enumerate(partitions.items(), 1):
        if each:
            copy[topic_id] = frozenset(each)
        if place % STEP_ITEMS == 0:
            yield
    return copy


def count(partitions: Mapping[uuid.UUID, Collection[int]]) -> int:
    """How many partitions."""
    return sum(map(len, partitions.values()))
