"""Parked requests: woken by a partition, timed out, or dropped with their connection; each is answered at most once."""

from __future__ import annotations

import random
import struct
import threading
import time
from collections.abc import Callable
from types import ModuleType

import pytest
from conftest_network import ECHO, PARK, Client, Harness, frame

from kafka_cy.network.metadata_image import ImagePublisher, TopicMetadata
from kafka_cy.storage.hosted_partition import HostedPartition
from tests.waiting import wait_until

Make = Callable[..., Harness]
Hosted = list[HostedPartition]


@pytest.fixture
def hosted(partitions: Callable[[int], Hosted]) -> Hosted:
    return partitions(4)


def publish(made: Harness, hosted: Hosted) -> ImagePublisher:
    publisher = ImagePublisher(made.server)
    publisher.set_brokers("cluster", 1, 1, [(1, None, [("127.0.0.1", made.port)])])
    rows = [(i, 1, 0, [1], [1], [], each) for i, each in enumerate(hosted)]
    publisher.set_topics([TopicMetadata("probe", b"p" * 16, False, rows)], [])
    publisher.publish()
    return publisher


def park(wait_ms: int, target: int, *indexes: int, correlation_id: int = 1) -> bytes:
    body = struct.pack(f">qq{len(indexes)}i", wait_ms, target, *indexes)
    return frame(PARK, body, correlation_id=correlation_id)


def read_park(client: Client) -> tuple[int, int]:
    expired, total = struct.unpack(">bq", client.receive()[1])
    return expired, total


def nothing_left(probe: ModuleType, made: Harness) -> bool:
    wait_until(lambda: not probe.waiting_count(), "waiting partitions")
    made.wait_for_counter("parked", 0)
    return True


def test_answered_at_once_when_nothing_is_missing(harness: Make, probe: ModuleType, hosted: Hosted) -> None:
    made = harness()
    publish(made, hosted)
    client = made.client()
    client.send(park(60_000, 0, 0))
    assert read_park(client) == (0, 0)
    assert nothing_left(probe, made)


def test_woken_by_another_thread(harness: Make, probe: ModuleType, hosted: Hosted) -> None:
    made = harness()
    publish(made, hosted)
    client = made.client()
    client.send(park(60_000, 2, 0, 1, 1))
    time.sleep(0.05)
    probe.bump(hosted[0])
    time.sleep(0.05)
    probe.bump(hosted[1])  # it is watched twice and counted twice
    assert read_park(client)[0] == 0
    assert nothing_left(probe, made)


@pytest.mark.parametrize("wait_ms", [0, 1, 30, 300, 1100, 2100])
def test_expires_on_time(harness: Make, probe: ModuleType, hosted: Hosted, wait_ms: int) -> None:
    made = harness(1)
    publish(made, hosted)
    client = made.client()
    started = time.monotonic()
    client.send(park(wait_ms, 1 << 40, 0))
    assert read_park(client)[0] == 1
    assert time.monotonic() - started >= wait_ms / 1000 - 0.001
    assert nothing_left(probe, made)


def test_many_deadlines_expire_in_order(harness: Make, probe: ModuleType, hosted: Hosted) -> None:
    made = harness(1)
    publish(made, hosted)
    chance = random.Random(3)
    waits = [chance.randrange(1, 2500) for _ in range(400)]
    clients = [made.client() for _ in waits]
    started = time.monotonic()
    for client, wait_ms in zip(clients, waits, strict=True):
        client.send(park(wait_ms, 1 << 40, 0, 1, 2))
    for client, wait_ms in sorted(zip(clients, waits, strict=True), key=lambda pair: pair[1]):
        assert read_park(client)[0] == 1
        assert time.monotonic() - started >= wait_ms / 1000 - 0.001
    assert nothing_left(probe, made)


def test_closing_a_connection_frees_what_it_parked(harness: Make, probe: ModuleType, hosted: Hosted) -> None:
    made = harness()
    publish(made, hosted)
    for _ in range(20):
        client = made.connect()
        client.send(b"".join(park(60_000, 1 << 40, 0, 1, 2, 3) for _ in range(5)))
        time.sleep(0.002)
        client.close()
    assert nothing_left(probe, made)
    probe.bump(hosted[0])


