"""Transactions of confluent-kafka: a request is a transaction of `batch_records` records, distributed over the partitions.

The latency runs from begin_transaction until commit_transaction returns. One client and one thread per producer.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.bench.bench_topic import BenchTopic, bench_topic
from kafka_cy.bench.brokers import Target, client_config
from kafka_cy.bench.load_options import LoadOptions, OptionError
from kafka_cy.bench.measure import Load
from kafka_cy.bench.threaded_load import LoadFailure, ThreadedLoad

if TYPE_CHECKING:
    from confluent_kafka import Producer

RECORDS = 10  # of a transaction, by default
TIMEOUT_S = 30.0


@contextlib.contextmanager
def load(target: Target, options: LoadOptions) -> Iterator[Load]:
    """The producers are initialized before the load begins. Raises OptionError."""
    with bench_topic(target, options) as topic:
        transactions = ThreadedLoad(options)
        prefix = f"bench-{uuid.uuid4().hex[:8]}"
        for index in range(options.producers):
            producer = new_producer(target, options, f"{prefix}-{index}")
            transactions.add(partial(transact, transactions, producer, topic, options))
        yield transactions


def new_producer(target: Target, options: LoadOptions, transactional_id: str) -> Producer:
    """A producer that may begin a transaction. Raises OptionError."""
    from confluent_kafka import KafkaException
    from confluent_kafka import Producer as NewProducer

    settings = {"transactional.id": transactional_id, "linger.ms": 0, **options.producer_properties}
    try:
        producer = NewProducer(client_config(target, settings))
        producer.init_transactions(TIMEOUT_S)
    except KafkaException as error:
        raise OptionError(f"The producer cannot begin transactions: {error.args[0].str()}.") from None
    return producer


def transact(load: ThreadedLoad, producer: Producer, topic: BenchTopic, options: LoadOptions) -> None:
    """One producer's transactions, one after the other."""
    from confluent_kafka import KafkaException

    count = options.batch_records or RECORDS
    values = options.payloads.values()
    try:
        while not load.is_over():
            began_ns = time.monotonic_ns()
            producer.begin_transaction()
            for index in range(count):
                producer.produce(topic.name, next(values), partition=index % topic.partitions)
            producer.commit_transaction(TIMEOUT_S)
            load.answered(began_ns, count, count * options.payloads.record_size)
    except KafkaException as error:
        raise LoadFailure(f"A transaction failed: {error.args[0].str()}.") from None
