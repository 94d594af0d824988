"""`bench compare`: kafka-cy, Apache Kafka and the machine's floor, in interleaved rounds.

All servers run at the same time. Each round runs every row against each of them in rotating order, so that other
activity on the machine affects all equally. Memory is touched and the JVM warmed up before measuring.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka_cy.bench import machine, results, workloads
from kafka_cy.bench.brokers import KAFKA_VERSION, ApacheKafka, Floor, OwnBroker, Target
from kafka_cy.bench.floor import synced_writes
from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.bench.measure import Progress
from kafka_cy.bench.native_runner import raise_descriptor_limit_as_far_as_it_goes
from kafka_cy.bench.payloads import Payloads
from kafka_cy.bench.secured import Certificate, SecuredListeners, Security

GIB = 2**30
FLUSH_EACH = {"flush.messages": "1"}
#: Without it, a minute's files would be written to disk all at once.
DELETE_SOON = {"log.segment.delete.delay.ms": 1000}


@dataclass(frozen=True)
class Row:
    """A load of the table. `synced`: a response means that the record is on disk.

    `floor`: the machine's floor serves it, too. `is_long`: a run takes seconds, whatever its duration. `security`: of its
    clients; only librdkafka speaks more than PLAINTEXT.
    """

    label: str
    workload: str
    unit: results.Unit
    options: dict[str, Any] = field(default_factory=dict)
    record_size: int = 100
    synced: bool = False
    floor: bool = True
    is_long: bool = False
    security: Security = "PLAINTEXT"

    def load_options(self, duration_s: float) -> LoadOptions:
        """4 connections and 4 partitions unless the row overrides them."""
        return dataclasses.replace(
            LoadOptions(
                duration_s=duration_s,
                warm_up_s=0.0 if self.is_long else min(0.5, duration_s / 3),
                batch_records=150,
                fill_bytes=200_000_000,
                topic_config=FLUSH_EACH if self.synced else {},
                payloads=Payloads(record_size=self.record_size),
            ),
            **self.options,
        )


ONE_RECORD = {"batch_records": 1, "in_flight": 1}
LIBRDKAFKA: dict[str, Any] = {"generator": "librdkafka", "acks": -1, "producers": 2}
IDEMPOTENT = {"idempotent": True}
#: As many requests whatever a request costs the generator, which computes a CRC for each idempotent batch.
PACED: dict[str, Any] = {"acks": -1, "throughput": 3000 * 150.0}
TRANSACTION: dict[str, Any] = {"generator": "librdkafka", "producers": 1, "batch_records": 10}
FETCHES: dict[str, Any] = {"generator": "librdkafka", "consumers": 2, "batch_records": 16, "warm_up_s": 0.5}
MEMBERS: dict[str, Any] = {"members": 1000, "partitions": 200}
CONSUMERS = {"group_protocol": "consumer"}
IDLE_MEMBERS: dict[str, Any] = {
    "groups": 10, "members": 1000, "partitions": 200, "producers": 500, "batch_records": 1, "throughput": 2000.0,
    "warm_up_s": 5.0, "duration_s": 5.0,  # each member's first heartbeat, and its second one
}  # fmt: skip
#: Members of consumer groups come for news every second: otherwise their join lasts twice Kafka's 5 seconds.
GROUPS = {
    "group.consumer.min.heartbeat.interval.ms": 1000,
    "group.consumer.heartbeat.interval.ms": 1000,
    "group.initial.rebalance.delay.ms": 0,
}
ROWS = [
    Row("produce 16 KiB batches, 5 in flight, acks=1", "produce", "GB"),
    Row("the same, acks=all", "produce", "GB", {"acks": -1}),
    Row("the same, acks=all, 3,000 requests/s", "produce", "GB", PACED),
    Row("the same, acks=all, 3,000 requests/s, idempotent", "produce", "GB", PACED | IDEMPOTENT),
    Row("produce 900 kB batches", "produce", "GB", {"batch_records": 8200}),
    Row("produce one 100 B record, 1 in flight", "produce", "request", ONE_RECORD),
    Row("the same, 64 connections", "produce", "request", {**ONE_RECORD, "producers": 64}),
    Row("the same, 4 connections, 32 in flight", "produce", "request", {**ONE_RECORD, "in_flight": 32}),
    Row(
        "1000 acks=all requests/s of 1 kB",
        "produce",
        "latency",
        {"batch_records": 1, "in_flight": 1000, "acks": -1, "throughput": 1000.0},
        record_size=1000,
    ),
    Row("fetch 1 MiB", "consume", "GB", {"fetch_bytes": 1 << 20}),
    Row("fetch 64 KiB", "consume", "GB", {"fetch_bytes": 1 << 16}),
    Row("fsync before the answer, 1 connection", "produce", "request", {**ONE_RECORD, "acks": -1, "producers": 1}, synced=True),
    Row("fsync before the answer, 64 connections", "produce", "request", {**ONE_RECORD, "acks": -1, "producers": 64}, synced=True),
    Row("commit an offset, 100 groups in turn, 1 in flight", "groups", "request", {"groups": 100, "in_flight": 1}),
    Row("the same, 5 in flight", "groups", "request", {"groups": 100}),
    Row("librdkafka: produce, acks=all", "produce", "GB", LIBRDKAFKA, floor=False),
    Row("librdkafka: the same, idempotent", "produce", "GB", LIBRDKAFKA | IDEMPOTENT, floor=False),
    Row("transactions of 10 records on 4 partitions, 1 producer", "transactions", "latency", TRANSACTION),
    Row("transactions of 10 records, 20 producers", "transactions", "request", {**TRANSACTION, "producers": 20}),
    Row("share group of 4 members", "share-group", "record", floor=False),
    Row("1,000 members join a classic group", "group-members", "latency", MEMBERS, floor=False, is_long=True),
    Row("1,000 members join a consumer group", "group-members", "latency", MEMBERS | CONSUMERS, floor=False, is_long=True),
    Row("2,000 heartbeats/s of 10,000 idle members", "idle-members", "request", IDLE_MEMBERS, floor=False, is_long=True),
    Row("TLS: librdkafka produces, acks=all", "produce", "GB", LIBRDKAFKA, 1000, floor=False, security="SSL"),
    Row("TLS and SASL: the same", "produce", "GB", LIBRDKAFKA, 1000, floor=False, security="SASL_SSL"),
    Row("TLS: librdkafka fetches", "consume", "GB", FETCHES, 1000, floor=False, is_long=True, security="SSL"),
    Row("TLS and SASL: librdkafka fetches", "consume", "GB", FETCHES, 1000, floor=False, is_long=True, security="SASL_SSL"),
    Row("TLS: full handshakes, RSA with 2048 bits", "handshakes", "request", floor=False, security="SSL"),
]  # fmt: skip


@dataclass(frozen=True)
class CompareOptions:
    """How long and how often. `jars` is None to leave Apache Kafka out."""

    duration_s: float = 2.5
    rounds: int = 5
    rows: str = ""  # only those whose label contains it
    long_rows: bool = True  # also those whose runs take longer than `duration_s`
    touch_bytes: int = 6 * GIB
    jvm_warm_up_s: float = 20.0
    jars: Path | None = None
    broker_config: Mapping[str, object] = field(default_factory=dict)

    def chosen_rows(self) -> list[Row]:
        """In table order."""
        return [row for row in ROWS if self.rows.lower() in row.label.lower() and (self.long_rows or not row.is_long)]


class Compare:
    """One comparison; its runs are in `file`, even after an interruption. Raises BrokerError when a server does not
    start."""

    def __init__(self, file: results.Results, options: CompareOptions, progress: Progress) -> None:
        self.file, self.options, self.progress = file, options, progress
        self.secured: dict[str, SecuredListeners] = {}  # by the target's name, if a row needs them

    def run(self) -> bool:
        """Run all rounds; False after Ctrl-C. A server that dies is skipped from then on."""
        try:
            with contextlib.ExitStack() as started:
                self._rounds(self._start(started))
        except KeyboardInterrupt:
            return False
        return True

    def _start(self, started: contextlib.ExitStack) -> list[Target]:
        touched = machine.touch_memory(self.options.touch_bytes)
        self.progress.note(f"Touched {touched / GIB:.1f} GiB of memory.")
        raise_descriptor_limit_as_far_as_it_goes()
        if any(row.security != "PLAINTEXT" for row in self.options.chosen_rows()):
            certificate = Certificate()
            started.callback(certificate.delete)
            self.secured = {name: SecuredListeners(certificate) for name in (results.KAFKA_CY, results.APACHE_KAFKA)}
        config, listeners = self._secured_broker(results.KAFKA_CY)
        own = OwnBroker({**DELETE_SOON, **GROUPS, **config, **self.options.broker_config}, more_listeners=listeners)
        targets: list[Target] = [own]
        started.callback(own.stop)
        if self.options.jars is not None:
            self.file.versions["apache-kafka"] = KAFKA_VERSION
            config, listeners = self._secured_broker(results.APACHE_KAFKA)
            targets.append(ApacheKafka(self.options.jars, {**GROUPS, **config}, more_listeners=listeners))
            started.callback(targets[1].stop)
            self._warm_up(targets[1])
        return targets

    def _secured_broker(self, name: str) -> tuple[dict[str, object], list[str]]:
        """What its listeners with TLS need: configuration and addresses."""
        made = self.secured.get(name)
        return (made.broker_config(), made.listeners) if made else ({}, [])

    def _through(self, target: Target, row: Row) -> Target:
        """The target as the row's clients reach it."""
        made = self.secured.get(target.name)
        return made.through(target, row.security) if made else target

    def _warm_up(self, kafka: Target) -> None:
        rows = self.options.chosen_rows()
        self.progress.note(f"Warming Apache Kafka up for {self.options.jvm_warm_up_s:.0f} s.")
        for row in rows:
            options = row.load_options(self.options.jvm_warm_up_s / len(rows))
            run = workloads.run(row.workload, self._through(kafka, row), options)
            if run.outcome == "interrupted":
                raise KeyboardInterrupt

    def _rounds(self, targets: list[Target]) -> None:
        for number in range(1, self.options.rounds + 1):
            for index, row in enumerate(self.options.chosen_rows()):
                sides: list[Target | None] = [each for each in targets if each.alive()]
                if row.floor:
                    sides.append(None)
                turn = number % max(len(sides), 1)
                for side in sides[turn:] + sides[:turn]:
                    if side is None:
                        run = self._floor(row, index, number)
                    else:
                        run = self._run(row, index, side, number)
                    self.file.runs.append(run)
                    if run.outcome == "interrupted":
                        raise KeyboardInterrupt

    def _run(self, row: Row, index: int, target: Target, number: int) -> results.Run:
        return workloads.run(
            row.workload,
            self._through(target, row),
            row.load_options(self.options.duration_s),
            self.progress,
            label=row.label,
            round=number,
            marks={"row": index, "unit": row.unit},
        )

    def _floor(self, row: Row, index: int, number: int) -> results.Run:
        """A new floor each time, because it never deletes a topic; the floor of fsync is the disk's."""
        if row.synced:
            return self._disk(row, index, number)
        floor = Floor()
        try:
            return self._run(row, index, floor, number)
        finally:
            floor.stop()

    def _disk(self, row: Row, index: int, number: int) -> results.Run:
        with tempfile.TemporaryDirectory(prefix="kafka-cy-bench-disk-") as folder:
            writes, seconds, size, latency = synced_writes(f"{folder}/log", min(self.options.duration_s, 2.0))
        run = results.Run(
            workload="fdatasync",
            label=row.label,
            target=results.FLOOR,
            generator=None,
            round=number,
            options={"row": index, "unit": row.unit},
            outcome="completed",
            totals=results.Totals(duration_s=seconds, requests=writes, records=writes, bytes=size),
            latency=results.Latency(**latency.export()),
        )
        self.progress.run_ended(run)
        return run
