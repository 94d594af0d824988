"""Reading a share request of many elements: no step looks at many of them, whatever they are."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api.share_requests import (
    NAMED_AT_ONCE,
    READ_AT_ONCE,
    acknowledgements,
    forgotten_partitions,
    named_partitions,
    request_size,
)
from kafka_cy.base.slices import AT_ONCE_MAX, Work, at_once, in_work
from kafka_cy.share.member_walks import MemberWalks
from kafka_cy.share.sessions import SessionKey
from tests.coordinator.fakes import FakeLoop

ID = uuid.uuid4()
MANY = 1000


class Looks:
    """Counts the elements that are looked at."""

    def __init__(self) -> None:
        self.count = 0

    def at(self, elements: Iterable[Any]) -> Iterator[Any]:
        for each in elements:
            self.count += 1
            yield each

    def of_each_step(self, steps: Generator[object, None, Any]) -> list[int]:
        found = []
        for _ in steps:
            found.append(self.count)
            self.count = 0
        return [*found, self.count]


def batch(offset: int, types: int = 1) -> Any:
    return SimpleNamespace(first_offset=offset, last_offset=offset + types - 1, acknowledge_types=(1,) * types)


def partition(index: int, *batches: Any) -> Any:
    return SimpleNamespace(partition_index=index, acknowledgement_batches=batches)


def topic(*partitions: Any) -> Any:
    return SimpleNamespace(topic_id=ID, partitions=partitions)


@pytest.mark.parametrize("read", [named_partitions, acknowledgements, forgotten_partitions])
@pytest.mark.parametrize("what", ["one partition", "partitions", "empty topics"])
def test_a_step_looks_at_few_elements(read: Callable[[Iterable[Any]], Generator[object, None, Any]], what: str) -> None:
    """Also if they are nothing new."""
    looks = Looks()
    if what == "empty topics":
        topics = [topic() for _ in range(MANY)]
    else:
        topics = [topic(*[partition(0 if what == "one partition" else index) for index in range(MANY)])]
    for each in topics:
        each.partitions = looks.at(each.partitions)
    counts = looks.of_each_step(read(looks.at(topics)))
    assert max(counts) <= NAMED_AT_ONCE + 1 and sum(counts) == MANY + (what != "empty topics")


def test_what_is_read() -> None:
    """A partition that is named twice has all of its acknowledgements."""
    topics = [topic(partition(1, batch(5)), partition(0)), topic(), topic(partition(1, batch(0), batch(1)), partition(3, batch(2)))]
    assert at_once(named_partitions(topics)) == [(ID, 1), (ID, 0), (ID, 3)]
    assert {each: len(found) for each, found in at_once(acknowledgements(topics)).items()} == {(ID, 1): 3, (ID, 3): 1}
    assert at_once(forgotten_partitions([topic(4, 2), topic(4)])) == [(ID, 4), (ID, 2), (ID, 4)]


@pytest.mark.parametrize(
    ("partitions", "expected"),
    [
        ([partition(0, *[batch(offset) for offset in range(READ_AT_ONCE + 1)])], READ_AT_ONCE + 1),
        ([partition(0, batch(0, types=READ_AT_ONCE))], 1),
        ([partition(0, batch(0))] * (NAMED_AT_ONCE + 1), NAMED_AT_ONCE + 1),
        ([partition(0, *[batch(offset) for offset in range(READ_AT_ONCE // 2)])] * 2, READ_AT_ONCE // 2 * 2),
    ],
)
def test_many_acknowledgements_of_a_partition_are_read_on_another_thread(partitions: list[Any], expected: int) -> None:
    steps = acknowledgements([topic(*partitions)])
    works = []
    try:
        while True:
            step = next(steps)
            if isinstance(step, Work):
                works.append(step)
                step.run()
    except StopIteration as end:
        assert len(works) == 1 and len(end.value[ID, 0]) == expected
    assert not any(isinstance(each, Work) for each in acknowledgements([topic(partition(0, batch(0), batch(1)))]))


def test_what_is_read_at_once() -> None:
    """Little. To find out that it is much takes few looks: what cannot be looked at here is not looked at."""
    assert request_size([topic(partition(0, batch(0)), partition(1))], [topic(1, 2)]) == 6
    assert request_size([object()] * MANY) > AT_ONCE_MAX
    assert request_size([], [object()] * MANY) > AT_ONCE_MAX
    assert request_size([topic(*[object()] * MANY)]) > AT_ONCE_MAX
    assert request_size([topic(partition(0, *[object()] * 10_000), object())]) > AT_ONCE_MAX
    assert request_size([topic(partition(0, batch(0, types=10_000)), object())]) > AT_ONCE_MAX


@pytest.mark.parametrize("stops", [False, True])
def test_a_walk_with_a_work_goes_on(stops: bool) -> None:
    """It runs on the thread that stops the broker, if that is under way."""
    faults: list[Exception] = []
    walks, found = MemberWalks(FakeLoop(), faults.append), []

    def steps() -> Iterator[object]:
        found.append((yield from in_work(lambda: 5)))

    if stops:
        walks.stop()
    for size in (1, AT_ONCE_MAX + 1):
        walks.add(SessionKey("g", "m"), size, steps(), lambda: None)
    assert found == [5, 5] and not faults
