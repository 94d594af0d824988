"""Which quota applies to a client, who shares a sensor, and how many sensors there are."""

from __future__ import annotations

import random
import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_cy.quota.quota_probe import QuotasProbe

PRODUCE, FETCH, REQUEST, MUTATION, CONNECTION = range(5)
HOUR_MS = 3_600_000
SENSORS_MAX = 65_536

Name = bytes | bool | None  # False: no name of this type; None: the default
names = st.sampled_from([False, None, b"a", b"b"])
Limits = list[float]


def quotas(kind: int, limit: float) -> Limits:
    return [limit if i == kind else -1.0 for i in range(5)]


def applies(entities: dict[tuple[Name, Name], Limits], kind: int, user: bytes, client: bytes) -> tuple[float, Name, Name] | None:
    """Kafka's order of precedence: quota, and the names that its sensor has."""
    order: list[tuple[Name, Name]] = [
        (user, client), (user, None), (user, False), (None, client), (None, None), (None, False), (False, client), (False, None),
    ]  # fmt: skip
    for entity in order:
        limits = entities.get(entity)
        if limits is not None and limits[kind] >= 0:
            return limits[kind], user if entity[0] is not False else b"", client if entity[1] is not False else b""
    return None


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(names, names, st.lists(st.one_of(st.just(-1.0), st.floats(0.0, 9.0)), min_size=5, max_size=5)), max_size=20
    )
)
def test_the_quota_of_the_closest_entity_applies(changes: list[tuple[Name, Name, Limits]]) -> None:
    table, entities = QuotasProbe(), {}
    for user, client, limits in changes:
        if user is False and client is False:
            continue
        table.put(user, client, limits)
        entities[user, client] = limits
        for kind in range(4):
            assert table.is_on(kind) == any(each[kind] >= 0 for each in entities.values())
            for asked in ((b"a", b"a"), (b"a", b"c"), (b"c", b"b"), (b"c", b""), (b"b", b"a")):
                found, expected = table.find(kind, *asked), applies(entities, kind, *asked)
                assert (found is None) == (expected is None)
                if found is not None and expected is not None:
                    assert (found.limit, *(name.encode() for name in found.names)) == expected
    assert table.counts[0] == sum(any(limit >= 0 for limit in limits) for limits in entities.values())


def test_who_shares_a_sensor() -> None:
    table = QuotasProbe()
    table.put(b"user", False, quotas(PRODUCE, 1.0))
    assert table.find(PRODUCE, b"user", b"a") == table.find(PRODUCE, b"user", b"b")
    table.put(b"user", None, quotas(PRODUCE, 2.0))
    assert table.find(PRODUCE, b"user", b"a") != table.find(PRODUCE, b"user", b"b")
    table.put(False, b"a", quotas(FETCH, 2.0))
    assert table.find(FETCH, b"user", b"a") == table.find(FETCH, b"other", b"a")
    assert table.find(FETCH, b"user", b"b") is None
    assert table.find(PRODUCE, b"user", b"a") != table.find(FETCH, b"user", b"a")


def test_a_change_reaches_sensors_that_exist() -> None:
    table = QuotasProbe()
    table.put(False, None, quotas(PRODUCE, 1.0))
    sensor, version = table.find(PRODUCE, b"u", b"c"), table.version
    sensor.record(5, 1000)
    table.put(False, b"c", quotas(PRODUCE, 7.0))
    assert table.version > version
    assert table.find(PRODUCE, b"u", b"c") == sensor and sensor.limit == 7.0
    table.put(False, b"c", [-1.0] * 5)
    assert table.find(PRODUCE, b"u", b"c") == sensor and sensor.limit == 1.0
    assert sensor.read(1000)[0] > 0, "what was used is still counted"


def test_long_names_are_distinct_and_cut_between_characters() -> None:
    table = QuotasProbe()
    table.put(None, None, quotas(PRODUCE, 1.0))
    long = [("é" * 5000 + suffix).encode() for suffix in "ab"]
    found = [table.find(PRODUCE, b"u", name) for name in long]
    assert found[0] != found[1] and found[0].names != found[1].names
    assert all(len(each.names[1].encode()) <= 200 and each.names[1].startswith("éé") for each in found)
    assert table.find(PRODUCE, b"u", b"n" * 200).names == ("u", "n" * 200)


def test_unused_sensors_expire_after_an_hour() -> None:
    table = QuotasProbe()
    table.put(False, None, quotas(PRODUCE, 1.0))
    used, unused = (table.find(PRODUCE, b"u", name, 1000) for name in (b"used", b"unused"))
    used.record(1, 2000)
    assert table.expire(HOUR_MS + 999, 10) == 10 and table.counts[1] == 2
    version = table.version
    table.expire(HOUR_MS + 1000, 10)
    assert (used.is_listed, unused.is_listed, table.counts[1]) == (True, False, 1)
    assert table.version > version, "connections that still use it look for another one"
    assert table.find(PRODUCE, b"u", b"unused", HOUR_MS + 1000) != unused


def test_a_million_client_ids_do_not_fill_the_memory() -> None:
    table = QuotasProbe()
    table.put(False, None, quotas(PRODUCE, 1.0))
    busy = table.find(PRODUCE, b"u", b"busy", 1)
    version = table.version
    count = SENSORS_MAX + 20_000
    for i in range(count):
        busy.record(1, 1 + i)
        table.find(PRODUCE, b"u", b"%d" % i, 1 + i)
    assert table.counts == (1, SENSORS_MAX, count + 1 - SENSORS_MAX)
    assert busy.is_listed, "who is active keeps its place"
    assert 1 <= table.version - version <= 21, "once in a second, not for each sensor that makes room"
    version = table.version
    for i in range(2):
        table.find(PRODUCE, b"u", b"late %d" % i, 2 * count + i)
    assert table.version == version + 1
    table.expire(2 * count + 1, 1)
    assert table.version == version + 2, "the last one, too"


def test_entities_come_and_go_in_any_order() -> None:
    table, chance, living = QuotasProbe(), random.Random(7), set()
    for _ in range(5000):
        name = b"%d" % chance.randrange(500)
        if name in living and chance.random() < 0.6:
            table.put(False, name, [-1.0] * 5)
            living.discard(name)
        else:
            table.put(False, name, quotas(PRODUCE, float(int(name) + 1)))
            living.add(name)
    assert table.counts[0] == len(living)
    for i in range(500):
        found = table.find(PRODUCE, b"u", b"%d" % i)
        assert (None if found is None else found.limit) == (float(i + 1) if b"%d" % i in living else None)


def test_threads_lose_nothing() -> None:
    """An addition that meets the change of a sample counts for the sample before it."""
    table = QuotasProbe(3, 1)  # a sample is complete every millisecond: many changes
    table.put(False, None, quotas(PRODUCE, 1e18))
    sensor = table.find(PRODUCE, b"u", b"c", 1)
    rounds, threads = 3000, 4

    def work() -> None:
        for i in range(rounds):
            sensor.record(1, 10 + i // 1000)  # three samples in all: none becomes obsolete

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sensor.record(0, 12)
    rate = sensor.read(12)[0]
    assert rate * 0.002 == rounds * threads, "two whole windows are covered, of a millisecond each"
