"""Kafka Streams at exactly_once_v2: joins and windows, with kill -9 of the application and of the broker."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from exactly_once import KILLS, QUIET, RESULTS_S, TIMEOUT_S, create_topics, read_committed
from java_streams import StreamsApplication

from kafka_cy.testing import Broker
from tests.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.crash, pytest.mark.timeout(600 + 300 * KILLS)]
PARTITIONS = 2
INPUTS, OUTPUTS = ("orders", "payments", "customers"), ("paid", "regions")
CUSTOMERS = {f"customer-{number}": f"region-{number % 3}" for number in range(12)}
ORDERS_PER_STEP = 200
WINDOW_MS, STEP_MS = 10_000, 100
BEGIN_MS = 1_700_000_000_000


@pytest.fixture
def broker() -> Iterator[Broker]:
    settings = {
        "transaction.state.log.num.partitions": 3,
        "offsets.topic.num.partitions": 3,
        "group.min.session.timeout.ms": 1000,
        "group.streams.min.session.timeout.ms": 1500,
        "group.streams.session.timeout.ms": 1500,
        "group.streams.min.heartbeat.interval.ms": 300,
        "group.streams.heartbeat.interval.ms": 300,
        "group.streams.initial.rebalance.delay.ms": 300,
    }
    with Broker(settings) as started:
        yield started


class Shop:
    """Writes the input and knows the output. Owner: the test."""

    def __init__(self, bootstrap: str) -> None:
        partitioner = {"partitioner": "murmur2_random"}  # as Java's: what is joined must lie in the same partition
        self._producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, **partitioner, **QUIET})
        self.order_count = 0
        self.paid: dict[str, str] = {}
        self.regions: dict[str, int] = defaultdict(int)
        for customer, region in CUSTOMERS.items():
            # Before every order: which of two records with the same timestamp Streams takes first is not defined.
            self._producer.produce("customers", region, customer, timestamp=BEGIN_MS - STEP_MS)
        self._flush()

    def _flush(self) -> None:
        assert self._producer.flush(TIMEOUT_S) == 0

    def sell(self, count: int) -> None:
        """Orders, and a payment for every second one."""
        for number in range(self.order_count, self.order_count + count):
            order, customer = f"order-{number}", f"customer-{number * 7 % len(CUSTOMERS)}"
            time_ms = BEGIN_MS + number * STEP_MS
            self._producer.produce("orders", customer, order, timestamp=time_ms)
            self.regions[f"{CUSTOMERS[customer]}@{time_ms // WINDOW_MS * WINDOW_MS}"] += 1
            if number % 2:
                self._producer.produce("payments", str(number), order, timestamp=time_ms + 1)
                self.paid[order] = f"{customer} {number}"
        self.order_count += count
        self._flush()


def texts(bootstrap: str, topic: str) -> list[tuple[str, str]]:
    """Key and value of every committed record."""
    return [
        ((key or b"").decode(), (value or b"").decode()) for key, value in read_committed(bootstrap, topic, PARTITIONS)
    ]


@pytest.mark.parametrize("group_protocol", ["classic", "streams"])
def test_joins_and_windows_with_kills(
    broker: Broker, streams_classes: Path, tmp_path: Path, group_protocol: str
) -> None:
    """The results of each input record are there once: a second time would be a second row, or a count too high."""
    bootstrap = broker.bootstrap_servers
    create_topics(bootstrap, PARTITIONS, *INPUTS, *OUTPUTS)
    shop = Shop(bootstrap)

    def start() -> StreamsApplication:
        return StreamsApplication(
            streams_classes, "JoinsAndWindows", *INPUTS, *OUTPUTS, bootstrap=bootstrap, application_id="shop",
            state_dir=tmp_path / "state", group_protocol=group_protocol,
            settings={"session.timeout.ms": 1500, "heartbeat.interval.ms": 300} if group_protocol == "classic" else {},
        )  # fmt: skip

    chance = random.Random(KILLS)
    application = start()
    try:
        for kill in range(2 * KILLS):
            before = len(shop.paid)
            shop.sell(ORDERS_PER_STEP)
            some = before + chance.randrange(1, ORDERS_PER_STEP // 2)
            wait_until(
                lambda some=some: len(texts(bootstrap, "paid")) >= some, f"orders: {application.log_path}", RESULTS_S
            )
            shop.sell(ORDERS_PER_STEP)
            if kill % 2:
                broker.kill()
                broker.start()
            else:
                application.kill()
                application = start()
        total = shop.order_count
        wait_until(lambda: len(texts(bootstrap, "regions")) >= total, f"the results: {application.log_path}", RESULTS_S)
        wait_until(
            lambda: len(texts(bootstrap, "paid")) >= len(shop.paid), f"the results: {application.log_path}", RESULTS_S
        )
        application.close()
    finally:
        application.kill()
    paid, regions = texts(bootstrap, "paid"), defaultdict(list)
    assert sorted(paid) == sorted(shop.paid.items())
    for window, count in texts(bootstrap, "regions"):
        regions[window].append(int(count))
    assert regions == {window: list(range(1, count + 1)) for window, count in shop.regions.items()}
