"""The loads by confluent-kafka (librdkafka): the usual client, client costs included.

Each producer and each consumer is a client in its own thread. The latency of a produced record runs from its due
time (with a rate) or its hand-over, to its delivery report. End to end, it runs to the consumer's delivery, and the
record's value begins with the due time. Requests are counted by librdkafka's statistics.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.bench.bench_topic import BenchTopic
from kafka_cy.bench.brokers import Target, client_config
from kafka_cy.bench.load_options import LoadOptions, OptionError
from kafka_cy.bench.measure import Ending
from kafka_cy.bench.payloads import PAYLOADS_MAX
from kafka_cy.bench.threaded_load import ThreadedLoad

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message, Producer

CLIENTS_MAX = 200  # each is a librdkafka with its own threads
STATISTICS_INTERVAL_MS = 250
DRAIN_TIMEOUT_S = 10.0
SILENT_TIMEOUT_S = 30.0
CONSUME_RECORDS = 500
DUE = struct.Struct(">q")
PAYLOADS_BYTES = 16_000_000

# In the text of an authentication error: the connection ended in the middle, as librdkafka itself ends one to a group coordinator
# whose address it has just learned. It connects again.
TRIED_AGAIN = "Local: Broker transport failure"


class LibrdkafkaLoad(ThreadedLoad):
    """Producers and consumers; add them before `start`."""

    def __init__(self, target: Target, options: LoadOptions) -> None:
        super().__init__(options)
        self.target = target
        self._requests_of: dict[int, int] = {}  # by client, from its statistics
        self._requests_before = 0
        self._produced_out = threading.Event()  # no more records will come
        self._producers_left = 0
        self._expected = self._consumed = 0  # end to end
        self._closed_loop = not options.throughput and not options.num_records
        self._begin_ns = 0
        self._started_records = 0

    # -- setup --

    def add_producers(self, topic: BenchTopic, *, stamped: bool = False) -> None:
        """Add the options' producers; `stamped`: values carry the due time. Raises OptionError, PayloadError."""
        if stamped and self.options.payloads.payload_file is None and self.options.payloads.record_size < DUE.size:
            raise OptionError(f"End to end needs records of at least {DUE.size} bytes (they contain the time of sending).")
        if self.options.payloads.payload_file is not None:
            self.options.payloads.lines()  # raises PayloadError here, not on a producer's thread
        self._check_clients(self.options.producers)
        for index in range(self.options.producers):
            producer = self._new_producer(len(self._jobs))
            self.add(partial(self._produce, producer, topic, index, stamped))
        self._producers_left += self.options.producers

    def add_consumers(self, topic: BenchTopic, starts: list[int], *, tail: bool, stamped: bool = False) -> None:
        """Add the options' consumers; partitions are distributed among them. Without `tail` they read to the end and
        start over."""
        count = min(self.options.consumers, topic.partitions)
        self._check_clients(count)
        for index in range(count):
            mine = range(index, topic.partitions, count)
            consumer = self._new_consumer(len(self._jobs), "kafka-cy-bench", {"enable.partition.eof": not tail})
            places = [(partition, starts[partition]) for partition in mine]
            self.add(partial(self._consume, consumer, topic.name, places, tail, stamped))

    def add_groups(self, topic: BenchTopic, prefix: str) -> None:
        """Add the options' groups of members; latency is the time from subscribing to the assignment."""
        self._check_clients(self.options.groups * self.options.members)
        for group in range(self.options.groups):
            for _ in range(self.options.members):
                consumer = self._new_consumer(len(self._jobs), f"{prefix}-{group:06d}", {"enable.auto.commit": True})
                self.add(partial(self._join, consumer, topic.name))

    def _check_clients(self, count: int) -> None:
        if len(self._jobs) + count > CLIENTS_MAX:
            raise OptionError(
                f"The librdkafka generator runs at most {CLIENTS_MAX} clients in one process, and {count} are wanted: "
                "use --generator native."
            )

    def _new_producer(self, client: int) -> Producer:
        from confluent_kafka import KafkaException
        from confluent_kafka import Producer as NewProducer

        options = self.options
        settings = {
            "acks": options.acks,
            "enable.idempotence": options.idempotent,
            "batch.size": options.batch_size,
            "linger.ms": options.linger_ms,
            "compression.type": options.compression,
            "max.in.flight.requests.per.connection": options.in_flight,
            "statistics.interval.ms": STATISTICS_INTERVAL_MS,
            "stats_cb": partial(self._statistics, client),
            "error_cb": self._client_error,
            **options.producer_properties,
        }
        try:
            return NewProducer(client_config(self.target, settings))
        except KafkaException as error:
            raise OptionError(f"{error.args[0].str()}.") from None

    def _new_consumer(self, client: int, group: str, extra: dict[str, Any]) -> Consumer:
        from confluent_kafka import Consumer as NewConsumer
        from confluent_kafka import KafkaException

        options = self.options
        settings = {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "max.partition.fetch.bytes": options.fetch_bytes,
            "fetch.min.bytes": options.fetch_min_bytes,
            "fetch.wait.max.ms": options.fetch_max_wait_ms,
            "statistics.interval.ms": STATISTICS_INTERVAL_MS,
            "stats_cb": partial(self._statistics, client),
            "error_cb": self._client_error,
            **extra,
            **options.consumer_properties,
        }
        try:
            return NewConsumer(client_config(self.target, settings))
        except KafkaException as error:
            raise OptionError(f"{error.args[0].str()}.") from None

    # -- measure.Load --

    def start(self) -> None:
        self._begin_ns = time.monotonic_ns()
        super().start()

    def counters(self) -> tuple[int, int, int, int]:
        requests = sum(self._requests_of.values()) - self._requests_before
        return max(0, requests), self._records, self._bytes, self._errors

    def ending(self) -> Ending:
        ending = super().ending()
        if ending.error is None and self._errors:
            return dataclasses.replace(ending, error=f"{self._errors} records were not delivered.")
        return ending

    def _warmed_up(self) -> None:
        self._requests_before = sum(self._requests_of.values())

    def _guard(self, job: Callable[[], None]) -> None:
        """Run a thread's work; an exception from the client ends the whole load."""
        from confluent_kafka import KafkaException

        try:
            job()
        except KafkaException as error:
            self.fail(f"librdkafka: {error.args[0].str()}.")

    def _client_error(self, error: KafkaError) -> None:
        from confluent_kafka import KafkaError as Codes

        if error.code() == Codes._ALL_BROKERS_DOWN:
            self.fail("The broker closed its connections, and takes no new ones.", closed=True)
        elif error.fatal() or (error.code() in (Codes._AUTHENTICATION, Codes._SSL) and TRIED_AGAIN not in error.str()):
            self.fail(f"librdkafka: {error.str()}.")

    def _statistics(self, client: int, text: str) -> None:
        brokers = json.loads(text)["brokers"].values()
        self._requests_of[client] = sum(each["req"].get("Produce", 0) + each["req"].get("Fetch", 0) for each in brokers)

    # -- producing --

    def _produce(self, producer: Producer, topic: BenchTopic, index: int, stamped: bool) -> None:
        pairs = self._payloads(index, stamped)
        try:
            for due_ns in self._schedule(producer, index):
                key, value = next(pairs)
                if stamped:
                    value = DUE.pack(due_ns) + value[DUE.size :]
                report = partial(self._delivered, due_ns, stamped)
                while not self._stop.is_set():
                    try:
                        producer.produce(topic.name, value, key, on_delivery=report)
                        break
                    except BufferError:
                        producer.poll(0.01)
                producer.poll(0)
            if self._closed_loop and self._records + self._expected:
                producer.purge(in_flight=False)  # records that a closed loop has not sent do not count
            deadline = time.monotonic() + DRAIN_TIMEOUT_S
            while len(producer) and not self._stop.is_set() and time.monotonic() < deadline:
                producer.flush(0.1)
            if not self._stop.is_set():
                with self._lock:
                    self._errors += len(producer)
            producer.poll(STATISTICS_INTERVAL_MS * 1.2 / 1000)  # the last statistics
        finally:
            producer.purge()
            producer.flush(1)
            with self._lock:
                self._producers_left -= 1
                if not self._producers_left:
                    self._produced_out.set()

    def _payloads(self, index: int, stamped: bool) -> Iterator[tuple[bytes | None, bytes]]:
        """Pairs of key and value, prepared in advance and then repeated."""
        payloads = self.options.payloads
        values, keys = payloads.values(), payloads.key_stream()
        size, pairs = 0, []
        for _ in range(PAYLOADS_MAX):
            pairs.append((next(keys), next(values)))
            size += len(pairs[-1][1])
            if size > PAYLOADS_BYTES:
                break
        if stamped and min(len(value) for _, value in pairs) < DUE.size:
            self.fail(f"End to end needs payloads of at least {DUE.size} bytes.")
        turned = pairs[index % len(pairs) :] + pairs[: index % len(pairs)]
        return itertools.cycle(turned)

    def _schedule(self, producer: Producer, index: int) -> Iterator[int]:
        """Due time of each record of this producer; waits for it. Ends with the duration, the count, or a stop."""
        step_ns = 1e9 / self.options.throughput * self.options.producers if self.options.throughput else 0.0
        first_ns = self._begin_ns + int(step_ns * index / self.options.producers)
        for number in itertools.count():
            now_ns = time.monotonic_ns()
            due_ns = first_ns + int(number * step_ns) if step_ns else now_ns
            while now_ns < due_ns < self._end_ns and not self._stop.is_set():
                producer.poll(min(0.1, (due_ns - now_ns) / 1e9))
                now_ns = time.monotonic_ns()
            if due_ns >= self._end_ns or self._stop.is_set():
                return
            if due_ns >= self._measured_from_ns and self.options.num_records:
                with self._lock:
                    if self._started_records >= self.options.num_records:
                        return
                    self._started_records += 1
            yield due_ns

    def _is_counted(self, due_ns: int, now_ns: int) -> bool:
        """Whether a record belongs to the measured time: by its due time if that does not depend on the broker."""
        return (now_ns if self._closed_loop else due_ns) >= self._measured_from_ns

    def _delivered(self, due_ns: int, stamped: bool, error: KafkaError | None, message: Message) -> None:
        """A delivery report, on its producer's thread."""
        from confluent_kafka import KafkaError as Codes

        counted = self._is_counted(due_ns, time.monotonic_ns())
        with self._lock:
            if error is not None:
                if error.code() not in (Codes._PURGE_QUEUE, Codes._PURGE_INFLIGHT) and counted:
                    self._errors += 1
                    self._error = self._error or f"Records were not delivered: {error.str()}."
            elif stamped:
                self._expected += 1
            elif counted:
                now_ns = time.monotonic_ns()
                self._latency.record(now_ns - due_ns)
                self._records += 1
                self._bytes += len(message)
                self._finished_ns = now_ns

    # -- consuming --

    def _consume(
        self, consumer: Consumer, topic: str, places: list[tuple[int, int]], tail: bool, stamped: bool
    ) -> None:
        from confluent_kafka import KafkaError as Codes
        from confluent_kafka import KafkaException, TopicPartition

        consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in places])
        starts = dict(places)
        last_record_at = time.monotonic()
        try:
            while self._goes_on(tail, last_record_at):
                # consume() waits until it has as many as requested: wait for one, then take the others without waiting.
                messages = consumer.consume(1, timeout=0.1)
                if messages:
                    messages += consumer.consume(CONSUME_RECORDS - 1, timeout=0)
                now_ns = time.monotonic_ns()
                for message in messages:
                    error = message.error()
                    if error is not None:
                        if error.code() == Codes._PARTITION_EOF:
                            place = int(message.partition() or 0)
                            consumer.seek(TopicPartition(topic, place, starts[place]))
                        elif not error.retriable():
                            raise KafkaException(error)
                        continue
                    self._took(message, now_ns, stamped)
                    last_record_at = time.monotonic()
        finally:
            consumer.close()

    def _goes_on(self, tail: bool, last_record_at: float) -> bool:
        if self._stop.is_set():
            return False
        if tail:
            if not self._produced_out.is_set():
                return True
            waited_s = time.monotonic() - last_record_at
            return self._consumed < self._expected and waited_s < DRAIN_TIMEOUT_S
        if time.monotonic() - last_record_at > SILENT_TIMEOUT_S:
            self.fail("No record came for half a minute.", closed=True)
        if self.options.num_records and self._records >= self.options.num_records:
            return False
        return time.monotonic_ns() < self._end_ns

    def _took(self, message: Message, now_ns: int, stamped: bool) -> None:
        counted = now_ns >= self._measured_from_ns
        with self._lock:
            if stamped:
                due_ns = DUE.unpack_from(message.value() or bytes(DUE.size))[0]
                self._consumed += 1
                counted = self._is_counted(due_ns, now_ns)
                if counted:
                    self._latency.record(now_ns - due_ns)
            if counted:
                self._records += 1
                self._bytes += len(message)
                self._finished_ns = now_ns

    def _join(self, consumer: Consumer, topic: str) -> None:
        """A member of a group: joins, then reads until the end."""
        subscribed_ns = time.monotonic_ns()
        assigned = threading.Event()

        def on_assign(_consumer: Consumer, _places: list[Any]) -> None:
            if not assigned.is_set():
                assigned.set()
                self._latency.record(time.monotonic_ns() - subscribed_ns)

        consumer.subscribe([topic], on_assign=on_assign)
        try:
            while not self._stop.is_set() and time.monotonic_ns() < self._end_ns:
                for message in consumer.consume(CONSUME_RECORDS, timeout=0.1):
                    if message.error() is None:
                        self._took(message, time.monotonic_ns(), False)
            if not assigned.is_set() and not self._stop.is_set():
                with self._lock:
                    self._errors += 1
                self._error = self._error or "A member of a group got no assignment in the run's time."
        finally:
            consumer.close()
