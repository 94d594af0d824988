"""The topic of a load: created or found, with its partition leaders. The floor accepts any topic name."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kafka_cy.bench import results
from kafka_cy.bench.brokers import BrokerError, Target, connect_admin, parse_address
from kafka_cy.bench.load_options import LoadOptions, OptionError

LEADERS_TIMEOUT_S = 30.0
REQUEST_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class BenchTopic:
    """A topic whose partitions have leaders; `leaders` are their addresses by partition."""

    name: str
    leaders: list[tuple[str, int]]
    made: bool

    @property
    def partitions(self) -> int:
        return len(self.leaders)


@contextlib.contextmanager
def bench_topic(target: Target, options: LoadOptions, *, must_exist: bool = False) -> Iterator[BenchTopic]:
    """The load's topic; deleted again if the load created it. Raises BrokerError, OptionError."""
    if target.name == results.FLOOR:
        address = parse_address(target.bootstrap_servers)
        yield BenchTopic("floor", [address] * options.partitions, False)
        return
    topic = _find(target, options.topic) if options.topic else None
    if topic is None and must_exist and options.topic:
        raise OptionError(f"Topic {options.topic} does not exist.")
    if topic is None:
        topic = _make(target, options)
    try:
        yield topic
    finally:
        if topic.made:
            _delete(target, topic.name)


def _find(target: Target, name: str) -> BenchTopic | None:
    admin = connect_admin(target)
    # A metadata request for all topics creates none; a request for one name may auto-create it.
    if name not in admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics:
        return None
    return BenchTopic(name, wait_for_leaders(target, name), False)


def _make(target: Target, options: LoadOptions) -> BenchTopic:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import NewTopic

    name = options.topic or f"bench-{uuid.uuid4().hex[:12]}"
    new = NewTopic(name, options.partitions, options.replication_factor, config=options.topic_config)
    admin = connect_admin(target)
    try:
        admin.create_topics([new], request_timeout=REQUEST_TIMEOUT_S)[name].result(REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise OptionError(f"Topic {name} cannot be made: {error.args[0].str()}.") from None
    except TimeoutError:
        raise BrokerError(f"{target.bootstrap_servers} did not make a topic in {REQUEST_TIMEOUT_S:.0f} s.") from None
    return BenchTopic(name, wait_for_leaders(target, name), options.topic is None)


def wait_for_leaders(target: Target, name: str) -> list[tuple[str, int]]:
    """Addresses of the leaders of all partitions, once they serve; raises BrokerError."""
    from confluent_kafka import KafkaException, TopicPartition
    from confluent_kafka.admin import OffsetSpec

    admin = connect_admin(target)
    deadline = time.monotonic() + LEADERS_TIMEOUT_S
    while time.monotonic() < deadline:
        metadata = admin.list_topics(name, timeout=REQUEST_TIMEOUT_S)
        partitions: Any = metadata.topics[name].partitions
        if partitions and all(each.leader in metadata.brokers for each in partitions.values()):
            wanted = {TopicPartition(name, index): OffsetSpec.latest() for index in partitions}
            try:
                for future in admin.list_offsets(wanted, request_timeout=5).values():
                    future.result(6)
            except (KafkaException, TimeoutError):
                time.sleep(0.05)  # Apache Kafka's leaders appear shortly after the metadata
                continue
            brokers: list[Any] = [metadata.brokers[partitions[index].leader] for index in sorted(partitions)]
            return [(broker.host, broker.port) for broker in brokers]
        time.sleep(0.05)
    raise BrokerError(f"The partitions of topic {name} have no leaders after {LEADERS_TIMEOUT_S:.0f} s.")


def offsets(target: Target, topic: BenchTopic) -> tuple[list[int], list[int]]:
    """(first, next) offsets of the partitions."""
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import OffsetSpec

    if target.name == results.FLOOR:
        return [0] * topic.partitions, [1] * topic.partitions  # it has no ListOffsets; a load fills it first
    admin = connect_admin(target)
    found = []
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):
        futures = admin.list_offsets({TopicPartition(topic.name, index): spec for index in range(topic.partitions)})
        by_partition = {place.partition: future.result(REQUEST_TIMEOUT_S).offset for place, future in futures.items()}
        found.append([by_partition[index] for index in range(topic.partitions)])
    return found[0], found[1]


def _delete(target: Target, name: str) -> None:
    from confluent_kafka import KafkaException

    if not target.alive():
        return
    try:
        admin = connect_admin(target)  # kept: its futures never finish once it is collected
        admin.delete_topics([name], request_timeout=REQUEST_TIMEOUT_S)[name].result(REQUEST_TIMEOUT_S)
    except (BrokerError, KafkaException, TimeoutError):
        pass  # it died in the meantime: the run reports it
