"""The table of open transactions' partitions that the coordinator fills and appends look up."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest

from kafka_cy.storage import transaction_table as table

A, B = bytes(range(16)), bytes(range(1, 17))


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    table.clear()
    yield
    table.clear()


def test_partitions_are_found_with_their_producer_and_epoch_only() -> None:
    assert table.set_partitions(7, 3, [(A, 0), (A, 5), (B, 0)])
    assert table.contains(7, 3, A, 0) and table.contains(7, 3, A, 5) and table.contains(7, 3, B, 0)
    assert not table.contains(7, 3, B, 5) and not table.contains(7, 2, A, 0) and not table.contains(8, 3, A, 0)
    assert (table.count(), table.producers_count()) == (3, 1)


def test_partitions_are_added_to_those_of_the_same_epoch() -> None:
    assert table.set_partitions(7, 3, [(A, 0)])
    assert table.set_partitions(7, 3, [(A, 0), (A, 1)])
    assert table.contains(7, 3, A, 0) and table.contains(7, 3, A, 1) and table.count() == 2


def test_another_epoch_takes_the_place_of_the_old_one() -> None:
    assert table.set_partitions(7, 3, [(A, 0), (A, 1)])
    assert table.set_partitions(7, 4, [(A, 0)])
    assert table.contains(7, 4, A, 0) and not table.contains(7, 3, A, 0) and not table.contains(7, 3, A, 1)
    assert table.count() == 1


def test_a_removed_producer_is_not_found() -> None:
    assert table.set_partitions(7, 3, [(A, index) for index in range(1000)])
    assert table.set_partitions(8, 3, [(A, 0)])
    table.remove(7)
    table.remove(9)
    assert not any(table.contains(7, 3, A, index) for index in range(1000)) and table.contains(8, 3, A, 0)
    assert (table.count(), table.producers_count()) == (1, 1)


def test_a_full_table_takes_nothing() -> None:
    assert table.set_partitions(1, 0, [(A, index) for index in range(1000)])
    assert not table.set_partitions(2, 0, [(B, 0)] * (table.PARTITIONS_MAX - 999))
    assert table.count() == 1000 and not table.contains(2, 0, B, 0)


def test_bad_input_changes_nothing() -> None:
    assert table.set_partitions(7, 3, [(A, 0)])
    with pytest.raises(ValueError, match="16 bytes"):
        table.set_partitions(7, 4, [(A, 1), (b"short", 1)])
    with pytest.raises(OverflowError):
        table.set_partitions(7, 1 << 15, [(A, 1)])
    with pytest.raises(OverflowError):
        table.set_partitions(7, 4, [(A, 1 << 31)])
    assert table.contains(7, 3, A, 0) and table.count() == 1


def test_random_changes_agree_with_a_dictionary() -> None:
    chosen = random.Random(5)
    model: dict[int, tuple[int, set[tuple[bytes, int]]]] = {}
    for _ in range(3000):
        producer, epoch = chosen.randrange(40), chosen.randrange(3)
        if chosen.random() < 0.3:
            table.remove(producer)
            model.pop(producer, None)
        else:
            partitions = [(chosen.choice((A, B)), chosen.randrange(300)) for _ in range(chosen.randrange(200))]
            assert table.set_partitions(producer, epoch, partitions)
            known = model.get(producer)
            model[producer] = (epoch, (known[1] if known and known[0] == epoch else set()) | set(partitions))
    assert table.count() == sum(len(partitions) for _, partitions in model.values())
    assert table.producers_count() == len(model)
    for producer in range(40):
        known_epoch, partitions_of = model.get(producer, (-1, set()))
        for topic in (A, B):
            found = {index for index in range(300) if table.contains(producer, known_epoch, topic, index)}
            assert found == {index for of, index in partitions_of if of == topic}


def test_look_ups_run_while_the_coordinator_changes_the_table() -> None:
    wrong: list[int] = []
    stop = threading.Event()
    assert table.set_partitions(0, 0, [(A, 0)])

    def look() -> None:
        while not stop.is_set():
            if not table.contains(0, 0, A, 0) or table.contains(0, 1, A, 0):
                wrong.append(1)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for producer in range(1, 2000):
        table.set_partitions(producer, 0, [(A, index) for index in range(20)])
        table.remove(producer - 1 or 1)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_keys_at_equal_distances_do_not_gather() -> None:
    for producer in range(200):
        table.set_partitions(producer << 32, 0, [(A, index << 16) for index in range(100)])
    count, probes = table.probes()
    assert count == 20_000 and probes < 3 * count