def test_a_waiting_request_holds_up_only_later_answers(harness: Make, probe: ModuleType, hosted: Hosted) -> None:
    made = harness(1)
    publish(made, hosted)
    client, other = made.client(), made.client()
    client.send(park(60_000, 1, 0, correlation_id=1) + frame(ECHO, b"after", correlation_id=2))
    assert other.ask(ECHO, b"free") == b"free"
    probe.bump(hosted[0])
    assert client.receive()[0] == 1
    assert client.receive() == (2, b"after")
    assert nothing_left(probe, made)


def test_stop_answers_what_is_parked(harness: Make, probe: ModuleType, hosted: Hosted) -> None:
    made = harness()
    publish(made, hosted)
    client = made.client()
    client.send(park(60_000, 1 << 40, 0))
    made.wait_for_counter("parked", 1)
    made.server.stop(60.0)
    assert read_park(client)[0] == 1
    assert client.closed_by_server()
    assert nothing_left(probe, made)


def test_wakes_are_never_lost(harness: Make, probe: ModuleType, hosted: Hosted) -> None:
    """Clients wait for the next change while others make it: after a lost wake, the wait would reach its limit of a minute."""
    made = harness(3)
    publish(made, hosted)
    stop = threading.Event()
    rounds = [0] * 4
    failures: list[object] = []

    def appender(index: int) -> None:
        while not stop.is_set():
            probe.bump(hosted[index])
            time.sleep(0.0001)

    def waiter(index: int) -> None:
        client = made.connect()
        total = 0
        try:
            while not stop.is_set():
                client.send(park(60_000, total + 1, index % 4, (index + 1) % 4))
                expired, total = read_park(client)
                if expired:
                    failures.append((index, total))
                rounds[index] += 1
        except Exception as error:  # noqa: BLE001  (reported by the main thread)
            failures.append(error)
        client.close()

    waiters = [threading.Thread(target=waiter, args=(i,)) for i in range(4)]
    appenders = [threading.Thread(target=appender, args=(i,)) for i in range(4)]
    for thread in waiters + appenders:
        thread.start()
    wait_until(lambda: min(rounds) > 300 or failures, "rounds of all waiters")
    stop.set()
    for thread in appenders:
        thread.join()
    for each in hosted:
        probe.bump(each, 2)
    for thread in waiters:
        thread.join(50)
        assert not thread.is_alive(), "a waiter was not woken"
    assert not failures
    assert nothing_left(probe, made)


def test_expiry_races_with_wakes_and_closing(harness: Make, probe: ModuleType, hosted: Hosted) -> None:
    made = harness(2)
    publish(made, hosted)
    stop = threading.Event()
    threading.Thread(
        target=lambda: [probe.bump(hosted[0]) or time.sleep(0.001) for _ in iter(stop.is_set, True)]
    ).start()
    chance = random.Random(5)
    for _ in range(150):
        client = made.connect()
        client.send(b"".join(park(chance.randrange(4), 1 << 40, 0, 1) for _ in range(10)))
        for _ in range(chance.randrange(11)):
            assert read_park(client)[0] == 1
        client.close()
    stop.set()
    assert nothing_left(probe, made)


def test_metadata_images_are_freed(harness: Make, probe: ModuleType, hosted: Hosted) -> None:
    made = harness()
    publisher = publish(made, hosted)
    client = made.client()
    for i in range(200):
        publisher.set_topics([TopicMetadata(f"t{i}", struct.pack(">16s", b"%d" % i), False, [])], [f"t{i - 50}"])
        publisher.publish()
        client.send(park(60_000, 0, 0))
        read_park(client)
    assert publisher.retired_count() <= 2
    publisher.set_topics([], ["probe"])
    publisher.publish()
    client.send(park(60_000, 0, 0))
    assert client.closed_by_server()
