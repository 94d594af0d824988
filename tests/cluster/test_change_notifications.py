"""Change notifications over a seeded model of ZooKeeper: read once and in order, purged, never missed unseen, whatever breaks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kafka_cy.cluster.change_notifications import (
    CONFIGS,
    CROWDED_EXPIRY_MS,
    DELETED_AT_ONCE,
    EXPIRY_MS,
    KEPT_MAX,
    ChangeNotifications,
    notify,
)
from kafka_cy.cluster.store import Create, Delete
from tests.cluster.test_membership_model import World


class Reader:
    """Reads notifications of configurations."""

    def __init__(self, world: World) -> None:
        self.store = world.model.session()
        self.seen: list[bytes | None] = []
        self.missed: list[int] = []  # how many it had seen when it was told that it had missed some
        self.notifications = ChangeNotifications(
            self.store,
            CONFIGS,
            self._handle,
            missed=lambda: self.missed.append(len(self.seen)),
            wall_clock_ms=world.wall_clock_ms,
            call_later=world.simulation.call_later,
            log=world.log,
        )
        self.notifications.start()
        self.store.connect()

    def _handle(self, data: bytes | None) -> None:
        self.seen.append(data)
        if data == b"malformed":
            raise ValueError("malformed")


def test_notifications_are_read_once_in_order_and_purged() -> None:
    world = World()
    world.result(lambda calls: notify(calls, CONFIGS, b"0"))
    readers = [Reader(world), Reader(world)]
    for number in (b"malformed", b"2", b"3"):
        world.result(lambda calls, number=number: notify(calls, CONFIGS, number))
    world.simulation.run_for(1000)
    expected = [b"0", b"malformed", b"2", b"3"]
    assert [reader.seen for reader in readers] == [expected, expected]
    assert world.log.count("config_change_0000000001 failed") == 2
    world.simulation.run_for(EXPIRY_MS)
    world.result(lambda calls: notify(calls, CONFIGS, b"4"))
    world.simulation.run_for(1000)
    assert all(reader.seen[4:] == [b"4"] for reader in readers)
    assert "config_change_0000000000" not in world.model.children[CONFIGS.parent]


def test_a_new_session_reads_all_notifications_again() -> None:
    world = World()
    reader = Reader(world)
    world.result(lambda calls: notify(calls, CONFIGS, b"0"))
    world.simulation.run_for(1000)
    reader.store.disconnect()
    world.result(lambda calls: notify(calls, CONFIGS, b"1"))
    reader.store.connect()
    world.simulation.run_for(1000)
    assert reader.seen == [b"0", b"1"]  # the session went on
    reader.store.disconnect()
    world.model.expire(reader.store.session_id)
    world.result(lambda calls: notify(calls, CONFIGS, b"2"))
    reader.store.connect()
    world.simulation.run_for(1000)
    assert reader.seen == [b"0", b"1", b"0", b"1", b"2"]


@pytest.mark.parametrize("seed", range(30))
def test_no_notification_is_missed_whatever_breaks(seed: int) -> None:
    world = World(seed)
    random = world.simulation.random
    reader = Reader(world)
    written = []
    for number in range(40):
        data = str(number).encode()
        written.append(data)
        world.result(lambda calls, data=data: notify(calls, CONFIGS, data))
        what = random.randrange(8)
        if what == 0:
            reader.store.disconnect()
            world.simulation.call_later(random.uniform(0, 9000), reader.store.connect)
        elif what == 1:
            world.model.expire(reader.store.session_id)
        world.simulation.run_for(random.choice([0, 1, 5, 500]))
    reader.store.connect()
    world.simulation.run_for(20_000)
    assert set(reader.seen) == set(written)
    last = {data: index for index, data in enumerate(reader.seen)}
    assert sorted(written, key=lambda data: last[data]) == written  # the last round is in order
    assert reader.missed == []


@pytest.mark.parametrize("deleted", [(1,), (2,), (1, 2)])
def test_notifications_that_are_deleted_before_they_are_read_are_missed(deleted: tuple[int, ...]) -> None:
    """The broker was suspended for longer than they stay. Its session went on, so nothing else has it read everything."""
    world = World()
    levels: list[str] = []
    world.log.repeated = lambda level, what, details: levels.append(level)  # type: ignore[method-assign]
    readers = [Reader(world), Reader(world)]
    world.result(lambda calls: notify(calls, CONFIGS, b"0"))
    world.simulation.run_for(1000)
    readers[0].store.disconnect()
    for number in (b"1", b"2", b"3"):
        world.result(lambda calls, number=number: notify(calls, CONFIGS, number))
    world.simulation.run_for(1000)
    for number in deleted:
        world.model.apply(None, [Delete(f"{CONFIGS.parent}/{CONFIGS.prefix}{number:010}")])
    world.simulation.run_for(1000)
    readers[0].store.connect()
    world.simulation.run_for(1000)
    assert readers[0].missed == [4 - len(deleted)] and readers[1].missed == []
    world.result(lambda calls: notify(calls, CONFIGS, b"4"))
    world.simulation.run_for(1000)
    assert len(readers[0].missed) == 1, "once"
    assert levels == ["warning"]


def test_the_first_notification_after_a_purge_is_no_alarm() -> None:
    """Apache Kafka's brokers delete all old ones, also the newest. The numbers go on, and the first list was empty."""
    world = World()
    levels: list[str] = []
    world.log.repeated = lambda level, what, details: levels.append(level)  # type: ignore[method-assign]
    for number in range(2):
        world.result(lambda calls, number=number: notify(calls, CONFIGS, b"%d" % number))
        world.model.apply(None, [Delete(f"{CONFIGS.parent}/{CONFIGS.prefix}{number:010}")])
    reader = Reader(world)
    world.simulation.run_for(1000)
    world.result(lambda calls: notify(calls, CONFIGS, b"2"))
    world.simulation.run_for(1000)
    assert reader.seen == [b"2"] and levels == []
    assert reader.missed == [1], "nobody knows whether there were others since the empty list"
    world.result(lambda calls: notify(calls, CONFIGS, b"3"))
    world.simulation.run_for(1000)
    assert reader.seen == [b"2", b"3"] and len(reader.missed) == 1 and levels == []


