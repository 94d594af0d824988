"""Consumer groups. Native: commits the offsets of many groups in turn. librdkafka: members join, read and commit."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

from kafka_cy.base.coordinator_retry import committed_offsets
from kafka_cy.bench import results
from kafka_cy.bench.bench_topic import BenchTopic, bench_topic
from kafka_cy.bench.brokers import BrokerError, Target, client_config, connect_admin
from kafka_cy.bench.load_options import LoadOptions, OptionError
from kafka_cy.bench.measure import Load
from kafka_cy.bench.native_load import NativeLoad
from kafka_cy.bench.native_runner import NativeRunner, new_native_load
from kafka_cy.bench.requests import offset_commit_request

COORDINATOR_TIMEOUT_S = 30.0
DELETE_AT_ONCE = 500


@contextlib.contextmanager
def load(target: Target, options: LoadOptions) -> Iterator[Load]:
    """The groups are deleted afterwards. Native needs a single broker, which it treats as the coordinator of all groups."""
    prefix = f"bench-{uuid.uuid4().hex[:8]}"
    names = [f"{prefix}-{number:06d}" for number in range(options.groups)]
    with bench_topic(target, options) as topic:
        try:
            if options.generator == "librdkafka":
                from kafka_cy.bench.librdkafka_load import LibrdkafkaLoad

                clients = LibrdkafkaLoad(target, options)
                clients.add_groups(topic, prefix)
                yield clients
            else:
                if len(set(topic.leaders)) > 1:
                    raise OptionError("The native groups load supports only a single broker: use --generator librdkafka.")
                if target.name != results.FLOOR:  # it takes commits of any group
                    prepare_coordinator(target, names[0], topic.name)
                native = new_native_load(target, options)
                add_commits(native, topic, names, options)
                yield NativeRunner(native)
        finally:
            delete_groups(target, names)


def add_commits(native: NativeLoad, topic: BenchTopic, names: list[str], options: LoadOptions) -> None:
    """Add `options.producers` connections that commit one offset per group, in turn."""
    connections = min(options.producers, len(names))
    for index in range(connections):
        requests = [offset_commit_request(name, topic.name, 0, 1) for name in names[index::connections]]
        native.add_requests(topic.leaders[0], requests, depth=options.in_flight)


def prepare_coordinator(target: Target, group: str, topic: str) -> None:
    """Wait for a coordinator, which makes the broker create its offsets topic. Raises BrokerError."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    consumer = Consumer(client_config(target, {"group.id": group}))
    try:
        committed_offsets(consumer, [TopicPartition(topic, 0)], COORDINATOR_TIMEOUT_S)
    except KafkaException as error:
        raise BrokerError(f"The broker has no group coordinator: {error.args[0].str()}.") from None
    finally:
        consumer.close()


def delete_groups(target: Target, names: list[str]) -> None:
    """Delete the groups that exist, if the broker is still running."""
    from confluent_kafka import KafkaException

    if target.name == results.FLOOR or not target.alive():
        return
    try:
        admin = connect_admin(target)
        for at in range(0, len(names), DELETE_AT_ONCE):
            for future in admin.delete_consumer_groups(names[at : at + DELETE_AT_ONCE]).values():
                try:
                    future.result(COORDINATOR_TIMEOUT_S)
                except KafkaException:
                    continue  # the run was too short to reach this group
    except (BrokerError, KafkaException, TimeoutError):
        return
