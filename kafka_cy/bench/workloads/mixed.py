"""Producers, and consumers that follow them. Requests, records and bytes count both; latency is that of producing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from kafka_cy.bench.bench_topic import bench_topic, offsets
from kafka_cy.bench.brokers import Target
from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.bench.measure import Load
from kafka_cy.bench.native_runner import NativeRunner, new_native_load
from kafka_cy.bench.workloads import produce


@contextlib.contextmanager
def load(target: Target, options: LoadOptions) -> Iterator[Load]:
    """Native: each consumer connection reads one partition, starting at its end."""
    with bench_topic(target, options) as topic:
        _, ends = offsets(target, topic)
        if options.generator == "librdkafka":
            from kafka_cy.bench.librdkafka_load import LibrdkafkaLoad

            clients = LibrdkafkaLoad(target, options)
            clients.add_consumers(topic, ends, tail=True)
            clients.add_producers(topic)
            yield clients
            return
        native = new_native_load(target, options)
        produce.add_producers(native, topic, options)
        for index in range(options.consumers):
            partition = index % topic.partitions
            native.add_fetch(
                topic.leaders[partition],
                topic.name,
                partition,
                first_offset=ends[partition],
                max_bytes=options.fetch_bytes,
                min_bytes=options.fetch_min_bytes,
                max_wait_ms=options.fetch_max_wait_ms,
                tail=True,
            )
        yield NativeRunner(native)
