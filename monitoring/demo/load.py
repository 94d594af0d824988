"""A load to look at: a shop's orders, payments and clicks, with consumer groups that keep up and one that does not.

Usage: load.py [--bootstrap-server HOST:PORT] [--rate RECORDS_A_SECOND] [--seconds N]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import signal
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

# Topic: partitions, share of the records, compression of its producer.
TOPICS = {"orders": (6, 0.3, "zstd"), "payments": (3, 0.1, "lz4"), "clicks": (12, 0.6, "gzip")}
# Group: its topics, members, and how many records a second each member handles (None: as they come).
GROUPS = {
    "billing": (["orders", "payments"], 2, None),
    "dashboard": (["orders", "clicks"], 1, None),
    "slow-archive": (["clicks"], 1, 20),
}
DAY_SECONDS = 600  # a day of this shop: the rate rises and falls
TICK_SECONDS = 0.2
START_SECONDS_MAX = 60.0


def create_topics(bootstrap: str) -> None:
    """Make the topics that are missing; waits up to a minute for the brokers."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        # A new client each time: one that connected before there was a controller looks for it too seldom.
        admin = AdminClient({"bootstrap.servers": bootstrap, "client.id": "demo-setup"})
        try:
            return create_missing(admin)
        except (KafkaException, TimeoutError):
            if time.monotonic() > deadline:
                raise


def create_missing(admin: AdminClient) -> None:
    """Raises KafkaException, TimeoutError."""
    new = [NewTopic(name, num_partitions=partitions) for name, (partitions, _, _) in TOPICS.items()]
    for future in admin.create_topics(new, operation_timeout=5, request_timeout=10).values():
        try:
            future.result(15)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def record(topic: str, number: int) -> bytes:
    """One event as JSON."""
    event = {"topic": topic, "number": number, "customer": random.randrange(10_000), "items": random.randrange(1, 9)}
    return json.dumps({**event, "note": "thank you for your order " * random.randrange(1, 12)}).encode()


def produce(bootstrap: str, topic: str, rate: float, stop: threading.Event) -> None:
    """Records at `rate` a second, more by day than by night."""
    settings = {"bootstrap.servers": bootstrap, "client.id": f"demo-{topic}", "linger.ms": 20}
    producer = Producer({**settings, "compression.type": TOPICS[topic][2]})
    number = 0
    due = 0.0
    while not stop.wait(TICK_SECONDS):
        due += rate * TICK_SECONDS * (1 + 0.6 * math.sin(2 * math.pi * time.time() / DAY_SECONDS))
        while due >= 1:
            try:
                producer.produce(topic, record(topic, number), key=str(number % 997))
            except BufferError:  # the broker is away: what has no room is lost, as in a shop's clicks
                break
            number += 1
            due -= 1
        producer.poll(0)
    producer.flush(5)


def consume(bootstrap: str, group: str, member: int, stop: threading.Event) -> None:
    """One member of a group, until told to stop."""
    topics, _, rate = GROUPS[group]
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "client.id": f"demo-{group}-{member}",
            "group.id": group,
            "auto.offset.reset": "earliest",
            "auto.commit.interval.ms": 1000,
        }
    )
    consumer.subscribe(topics)
    while not stop.is_set():
        messages = consumer.consume(20 if rate else 500, timeout=0.5)
        if rate and messages:
            stop.wait(len(messages) / rate)
    consumer.close()


def main() -> None:
    """Run until SIGTERM, Ctrl-C or the end of --seconds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bootstrap-server", default="127.0.0.1:9092")
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float)
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    bootstrap = arguments.bootstrap_server
    create_topics(bootstrap)
    threads = [
        threading.Thread(target=produce, args=(bootstrap, topic, arguments.rate * share, stop))
        for topic, (_, share, _) in TOPICS.items()
    ]
    threads += [
        threading.Thread(target=consume, args=(bootstrap, group, member, stop))
        for group, (_, members, _) in GROUPS.items()
        for member in range(members)
    ]
    for thread in threads:
        thread.start()
    stop.wait(arguments.seconds)
    stop.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