def test_the_newest_notification_stays() -> None:
    """Else a broker that was away would not see that there were any."""
    world = World()
    readers = [Reader(world), Reader(world)]
    world.result(lambda calls: notify(calls, CONFIGS, b"0"))
    world.simulation.run_for(1000)
    readers[0].store.disconnect()
    world.result(lambda calls: notify(calls, CONFIGS, b"1"))
    world.result(lambda calls: notify(calls, CONFIGS, b"2"))
    readers[1].notifications._wall_clock_ms = lambda: world.wall_clock_ms() + 2 * EXPIRY_MS
    world.result(lambda calls: notify(calls, CONFIGS, b"3"))
    world.simulation.run_for(1000)
    assert world.model.children[CONFIGS.parent] == {"config_change_0000000003"}
    readers[0].store.connect()
    world.simulation.run_for(1000)
    assert readers[0].missed == [2]


def test_a_change_costs_the_same_beside_many_notifications(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are looked at and nodes are read once."""
    world = World()
    for _ in range(20):
        world.model.apply(None, [Create(f"{CONFIGS.parent}/{CONFIGS.prefix}", b"0", sequential=True)] * 50)
    reader = Reader(world)
    world.simulation.run_for(1000)
    assert len(reader.seen) == 1000
    looks: list[str] = []
    number = ChangeNotifications._number
    monkeypatch.setattr(ChangeNotifications, "_number", lambda self, name: looks.append(name) or number(self, name))
    reads: list[str] = []
    read = reader.store.read
    reader.store.read = lambda requests, done: [reads.extend(each.path for each in requests), read(requests, done)]  # type: ignore
    world.result(lambda calls: notify(calls, CONFIGS, b"1"))
    world.simulation.run_for(1000)
    assert reader.seen[1000:] == [b"1"]
    assert looks == ["config_change_0000001000"] and reads == [CONFIGS.parent, f"{CONFIGS.parent}/{looks[0]}"]


def test_notifications_are_read_while_old_ones_are_deleted() -> None:
    """A few at a time."""
    world = World()
    for _ in range(20):
        world.model.apply(None, [Create(f"{CONFIGS.parent}/{CONFIGS.prefix}", b"0", sequential=True)] * 50)
    reader = Reader(world)
    world.simulation.run_for(EXPIRY_MS + 1000)
    submit, held, sizes = reader.store.submit, list[Callable[[], object]](), list[int]()
    reader.store.submit = lambda operations, done: held.append(lambda: submit(operations, done))  # type: ignore[method-assign]
    for data in (b"1", b"2"):
        world.result(lambda calls, data=data: notify(calls, CONFIGS, data))
        world.simulation.run_for(1000)
    assert reader.seen[1000:] == [b"1", b"2"]
    while held:
        sizes.append(len(held))
        some, held[:] = held[:], []
        for each in some:
            each()
        world.simulation.run_for(1000)
    assert sizes == [DELETED_AT_ONCE] * (1000 // DELETED_AT_ONCE)
    assert len(world.model.children[CONFIGS.parent]) == 2 and reader.missed == []


def test_a_clock_of_zookeeper_that_is_ahead_keeps_no_notification() -> None:
    world = World()
    reader = Reader(world)
    reader.notifications._wall_clock_ms = lambda: world.wall_clock_ms() - 24 * 3_600_000
    world.result(lambda calls: notify(calls, CONFIGS, b"0"))
    world.simulation.run_for(2 * EXPIRY_MS)
    world.result(lambda calls: notify(calls, CONFIGS, b"1"))
    world.simulation.run_for(1000)
    assert world.model.children[CONFIGS.parent] == {"config_change_0000000001"}


def test_crowded_notifications_go_early() -> None:
    """ZooKeeper sends the names of all in one answer, of which clients take 1 MiB at most."""
    world = World()
    for _ in range(KEPT_MAX // 100 + 2):
        world.model.apply(None, [Create(f"{CONFIGS.parent}/{CONFIGS.prefix}", b"0", sequential=True)] * 100)
    reader = Reader(world)
    world.simulation.run_for(CROWDED_EXPIRY_MS + 1000)
    world.result(lambda calls: notify(calls, CONFIGS, b"1"))
    world.simulation.run_for(1000)
    assert len(reader.seen) == KEPT_MAX + 201
    assert len(world.model.children[CONFIGS.parent]) == KEPT_MAX


def test_parents_are_created_on_demand() -> None:
    world = World()
    for path in (CONFIGS.parent,):
        world.model.apply(None, [Delete(path)])
    reader = Reader(world)
    world.simulation.run_for(1000)
    world.model.apply(None, [Delete(CONFIGS.parent)])
    world.result(lambda calls: notify(calls, CONFIGS, b"0"))
    world.simulation.run_for(1000)
    assert reader.seen == [b"0"]
