"""The table of all logs: work on one partition does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.storage.log_manager import LogManager
from tests.storage.batches import batch
from tests.waiting import wait_until

TOPIC_ID = bytes(range(16))
CONFIG = {"retention.ms": -1, "file.delete.delay.ms": 0}


class CountedTable(dict[Any, Any]):
    """Counts the entries that are visited by iterating."""

    visited = 0

    def __iter__(self) -> Iterator[Any]:
        for each in super().__iter__():
            CountedTable.visited += 1
            yield each

    def values(self) -> Any:
        return [self[each] for each in self]

    def items(self) -> Any:
        return [(each, self[each]) for each in self]


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[LogManager]:
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    for path in paths:
        path.mkdir()
    manager = LogManager([str(path) for path in paths], 1, "cluster", CONFIG)
    manager.start({})
    yield manager
    manager.shutdown()


def test_creation_and_deletion_do_not_look_at_all_partitions(logs: LogManager) -> None:
    for index in range(30):
        logs.create("other", index, TOPIC_ID, {})
    hosted = logs._hosted
    hosted.partitions, hosted.dir_of = CountedTable(hosted.partitions), CountedTable(hosted.dir_of)
    with hosted.mutex:  # the log manager's thread looks at all of them now and then
        CountedTable.visited = 0
        for index in range(10):
            logs.create("t", index, TOPIC_ID, {"retention.ms": 5})
        assert hosted.config_of("t")["retention.ms"] == 5
        for index in range(10):
            logs.delete("t", index)
        assert CountedTable.visited == 0
    assert hosted.config_of("t")["retention.ms"] == -1, "forgotten with the last one"
    assert not hosted.has_topic("t") and hosted.has_topic("other")


def test_new_partitions_go_to_the_directory_with_the_fewest(logs: LogManager) -> None:
    def sizes() -> list[int]:
        return [list(logs._hosted.dir_of.values()).count(path) for path in logs.log_dirs]

    for index in range(6):
        logs.create("t", index, TOPIC_ID, {})
    assert sizes() == [2, 2, 2]
    in_a = [index for (_, index), path in logs._hosted.dir_of.items() if path == logs.log_dirs[0]]
    for index in in_a:
        logs.move("t", index, logs.log_dirs[1])
    wait_until(lambda: sizes() == [0, 4, 2], "the moves")
    for index in range(6, 8):
        logs.create("t", index, TOPIC_ID, {})
    assert sizes() == [2, 4, 2]
    for index in in_a:
        logs.delete("t", index)
    assert sizes() == [2, 2, 2]
    logs.create("t", 8, TOPIC_ID, {})
    assert sorted(sizes()) == [2, 2, 3]


def test_a_cut_without_removed_segments_has_nothing_to_remove_later(logs: LogManager) -> None:
    hosted = logs._hosted
    hosted.set_config("t", {**CONFIG, "file.delete.delay.ms": 3_600_000})
    partition = logs.create("t", 0, TOPIC_ID)
    for _ in range(8):
        partition.append(batch())
    logs.truncate_to("t", 0, 7)
    logs.truncate_to("t", 0, 6)
    assert not hosted.removals
    due: list[float] = []
    for offset in (5, 3):
        partition.log.roll()
        partition.append(batch())
        logs.truncate_to("t", 0, offset)
        assert list(hosted.removals) == [partition.log.directory]
        due += [removal.due_s for removal in hosted.removals.values()]
    assert due[0] == due[1], "a later one does not postpone what waits"
    logs.cut([(("t", 0), 9, True)])
    assert list(hosted.removals) == [partition.log.directory]


def test_removals_that_are_not_due_are_not_looked_at(logs: LogManager) -> None:
    hosted = logs._hosted
    with hosted.mutex:  # the log manager's thread does not take them
        for i in range(20):
            hosted.remove_later(f"/nowhere/{i}-delete", 3_600_000)
        hosted.removals = CountedTable(hosted.removals)
        CountedTable.visited = 0
        assert not hosted.take_due_removals() and logs._upkeep._pause_s() > 0
        assert CountedTable.visited == 0
        hosted.remove_later("/nowhere/due-delete", 0)
        assert list(hosted.take_due_removals()) == ["/nowhere/due-delete"]
        assert hosted.next_removal == min(removal.due_s for removal in hosted.removals.values())
        hosted.removals.clear()
