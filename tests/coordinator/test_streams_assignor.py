"""What the assignor of streams groups keeps while it computes."""

from __future__ import annotations

import gc
from typing import Any

from kafka_cy.coordinator.streams.assignor import StickyTaskAssignor, StreamsMemberSpec, SubtopologySpec
from kafka_cy.coordinator.streams.tasks import Tasks

SUBTOPOLOGIES, PARTITIONS, MEMBERS = 30, 40, 3


def largest_table(assignor: StickyTaskAssignor, known: set[int]) -> int:
    """The size of the largest dictionary or set that the assignor refers to, without what it got."""
    largest, seen, left = 0, set(known), [vars(assignor)]
    while left:
        each: Any = left.pop()
        if id(each) in seen or isinstance(each, type):
            continue
        seen.add(id(each))
        if isinstance(each, dict | set | frozenset):
            largest = max(largest, len(each))
        if isinstance(each, dict | set | frozenset | list | tuple) or type(each).__module__.startswith("kafka_cy"):
            left += gc.get_referents(each)
    return largest


def test_no_table_holds_all_tasks() -> None:
    """A dictionary or set is copied as a whole when it grows, which takes milliseconds with 100,000 tasks."""
    names = [f"s{number}" for number in range(SUBTOPOLOGIES)]
    half = {name: frozenset(range(0, PARTITIONS, 2)) for name in names}
    rest = {name: frozenset(range(1, PARTITIONS, 2)) for name in names}
    before = [Tasks(half, rest), Tasks(rest, half), Tasks({}, half)]
    members = {f"m{number}": StreamsMemberSpec(f"p{number}", before[number]) for number in range(MEMBERS)}
    subtopologies = {name: SubtopologySpec(PARTITIONS, True) for name in names}
    assignor = StickyTaskAssignor(members, subtopologies, 1)
    largest = 0
    for _ in assignor.steps():
        largest = max(largest, largest_table(assignor, {id(members), id(subtopologies)}))
    placed = [assignor.tasks_of(member_id) for member_id in members]
    assert sum(len(each) for tasks in placed for each in tasks.active.values()) == SUBTOPOLOGIES * PARTITIONS
    assert sum(len(each) for tasks in placed for each in tasks.standby.values()) == SUBTOPOLOGIES * PARTITIONS
    assert largest <= PARTITIONS
