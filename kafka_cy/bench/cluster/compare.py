"""`bench compare --cluster`: the rows, and their rounds.

Both clusters run all the time, with one ZooKeeper. Each round runs every row against each of them in rotating order. Rows
that need many idle partitions come last, because those are created once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from kafka_cy.bench import machine, results, workloads
from kafka_cy.bench.brokers import BrokerError, Floor
from kafka_cy.bench.cluster import events
from kafka_cy.bench.cluster.cluster import REPLICAS, Cluster
from kafka_cy.bench.cluster.events import Happened
from kafka_cy.bench.cluster.servers import KAFKA_VERSION, ZooKeeper, raise_descriptor_limit
from kafka_cy.bench.compare import GIB, Row
from kafka_cy.bench.load_options import OptionError
from kafka_cy.bench.measure import Progress

REPLICATED = {"acks": -1, "replication_factor": REPLICAS}
PACED = {**REPLICATED, "batch_records": 1, "in_flight": 1000, "throughput": 1000.0}
WARM_UP_PARTITIONS = 100
WARM_UP_SLICE_S = 2.0
WARM_FROM = 0.85


@dataclass(frozen=True)
class Event:
    """A row of the table whose figure is a time. `unit`: "time", or "idle" for milliseconds of CPU time in a second."""

    label: str
    workload: str
    happen: Callable[[Cluster], Happened]
    unit: results.Unit = "time"


@dataclass(frozen=True)
class ClusterOptions:
    """How long, how often, and how much. `jars` is None to leave Apache Kafka out."""

    duration_s: float = 2.5
    rounds: int = 3
    rows: str = ""  # only those whose label contains it
    created: int = 1000  # partitions of a topic
    failover: int = 5000  # partitions that a new controller finds
    idle: int = 10_000  # partitions beside a load
    session_timeout_ms: int = 6000
    touch_bytes: int = 6 * GIB
    jvm_warm_up_s: float = 180.0  # at most
    jars: Path | None = None
    warm_up_s: float = 1.5  # longer than replica.fetch.backoff.ms, which followers of a new topic may wait
    broker_config: Mapping[str, object] = field(default_factory=dict)

    def chosen_rows(self) -> list[tuple[int, Row | Event]]:
        """In table order, each with the number of idle partitions that there are meanwhile."""
        return [(idle, row) for idle, row in all_rows(self) if self.rows.lower() in row.label.lower()]


def all_rows(options: ClusterOptions) -> list[tuple[int, Row | Event]]:
    """See ClusterOptions.chosen_rows. The numbers of idle partitions ascend."""
    created, failover, idle = options.created, options.failover, options.idle
    session_s = options.session_timeout_ms / 1000
    idle_row = partial(events.idle, duration_s=2 * options.duration_s)
    return [
        (0, Row("produce 16 KiB batches, 5 in flight, acks=all", "produce", "GB", REPLICATED)),
        (0, Row("64 connections, one 100 B record each, acks=all", "produce", "request",
                {**REPLICATED, "batch_records": 1, "in_flight": 1, "producers": 64, "partitions": 6})),
        (0, Row("1,000 acks=all requests/s of 1 kB", "produce", "latency", PACED, record_size=1000)),
        (0, Event("idle brokers: CPU within a second", "idle", idle_row, "idle")),
        (0, Event(f"create {created:,} partitions until all leaders are known", "create-partitions",
                  partial(events.create_partitions, count=created))),
        (0, Event(f"kill -9 of a leader, session time-out {session_s:g} s: longest time without acknowledgement",
                  "leader-killed", events.leader_killed)),
        (0, Event("controlled shutdown of a leader: latest acknowledgement", "leader-shut-down", events.leader_shut_down)),
        (failover, Event(f"kill -9 of the controller of {failover:,} partitions: from the end of its session to new leaders",
                         "controller-killed", partial(events.controller_killed, partitions=failover))),
        (idle, Row(f"1,000 acks=all requests/s of 1 kB beside {idle:,} idle partitions", "produce", "latency", PACED,
                   record_size=1000)),
        (idle, Event(f"idle brokers with {idle:,} partitions: CPU within a second", "idle", idle_row, "idle")),
    ]  # fmt: skip


def _is_level(costs: list[float]) -> bool:
    """Whether the last two costs are not much lower than the one before them."""
    return len(costs) > 2 and min(costs[-2:]) > WARM_FROM * costs[-3]


class ClusterCompare:
    """One comparison; its runs are in `file`, even after an interruption. Raises BrokerError when a server does not start."""

    def __init__(self, file: results.Results, options: ClusterOptions, progress: Progress) -> None:
        self.file, self.options, self.progress = file, options, progress
        self._rows = options.chosen_rows()

    def run(self) -> bool:
        """Run all rounds; False after Ctrl-C. A cluster that loses a broker is skipped from then on."""
        try:
            with contextlib.ExitStack() as started:
                self._stages(self._start(started))
        except KeyboardInterrupt:
            return False
        return True

    def _start(self, started: contextlib.ExitStack) -> list[Cluster]:
        options = self.options
        touched = machine.touch_memory(options.touch_bytes)
        self.progress.note(f"Touched {touched / GIB:.1f} GiB of memory.")
        raise_descriptor_limit()
        self._zookeeper = ZooKeeper(options.jars)
        started.callback(self._zookeeper.stop)
        session = {"zookeeper.session.timeout.ms": options.session_timeout_ms}
        clusters = [Cluster(results.KAFKA_CY, self._zookeeper, None, {**session, **options.broker_config})]
        started.callback(clusters[0].stop)
        if options.jars is not None:
            self.file.versions["apache-kafka"] = KAFKA_VERSION
            clusters.append(Cluster(results.APACHE_KAFKA, self._zookeeper, options.jars, session))
            started.callback(clusters[1].stop)
            self._warm_up(clusters[1])
        return clusters

    def _warm_up(self, kafka: Cluster) -> None:
        """Load it until its CPU time for a request falls no more: on a busy machine, the JVM's compiler needs long."""
        rows = [row for idle, row in self._rows if isinstance(row, Row) and not idle]
        events_too = any(isinstance(row, Event) for _, row in self._rows)
        self.progress.note(f"Warming Apache Kafka up, {self.options.jvm_warm_up_s:.0f} s at most.")
        begun_s = time.monotonic()
        costs: list[float] = []
        while rows and time.monotonic() < begun_s + self.options.jvm_warm_up_s and not _is_level(costs):
            cpu_s = requests = 0.0
            for row in rows:
                run = workloads.run(row.workload, kafka, row.load_options(WARM_UP_SLICE_S))
                if run.outcome == "interrupted":
                    raise KeyboardInterrupt
                if not row.load_options(0).throughput:  # as fast as possible
                    cpu_s += run.totals.broker_cpu_s or 0.0
                    requests += run.totals.requests
            costs.append(cpu_s / max(requests, 1.0))
        if events_too:
            events.create_partitions(kafka, WARM_UP_PARTITIONS)
        shown = ", ".join(f"{cost * 1e6:.0f}" for cost in costs)
        self.progress.note(f"Warmed up for {time.monotonic() - begun_s:.0f} s; CPU time of a request meanwhile: {shown} us.")

    def _stages(self, clusters: list[Cluster]) -> None:
        """All rounds of the rows without idle partitions, then those of the rows with some, then with more."""
        for partitions in dict.fromkeys(idle for idle, _ in self._rows):
            for cluster in clusters:
                if cluster.alive() and cluster.idle_partitions < partitions:
                    begun_s = time.monotonic()
                    cluster.fill(partitions)
                    took_s = time.monotonic() - begun_s
                    self.progress.note(f"{cluster.name} has {partitions:,} idle partitions after {took_s:.1f} s.")
            for number in range(1, self.options.rounds + 1):
                for index, (idle, row) in enumerate(self._rows):
                    if idle == partitions:
                        self._row(row, index, clusters, number)

    def _row(self, row: Row | Event, index: int, clusters: list[Cluster], number: int) -> None:
        sides: list[Cluster | None] = [each for each in clusters if each.alive()]
        if isinstance(row, Row):
            sides.append(None)
        turn = number % max(len(sides), 1)
        for side in sides[turn:] + sides[:turn]:
            run = self._run(row, index, side, number)
            self.file.runs.append(run)
            if run.outcome == "interrupted":
                raise KeyboardInterrupt

    def _run(self, row: Row | Event, index: int, side: Cluster | None, number: int) -> results.Run:
        marks: dict[str, object] = {"row": index, "unit": row.unit, "cluster": REPLICAS}
        if isinstance(row, Event):
            assert side is not None
            return self._event(row, side, number, marks)
        if side is None:
            return self._floor(row, number, marks)
        before_s = self._zookeeper.cpu_s()
        run = self._load(row, side, number, marks)
        run.options["zookeeper_cpu_s"] = round(self._zookeeper.cpu_s() - before_s, 6)
        return run

    def _load(self, row: Row, side: Cluster | Floor, number: int, marks: dict[str, object]) -> results.Run:
        options = dataclasses.replace(row.load_options(self.options.duration_s), warm_up_s=self.options.warm_up_s)
        try:
            return workloads.run(row.workload, side, options, self.progress, label=row.label, round=number, marks=marks)
        except (BrokerError, OptionError) as error:
            return self._failed(row, side.name, number, marks, str(error))

    def _floor(self, row: Row, number: int, marks: dict[str, object]) -> results.Run:
        """One receiver that writes each batch once, for no replica but itself."""
        floor = Floor()
        try:
            return self._load(row, floor, number, marks)
        finally:
            floor.stop()

    def _event(self, event: Event, cluster: Cluster, number: int, marks: dict[str, object]) -> results.Run:
        self.progress.run_started(event.label, cluster.name, None)
        started = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        before_s = self._zookeeper.cpu_s()
        try:
            happened = event.happen(cluster)
        except BrokerError as error:
            return self._failed(event, cluster.name, number, marks, str(error))
        marks = {**marks, **happened.more, "zookeeper_cpu_s": round(self._zookeeper.cpu_s() - before_s, 6)}
        cpu_s = None if happened.cpu_s is None else round(happened.cpu_s, 6)
        totals = results.Totals(duration_s=round(happened.duration_s, 6), requests=1, broker_cpu_s=cpu_s)
        ms = happened.ms
        latency = results.Latency(1, ms, ms, ms, ms, ms, ms, ms, [[ms, 1]])
        run = results.Run(
            event.workload, event.label, cluster.name, None, number, marks, "completed", totals, latency=latency, started=started
        )
        self.progress.run_ended(run)
        return run

    def _failed(self, row: Row | Event, name: str, number: int, marks: dict[str, object], why: str) -> results.Run:
        totals = results.Totals(duration_s=0.0)
        run = results.Run(row.workload, row.label, name, None, number, marks, "failed", totals, why)
        self.progress.run_ended(run)
        return run
