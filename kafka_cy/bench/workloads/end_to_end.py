"""Latency from when a record is due until a consumer has it. Nothing else may write to the topic meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from kafka_cy.bench.bench_topic import bench_topic, offsets
from kafka_cy.bench.brokers import Target
from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.bench.measure import Load
from kafka_cy.bench.native_runner import NativeRunner, new_native_load
from kafka_cy.bench.producer_ids import new_producers


@contextlib.contextmanager
def load(target: Target, options: LoadOptions) -> Iterator[Load]:
    """Native: one producer connection and one consumer connection for each of the first `producers` partitions."""
    with bench_topic(target, options) as topic:
        _, ends = offsets(target, topic)
        if options.generator == "librdkafka":
            from kafka_cy.bench.librdkafka_load import LibrdkafkaLoad

            clients = LibrdkafkaLoad(target, options)
            clients.add_consumers(topic, ends, tail=True, stamped=True)
            clients.add_producers(topic, stamped=True)
            yield clients
            return
        native = new_native_load(target, options, end_to_end=True)
        records = options.records_per_batch()
        batches = options.payloads.batches(records, options.compression)
        count = min(options.producers, topic.partitions)
        ids = new_producers(topic.leaders[0], count) if options.idempotent else [None] * count
        for partition in range(count):
            native.add_end_to_end(
                topic.leaders[partition],
                topic.name,
                partition,
                batches,
                records=records,
                end_offset=ends[partition],
                max_bytes=options.fetch_bytes,
                depth=options.in_flight,
                acks=options.acks,
                min_bytes=options.fetch_min_bytes,
                max_wait_ms=options.fetch_max_wait_ms,
                producer=ids[partition],
            )
        yield NativeRunner(native)
