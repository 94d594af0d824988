"""Where the replicas of new topics go: the examples in the comments of Kafka's AdminUtils."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_cy.cluster.rack_aware_assignment import RacksMissing, assign

RACKS: dict[int, str | None] = {0: "rack1", 1: "rack3", 2: "rack3", 3: "rack2", 4: "rack2", 5: "rack1"}


def placed(*arguments: Any, **options: Any) -> list[list[int]]:
    """The whole assignment."""
    return list(assign(*arguments, **options))


def test_without_racks_the_followers_shift_with_each_round() -> None:
    found = placed(dict.fromkeys(range(5)), 10, 3, first_replica=0)
    assert [each[0] for each in found] == [0, 1, 2, 3, 4] * 2
    assert found[0] == [0, 1, 2] and found[4] == [4, 0, 1] and found[5] == [0, 2, 3] and found[9] == [4, 1, 2]


def test_with_racks_each_replica_is_in_another_rack() -> None:
    found = placed(RACKS, 7, 3, first_replica=0)
    assert found == [[0, 3, 1], [3, 1, 5], [1, 5, 4], [5, 4, 2], [4, 2, 0], [2, 0, 3], [0, 4, 2]]


def test_more_replicas_than_racks() -> None:
    for replicas in placed({1: "a", 2: "a", 3: "b"}, 20, 3):
        assert sorted(replicas) == [1, 2, 3]
    for replicas in placed(RACKS, 20, 4):
        assert len(set(replicas)) == 4 and len({RACKS[each] for each in replicas}) == 3


def test_further_partitions_go_on_where_the_topic_began() -> None:
    whole = placed(dict.fromkeys(range(3)), 6, 2, first_replica=1)
    assert placed(dict.fromkeys(range(3)), 2, 2, first=4, first_replica=1)[0][0] == whole[4][0]


def test_some_brokers_without_a_rack() -> None:
    with pytest.raises(RacksMissing, match="Not all brokers have rack information"):
        assign({1: "a", 2: None}, 1, 1)


def test_one_broker() -> None:
    assert placed({7: None}, 3, 1) == [[7], [7], [7]]
