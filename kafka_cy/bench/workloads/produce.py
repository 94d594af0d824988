"""Producers, each with a number of requests in flight, or all at one common rate. Native: one connection per producer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from kafka_cy.bench.bench_topic import BenchTopic, bench_topic
from kafka_cy.bench.brokers import Target
from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.bench.measure import Load
from kafka_cy.bench.native_load import NativeLoad
from kafka_cy.bench.native_runner import NativeRunner, new_native_load
from kafka_cy.bench.producer_ids import new_producers


@contextlib.contextmanager
def load(target: Target, options: LoadOptions) -> Iterator[Load]:
    """Each native connection produces to the partitions of one leader in turn, starting with a different one."""
    with bench_topic(target, options) as topic:
        if options.generator == "librdkafka":
            from kafka_cy.bench.librdkafka_load import LibrdkafkaLoad

            clients = LibrdkafkaLoad(target, options)
            clients.add_producers(topic)
            yield clients
        else:
            native = new_native_load(target, options)
            add_producers(native, topic, options)
            yield NativeRunner(native)


def add_producers(native: NativeLoad, topic: BenchTopic, options: LoadOptions) -> None:
    """Add `options.producers` connections. Those of one leader divide its partitions, or share them if there are too few."""
    records = options.records_per_batch()
    batches = options.payloads.batches(records, options.compression)
    leaders = sorted(set(topic.leaders))
    ids = new_producers(leaders[0], options.producers) if options.idempotent else [None] * options.producers
    for index in range(options.producers):
        leader = leaders[index % len(leaders)]
        led = [partition for partition, each in enumerate(topic.leaders) if each == leader]
        peers = len(range(index % len(leaders), options.producers, len(leaders)))
        turn = index // len(leaders)
        mine = led[turn::peers] or [led[turn % len(led)]]
        turned = batches[index % len(batches) :] + batches[: index % len(batches)]
        native.add_produce(
            leader, topic.name, mine, turned, records=records, depth=options.in_flight, acks=options.acks, producer=ids[index]
        )
