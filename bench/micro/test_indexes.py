"""1000 look-ups in an index of 100,000 entries (a segment of 400 MB at Kafka's default interval)."""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left, bisect_right

import numpy
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kafka_cy.storage.index_probe import IndexProbe

ENTRIES, LOOKUPS = 100_000, 1000
KEYS = array("q", range(7, ENTRIES * 20, 20))
TARGETS = array("q", random.Random(1).choices(range(7, ENTRIES * 20), k=LOOKUPS))
METHODS = ("kafka-cy", "bisect", "numpy.searchsorted")


def below(keys: array[int], strictly: bool) -> int:
    """The sum of the last entries at or (strictly) below each target, by bisect; 0 for none."""
    search = bisect_left if strictly else bisect_right
    return sum(max(search(keys, target) - 1, 0) for target in TARGETS)


def below_by_numpy(keys: numpy.ndarray, targets: numpy.ndarray, strictly: bool) -> int:
    """The same with all targets in one call."""
    found = numpy.searchsorted(keys, targets, side="left" if strictly else "right") - 1
    return int(numpy.maximum(found, 0).sum())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("index", ["offset", "time"])
def test_look_up(benchmark: BenchmarkFixture, index: str, name: str) -> None:
    benchmark.group = f"1000 look-ups in the {index} index"
    strictly = index == "time"
    if name == "kafka-cy":
        probe = IndexProbe(KEYS)
        found = benchmark(probe.sum_of_offsets if strictly else probe.sum_of_positions, TARGETS)
    elif name == "bisect":
        found = benchmark(below, KEYS, strictly)
    else:
        found = benchmark(below_by_numpy, numpy.array(KEYS), numpy.array(TARGETS), strictly)
    assert found == below(KEYS, strictly)
