"""Consumers that read a topic from start to end repeatedly, until the time or the record count is reached."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from kafka_cy.bench.bench_topic import BenchTopic, bench_topic, offsets, wait_for_leaders
from kafka_cy.bench.brokers import Target
from kafka_cy.bench.load_options import LoadOptions, OptionError
from kafka_cy.bench.measure import Load
from kafka_cy.bench.native_load import NativeLoad
from kafka_cy.bench.native_runner import NativeRunner, new_native_load, run_unmeasured, security_protocol
from kafka_cy.bench.secured import SecuredTarget
from kafka_cy.bench.workloads import produce

FILL_S_MAX = 20.0


@contextlib.contextmanager
def load(target: Target, options: LoadOptions) -> Iterator[Load]:
    """Read the given topic; without one, create a topic and fill it first."""
    with bench_topic(target, options, must_exist=True) as topic:
        if options.topic is None:
            fill(target, topic, options, options.fill_bytes)
        starts, ends = offsets(target, topic)
        read = [index for index in range(topic.partitions) if ends[index] > starts[index]]
        if not read:
            raise OptionError(f"Topic {topic.name} has no records.")
        if options.generator == "librdkafka":
            from kafka_cy.bench.librdkafka_load import LibrdkafkaLoad

            clients = LibrdkafkaLoad(target, options)
            clients.add_consumers(topic, starts, tail=False)
            yield clients
        else:
            native = new_native_load(target, options, records_max=options.num_records or 0)
            add_consumers(native, topic, options, read, starts)
            yield NativeRunner(native)


def add_consumers(
    native: NativeLoad, topic: BenchTopic, options: LoadOptions, partitions: list[int], starts: list[int]
) -> None:
    """Add one connection per consumer, each for one partition; surplus partitions are not read."""
    for index in range(options.consumers):
        partition = partitions[index % len(partitions)]
        native.add_fetch(
            topic.leaders[partition],
            topic.name,
            partition,
            first_offset=starts[partition],
            max_bytes=options.fetch_bytes,
            min_bytes=options.fetch_min_bytes,
            max_wait_ms=options.fetch_max_wait_ms,
        )


def fill(target: Target, topic: BenchTopic, options: LoadOptions, size_bytes: int, seconds: float = FILL_S_MAX) -> int:
    """Write about `size_bytes` to the topic, for at most `seconds`. Returns the bytes written. Raises BrokerError."""
    if isinstance(target, SecuredTarget):  # plaintext is faster, and the batches are those of the native generator
        target = target.broker
        topic = BenchTopic(topic.name, wait_for_leaders(target, topic.name), topic.made)
    request_bytes = max(map(len, options.payloads.batches(options.records_per_batch(), options.compression)))
    requests = max(topic.partitions, size_bytes // request_bytes)
    filling = dataclasses.replace(
        options,
        producers=min(topic.partitions, 4),
        in_flight=5,
        acks=1,
        duration_s=seconds,
        warm_up_s=0.0,
        throughput=None,
        num_records=requests * options.records_per_batch(),
    )
    runner: Load
    if security_protocol(target, options).lower() == "plaintext":
        filling = dataclasses.replace(filling, generator="native", producer_properties={}, consumer_properties={})
        native = new_native_load(target, filling)
        produce.add_producers(native, topic, filling)
        runner = NativeRunner(native)
    else:
        from kafka_cy.bench.librdkafka_load import LibrdkafkaLoad

        runner = clients = LibrdkafkaLoad(target, filling)
        clients.add_producers(topic)
    run_unmeasured(runner, "The topic could not be filled")
    return runner.counters()[2]
