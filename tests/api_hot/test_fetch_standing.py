"""Standing fetches: what they cost, and when they begin and end. What they answer is in test_fetch_standing_model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kafka_cy.api import fetch_session_cache, fetch_standing
from kafka_cy.records import Record, build_batch
from kafka_cy.storage.isr_candidates import forget_candidates, take_candidates
from kafka_cy.storage.partition import set_replica_lag_time_max_ms
from tests.waiting import wait_until

from .harness import BROKER_ID, Connection, HotServer
from .kio_wire import encode_request
from .test_fetch import fill, request, rows, values
from .test_fetch_session import open_session

REACTORS = 1
FOLLOWER, VERSION, IDLE, LONG_WAIT_MS = 9, 12, 300, 120_000
COUNT_FETCH_REQUESTS = 6  # in HostedPartition.counts


@pytest.fixture(autouse=True)
def limits(hot_server: HotServer) -> Iterator[None]:
    wait_until(lambda: fetch_session_cache.counters()["bytes"] == 0, "sessions of earlier tests are freed")
    fetch_standing.set_limits(look_ms=0)
    yield
    fetch_standing.set_limits()
    fetch_session_cache.set_limits(partitions_max=100_000, bytes_max=256 << 20)


def lead(server: HotServer, topic: str, isr: tuple[int, ...] = (BROKER_ID, FOLLOWER)) -> None:
    for name, index in server.partitions:
        if name == topic:
            server.partitions[name, index].lead(5, [BROKER_ID, FOLLOWER], isr, BROKER_ID)


def as_follower(values: dict[str, Any]) -> dict[str, Any]:
    for topic in values["topics"]:
        for row in topic["partitions"]:
            row |= {"current_leader_epoch": 5, "last_fetched_epoch": -1, "log_start_offset": 0}
    return values | {"replica_id": FOLLOWER}


class Session:
    """Of a consumer, or of the follower."""

    def __init__(self, server: HotServer, connection: Connection, *, follower: bool = False) -> None:
        self.server, self.connection, self.follower, self.epoch, self.id = server, connection, follower, 0, 0

    def values(self, named: dict[tuple[str, int], int], **options: Any) -> dict[str, Any]:
        values = request(self.server, named, session=(self.id, self.epoch), **options)
        self.epoch += 1
        return as_follower(values) if self.follower else values

    def fetch(self, named: dict[tuple[str, int], int] | None = None, **options: Any) -> list[dict[str, Any]]:
        response = self.connection.call(1, VERSION, self.values(named or {}, **options))
        assert response["error_code"] == 0
        self.id = response["session_id"]
        return rows(response)

    def wait(self, named: dict[tuple[str, int], int] | None = None) -> None:
        """Send a fetch that waits."""
        parked = self.server.server.counters()["parked"]
        self.connection.send(1, VERSION, encode_request(1, VERSION, self.values(named or {}, max_wait_ms=LONG_WAIT_MS)))
        wait_until(lambda: self.server.server.counters()["parked"] == parked + 1, "the fetch waits")

    def answer(self) -> list[dict[str, Any]]:
        return rows(self.connection.answer(1, VERSION))


def counters() -> dict[str, int]:
    return fetch_standing.counters()


def since(before: dict[str, int], name: str) -> int:
    return counters()[name] - before[name]


@pytest.mark.parametrize("follower", [False, True])
def test_idle_partitions_cost_nothing(hot_server: HotServer, connection: Connection, follower: bool) -> None:
    for topic, count in (("t", 1), ("idle", IDLE)):
        hot_server.create_topic(topic, count, sole_replica=not follower)
        if follower:
            lead(hot_server, topic)
    session = Session(hot_server, connection, follower=follower)
    session.fetch({("t", 0): 0} | {("idle", index): 0 for index in range(IDLE)})
    session.wait()
    fill(hot_server, "t")
    before = counters()
    for number in range(10):
        [row] = session.answer()
        assert values(row) == 2
        session.wait({("t", 0): 2 * number + 2})
        fill(hot_server, "t")
    assert (since(before, "built"), since(before, "taken")) == (0, 10)
    assert since(before, "listed") <= 20  # of 3,010


def test_a_follower_hears_of_the_high_watermark(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", 50, sole_replica=False)
    lead(hot_server, "t")
    session = Session(hot_server, connection, follower=True)
    session.fetch({("t", index): 0 for index in range(50)})
    session.fetch()
    fill(hot_server, "t", 7)
    [row] = session.fetch(max_wait_ms=LONG_WAIT_MS)
    assert (row["partition_index"], row["high_watermark"], values(row)) == (7, 0, 2)
    [row] = session.fetch({("t", 7): 2})
    assert (row["partition_index"], row["high_watermark"], values(row)) == (7, 2, 0)
    assert session.fetch() == []


def test_an_idle_follower_stays_caught_up(hot_server: HotServer, connection: Connection) -> None:
    """It names no partition for longer than replica.lag.time.max.ms; then records come, and it is not out of the ISR at once."""
    fetch_standing.set_limits()
    set_replica_lag_time_max_ms(400)
    try:
        hot_server.create_topic("t", 50, sole_replica=False)
        lead(hot_server, "t")
        session = Session(hot_server, connection, follower=True)
        session.fetch({("t", index): 0 for index in range(50)})
        before = counters()
        for _ in range(30):
            session.fetch(min_bytes=1, max_wait_ms=20)
        assert since(before, "built") == 1
        for index in range(50):
            fill(hot_server, "t", index)
        set_replica_lag_time_max_ms(300)  # a report may be a quarter of the time old
        assert [hot_server.partitions["t", index].lagging() for index in range(50)] == [[]] * 50
    finally:
        set_replica_lag_time_max_ms(30_000)


def test_a_follower_outside_the_isr_reports_each_time(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", 50, sole_replica=False)
    lead(hot_server, "t")
    partition = hot_server.partitions["t", 3]
    session = Session(hot_server, connection, follower=True)
    session.fetch({("t", index): 0 for index in range(50)})
    for _ in range(3):
        session.fetch()
    partition.set_replicas([BROKER_ID, FOLLOWER], [BROKER_ID], BROKER_ID)  # what is known of the follower is forgotten
    assert partition.joinable() == []
    take_candidates(0)
    for _ in range(3):  # until the controller has stored it
        session.fetch()
        assert take_candidates(10) == [("t", 3)]
    assert [broker for broker, _ in partition.joinable()] == [FOLLOWER]
    forget_candidates()


def test_a_new_log_start_is_told(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", 50)
    fill(hot_server, "t", 3, batches=2)
    session = Session(hot_server, connection)
    session.fetch({("t", index): 0 for index in range(50)})
    session.fetch({("t", 3): 4})
    assert session.fetch() == []
    hot_server.partitions["t", 3].delete_records(2)
    [row] = session.fetch()
    assert (row["partition_index"], row["log_start_offset"], row["records"]) == (3, 2, b"")


def test_the_end_of_a_transaction_wakes(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", 50)
    partition = hot_server.partitions["t", 3]
    partition.append(build_batch([Record(value=b"a")], attributes=0x10, base_sequence=0, producer_id=5, producer_epoch=0))
    session = Session(hot_server, connection)
    session.fetch({("t", index): 0 for index in range(50)}, isolation_level=1)
    session.fetch(isolation_level=1)
    connection.send(1, VERSION, encode_request(1, VERSION, session.values({}, max_wait_ms=LONG_WAIT_MS, isolation_level=1)))
    wait_until(lambda: hot_server.server.counters()["parked"] == 1, "the consumer waits")
    partition.append_marker(5, 0, 0, True, 1)
    [row] = session.answer()
    assert (row["partition_index"], row["last_stable_offset"], len(row["records"]) > 0) == (3, 2, True)


def test_another_connection_goes_on_with_the_session(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", 50)
    session = Session(hot_server, connection)
    session.fetch({("t", index): 0 for index in range(50)})
    session.fetch()
    other = hot_server.connect()
    session.connection = other
    fill(hot_server, "t", 1)
    assert [row["partition_index"] for row in session.fetch()] == [1]
    session.fetch({("t", 1): 2})
    session.connection = connection
    fill(hot_server, "t", 2)
    assert [row["partition_index"] for row in session.fetch()] == [2]
    other.close()


def test_a_request_that_changes_its_session_gets_none(hot_server: HotServer, connection: Connection) -> None:
    """Some consumers leave partitions out and take them back again with each request: those pay once, not twice."""
    hot_server.create_topic("t", 50)
    session = Session(hot_server, connection)
    session.fetch({("t", index): 0 for index in range(49)})
    before = counters()
    session.fetch({("t", 49): 0})
    session.fetch(forget=[("t", 49)])
    assert since(before, "built") == 0
    session.fetch()
    session.fetch()
    assert (since(before, "built"), since(before, "taken")) == (1, 1)


def test_a_deleted_topic_that_comes_again(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", 50)
    session = Session(hot_server, connection)
    session.fetch({("t", index): 0 for index in range(50)})
    session.wait()
    hot_server.delete_topic("t")
    assert {row["error_code"] for row in session.answer()} == {3}
    hot_server.folder = hot_server.folder / "again"
    hot_server.create_topic("t", 50)
    assert {row["error_code"] for row in session.fetch()} == {0}
    assert session.fetch() == []
    fill(hot_server, "t", 2)
    assert [(row["partition_index"], values(row)) for row in session.fetch()] == [(2, 2)]


def test_each_request_counts_for_each_partition(hot_server: HotServer, connection: Connection) -> None:
    """Those of a partition that was idle are counted later, at the latest when the client leaves."""
    hot_server.create_topic("t", 50)
    session = Session(hot_server, connection)
    session.fetch({("t", index): 0 for index in range(50)})
    for _ in range(9):
        session.fetch()
    partitions = [hot_server.partitions["t", index] for index in range(50)]
    connection.close()
    wait_until(lambda: {each.counts()[COUNT_FETCH_REQUESTS] for each in partitions} == {10}, "all requests are counted")


def test_its_memory(hot_server: HotServer, connection: Connection) -> None:
    """It counts as that of sessions. Where it does not fit, the session is as good without it."""
    hot_server.create_topic("t", 50)
    offsets = {("t", index): 0 for index in range(50)}
    session = Session(hot_server, connection)
    session.fetch(offsets)
    alone = fetch_session_cache.counters()["bytes"]
    session.fetch()
    standing = fetch_session_cache.counters()["bytes"] - alone
    assert standing > 50 * 200 and counters()["bytes"] == standing
    session.epoch = -1
    session.fetch(offsets)
    assert fetch_session_cache.counters()["bytes"] == counters()["bytes"] == 0
    fetch_session_cache.set_limits(partitions_max=100_000, bytes_max=2 * (standing + alone) - 1)
    before = counters()
    session.epoch = 0
    session.fetch(offsets)
    session.fetch()
    assert session.fetch() == [] and since(before, "built") == 0
    assert session.fetch() == [] and since(before, "refused") == 3
    assert fetch_session_cache.counters()["bytes"] == alone and counters()["bytes"] == 0
    lines = [each.message for each in hot_server.server.take_log_events() if "standing fetch" in each.message]
    assert len(lines) == 1 and "kafkacy.fetch.session.cache.max.bytes" in lines[0]


def test_it_ends_with_its_connection(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", 50)
    sessions = [Session(hot_server, hot_server.connect()) for _ in range(2)]
    for session in sessions:
        session.fetch({("t", index): 0 for index in range(50)})
    sessions[0].wait()
    sessions[1].fetch()
    alone = fetch_session_cache.counters()["bytes"]
    for session in sessions:
        session.connection.close()
    wait_until(lambda: fetch_session_cache.counters()["bytes"] < alone / 2, "only the sessions are left")
    fill(hot_server, "t", 2)  # wakes nobody
    assert open_session(hot_server, connection, VERSION, {("t", 2): 0})


def test_an_evicted_session(hot_server: HotServer, connection: Connection) -> None:
    fetch_session_cache.set_slots(1)
    try:
        hot_server.create_topic("t", 50)
        session = Session(hot_server, connection)
        session.fetch({("t", index): 0 for index in range(50)})
        session.fetch()
        fetch_session_cache.age(10 * 60_000)
        other = hot_server.connect()
        open_session(hot_server, other, VERSION, {("t", 2): 0})
        response = connection.call(1, VERSION, session.values({}))
        assert (response["error_code"], response["session_id"]) == (70, 0)
        other.close()
    finally:
        fetch_session_cache.set_slots(1000)
