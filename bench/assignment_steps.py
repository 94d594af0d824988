"""Measures the longest step of an assignment: for so long the coordinators' thread does nothing else. See docs/benchmarks.md.

    .venv/bin/python bench/assignment_steps.py [MEMBERS] [PARTITIONS]

Each row is an assignor and a group: all members come at once, one has everything, a tenth leaves. CPU time of the thread, the best
of three runs: the machine's other programs do not count.
"""

from __future__ import annotations

import gc
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from kafka_cy.base.slices import Work
from kafka_cy.coordinator.consumer.assignors.range import RangeAssignor
from kafka_cy.coordinator.consumer.assignors.uniform import UniformAssignor
from kafka_cy.coordinator.modern.assignment import GroupSpec, MemberSpec, Partitions
from kafka_cy.coordinator.streams.assignor import StickyTaskAssignor, StreamsMemberSpec, SubtopologySpec
from kafka_cy.coordinator.streams.tasks import NO_TASKS

RUNS = 3


def longest_and_all_ms(make: Callable[[], Iterator[object]]) -> tuple[float, float]:
    over = object()
    best = (float("inf"), float("inf"))
    for _ in range(RUNS):
        gc.collect()
        steps, longest, total = make(), 0.0, 0.0
        while True:
            before = time.thread_time()
            step = next(steps, over)
            took = time.thread_time() - before
            if isinstance(step, Work):
                step.run()  # a broker does this on another thread
            longest, total = max(longest, took), total + took
            if step is over:
                break
        best = min(best, (longest * 1000, total * 1000))
    return best


def consumer_row(assignor: Any, members: int, partitions: int, topics: int, *, different: bool) -> str:
    ids = [uuid.uuid4() for _ in range(topics + different)]
    counts = dict.fromkeys(ids[:topics], partitions // topics) | dict.fromkeys(ids[topics:], 1)
    everything: Partitions = {topic_id: frozenset(range(count)) for topic_id, count in counts.items()}
    reads = {f"m{number}": frozenset(ids if number % 2 else ids[:topics]) for number in range(members)}
    result: dict[str, Partitions] = {}

    def group(before: Callable[[str], Partitions], names: list[str]) -> GroupSpec:
        return GroupSpec({name: MemberSpec(None, reads[name], before(name)) for name in names}, counts)

    names, found = list(reads), []
    first = group(lambda name: {}, names)
    found.append(longest_and_all_ms(lambda: assignor.assign(first, result)))
    before = dict(result)
    for later in (
        group(lambda name: everything if name == "m1" else {}, names),
        group(lambda name: before[name], names[members // 10 :]),
    ):
        found.append(longest_and_all_ms(lambda later=later: assignor.assign(later, {})))  # type: ignore[misc]
    return row(f"{assignor.name}, {members} members, {topics} topics{', different' * different}", found)


def streams_row(members: int, tasks: int) -> str:
    specs = {f"m{number}": StreamsMemberSpec(f"p{number % 100}", NO_TASKS) for number in range(members)}
    subtopologies = {str(number): SubtopologySpec(tasks // 2, True) for number in range(2)}
    return row("streams, 2 subtopologies", [longest_and_all_ms(lambda: StickyTaskAssignor(specs, subtopologies, 0).steps())])


def row(name: str, found: list[tuple[float, float]]) -> str:
    return f"{name:48s}" + "   ".join(f"{longest:8.2f} {total:8.1f}" for longest, total in found)


def main() -> None:
    members = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    partitions = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    kinds = ("all come", "one has all", "a tenth leaves")
    print(f"{'ms: longest step, all':48s}" + "   ".join(f"{kind:>17s}" for kind in kinds))
    for assignor in (UniformAssignor(), RangeAssignor()):
        for topics in (1, 100):
            for different in (False, True):
                print(consumer_row(assignor, members, partitions, topics, different=different), flush=True)
    for different in (False, True):  # of one partition each
        few = max(10, members // 100)
        print(consumer_row(UniformAssignor(), few, partitions, partitions, different=different), flush=True)
    print(streams_row(members, partitions))


if __name__ == "__main__":
    main()
