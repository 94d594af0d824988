"""The C map of committed offsets against a dict."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_cy.coordinator.committed_offsets import CommittedOffsets
from kafka_cy.coordinator.records import CommittedOffset

INT64 = st.integers(-(2**63), 2**63 - 1)
topics = st.sampled_from(["a", "b", "\u00e9", "x" * 249])
partitions = st.sampled_from([0, 1, 2, 7, 2**31 - 1])
ids = st.none() | st.sampled_from([uuid.UUID(int=1), uuid.UUID(int=2)])
committed = st.builds(CommittedOffset, INT64, st.integers(-1, 2**31 - 1), st.text(max_size=30), INT64, INT64, ids)
changes = st.lists(st.tuples(topics, partitions, st.none() | committed), max_size=120)


@given(changes)
@settings(max_examples=150)
def test_it_is_a_mapping_of_topics_to_partitions(changes: list[tuple[str, int, CommittedOffset | None]]) -> None:
    offsets, model = CommittedOffsets(), dict[str, dict[int, CommittedOffset]]()
    for topic, partition, value in changes:
        if value is None:
            offsets.remove(topic, partition)
            model.get(topic, {}).pop(partition, None)
        else:
            offsets.put(topic, partition, value)
            model.setdefault(topic, {})[partition] = value
        model = {name: each for name, each in model.items() if each}
        assert offsets.find(topic, partition) == model.get(topic, {}).get(partition)
        assert len(offsets) == len(model) and bool(offsets) == bool(model)
        assert offsets.count == sum(map(len, model.values()))
    assert offsets == model and dict(offsets.items()) == model and sorted(offsets) == sorted(model)
    for topic in ["a", "b", "none"]:
        assert (topic in offsets) == (topic in model) and offsets.get(topic, {}) == model.get(topic, {})
        assert sorted(offsets.partitions(topic)) == sorted(model.get(topic, {}))
        assert dict(offsets.positions(topic)) == {index: each.offset for index, each in model.get(topic, {}).items()}
        asked = [7, 0, 7, 5]
        assert offsets.copy_of(topic, asked).items() == [(index, model.get(topic, {}).get(index)) for index in asked]


def test_a_copy_stays_as_it_was() -> None:
    offsets = CommittedOffsets()
    first = CommittedOffset(1, 2, "note", 3)
    offsets.put("t", 0, first)
    copy = offsets.copy_of("t")
    offsets.put("t", 0, CommittedOffset(2, 2, "longer than before", 3))
    offsets.remove("t", 0)
    assert copy.items() == [(0, first)] and len(copy) == 1


@pytest.mark.parametrize("wrong", [2**31, -(2**31) - 1])
def test_partitions_are_int32(wrong: Any) -> None:
    with pytest.raises(OverflowError):
        CommittedOffsets().find("t", wrong)
