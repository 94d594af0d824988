"""1,000 members and 10,000 partitions: no step between two turns of the loop is long, whatever the shape of the group.

What is counted is the lines of Python that a step executes, not its time: a handful for each element that it handles.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kafka_cy.base import slices
from kafka_cy.coordinator.consumer.assignors.range import RangeAssignor
from kafka_cy.coordinator.consumer.assignors.uniform import UniformAssignor
from kafka_cy.coordinator.modern.assignment import STEP_ITEMS, GroupSpec, MemberSpec, Partitions, count
from kafka_cy.coordinator.streams.assignor import StickyTaskAssignor, StreamsMemberSpec, SubtopologySpec
from kafka_cy.coordinator.streams.tasks import NO_TASKS, Tasks

from .consumer_fakes import CT, ConsumerHarness
from .fakes import FakeCluster
from .lines import Lines

MEMBERS, PARTITIONS = 1000, 10_000
LINES_MAX = 20 * max(STEP_ITEMS, MEMBERS)  # 20 for each member, in comprehensions over all of them


def assigned_by(assignor: Any, group: GroupSpec) -> dict[str, Partitions]:
    """Also asserts that the steps are short."""
    result: dict[str, Partitions] = {}
    lines = Lines()
    lines.steps(assignor.assign(group, result))
    assert lines.largest <= LINES_MAX and lines.calls > PARTITIONS // STEP_ITEMS // 4
    assert sum(map(count, result.values())) == sum(group.partition_counts.values())
    return result


@pytest.mark.parametrize("different", [False, True])
@pytest.mark.parametrize("topics", [1, 2, 50])
@pytest.mark.parametrize("assignor", [UniformAssignor(), RangeAssignor()], ids=lambda each: each.name)
def test_steps_of_an_assignor(assignor: Any, topics: int, different: bool) -> None:
    """Members get their first partitions; one has everything; a tenth leaves."""
    ids = [uuid.uuid5(uuid.NAMESPACE_URL, str(number)) for number in range(topics + different)]
    counts = dict.fromkeys(ids[:topics], PARTITIONS // topics) | dict.fromkeys(ids[topics:], 1)
    all_topics, fewer = frozenset(ids), frozenset(ids[:topics])
    reads = {f"m{number}": all_topics if number % 2 else fewer for number in range(MEMBERS)}
    everything = {topic_id: frozenset(range(number)) for topic_id, number in counts.items()}

    def group(before: Callable[[str], Partitions], names: list[str]) -> GroupSpec:
        return GroupSpec({name: MemberSpec(None, reads[name], before(name)) for name in names}, counts)

    names = list(reads)
    first = assigned_by(assignor, group(lambda name: {}, names))
    sizes = list(map(count, first.values()))
    assert max(sizes) - min(sizes) <= 1 + (assignor.name == "range") * (topics + different)
    assigned_by(assignor, group(lambda name: everything if name == "m1" else {}, names))
    assigned_by(assignor, group(first.__getitem__, names[MEMBERS // 10 :]))


@pytest.mark.parametrize("different", [False, True])
def test_steps_of_the_uniform_assignor_over_many_small_topics(different: bool) -> None:
    """A tenth of the members leaves: hardly a topic has a free partition."""
    ids = [uuid.UUID(int=number) for number in range(2 * PARTITIONS)]
    counts, topics = dict.fromkeys(ids, 1), frozenset(ids)
    reads = {f"m{number}": topics if number or not different else topics - {ids[0]} for number in range(10)}
    first = assigned_by(UniformAssignor(), GroupSpec({name: MemberSpec(None, reads[name], {}) for name in reads}, counts))
    left = {name: MemberSpec(None, reads[name], first[name]) for name in list(reads)[:-1]}
    assigned_by(UniformAssignor(), GroupSpec(left, counts))


def test_steps_of_the_streams_assignor() -> None:
    subtopologies = {"0": SubtopologySpec(PARTITIONS // 2, True), "1": SubtopologySpec(PARTITIONS // 2, False)}
    before: dict[str, Tasks] = {}
    for members in (MEMBERS, MEMBERS // 2):
        specs = {f"m{each}": StreamsMemberSpec(f"p{each % 100}", before.get(f"m{each}", NO_TASKS)) for each in range(members)}
        assignor = StickyTaskAssignor(specs, subtopologies, 0)
        lines = Lines()
        lines.steps(assignor.steps())
        assert lines.largest <= LINES_MAX
        before = {member_id: assignor.tasks_of(member_id) for member_id in specs}
        assert sum(len(each) for tasks in before.values() for each in tasks.active.values()) == PARTITIONS


@pytest.mark.parametrize("assignor", ["uniform", "range"])
def test_turns_of_the_loop_while_a_large_group_gets_its_assignment(monkeypatch: pytest.MonkeyPatch, assignor: str) -> None:
    """From the heartbeat that begins it until it is stored. What is a Work runs on another thread, and is not counted."""
    harness = ConsumerHarness(FakeCluster(1))
    harness.topic("big", uuid.uuid5(uuid.NAMESPACE_URL, "big"), PARTITIONS)
    for number in range(MEMBERS):
        response = harness.join_consumer("g", f"m{number}", ["big"], assignor=assignor)
        assert response["error_code"] == 0
    harness.loop.advance(0)
    monkeypatch.setattr(slices, "SLICE_S", 0.0)  # one step in each turn
    harness.loop.threads = []
    group = harness.consumer_group("g")
    lines = Lines()
    while group.assignment_epoch < group.epoch or group.assigning:
        if harness.loop.threads:
            work, done = harness.loop.threads.pop(0)
            work()
            lines(done)
        elif harness.loop.timers and harness.loop.timers[0][0] <= harness.loop.time_s:
            lines(harness.loop.run_next)
        else:
            harness.loop.time_s += 1.1
            assert harness.beat("g", "m0", group.members["m0"].member_epoch)["error_code"] == 0
    assert lines.largest <= LINES_MAX and lines.calls > PARTITIONS // STEP_ITEMS
    assert sum(map(count, group.target.values())) == PARTITIONS and len(group.target) == MEMBERS


@pytest.mark.parametrize("at_once_max", [0, 1000], ids=["in slices", "at once"])
def test_a_static_member_that_comes_back_keeps_its_part(monkeypatch: pytest.MonkeyPatch, at_once_max: int) -> None:
    """Its new id had no part when the assignment began, which its new subscription asks for. So with one that comes back since."""
    specs: list[GroupSpec] = []
    assign = UniformAssignor.assign

    def recorded(assignor: UniformAssignor, group: GroupSpec, result: dict[str, Partitions]) -> Iterator[object]:
        specs.append(group)
        return assign(assignor, group, result)

    harness = ConsumerHarness(FakeCluster(1))
    for name in ("a", "b"):
        harness.join_consumer("g", name, instance_id=f"of {name}", assignor="uniform")
        harness.loop.advance(1.1)
    group = harness.consumer_group("g")
    for _ in range(3):
        for name in ("a", "b"):
            harness.beat("g", name, group.members[name].member_epoch, owned=group.members[name].assigned)
    parts = {name: group.target[name] for name in ("a", "b")}
    assert [count(part) for part in parts.values()] == [2, 2] and parts["a"] != parts["b"]
    monkeypatch.setattr(UniformAssignor, "assign", recorded)
    monkeypatch.setattr("kafka_cy.coordinator.consumer.target.AT_ONCE_MAX", at_once_max)
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    for name in ("a", "b"):
        harness.beat("g", name, -2, instance_id=f"of {name}")
    harness.coordinator.runtime.slices.add(range(3))  # other work: the assignment waits
    harness.join_consumer("g", "c", ["ct", "ct2"], instance_id="of a")
    harness.join_consumer("g", "d", instance_id="of b")
    harness.loop.advance(0)
    (spec,) = specs
    assert spec.members["c"].assigned == parts["a"]
    assert spec.members["d" if "d" in spec.members else "b"].assigned == parts["b"]
    assert group.target["c"][CT] <= parts["a"][CT] and group.target["d"][CT] >= parts["b"][CT]
    assert group.assignment_epoch == group.epoch
