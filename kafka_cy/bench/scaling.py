"""`bench scaling`: the cost of a request as something grows, compared at each point with a broker where it has not grown.

Two brokers run at once. At each point, short runs alternate between the base and the variant, and the result is the
ratio within each pair, so that other work on the machine affects both sides. A curve continues up to the limits of the
machine; a curve that has to stop earlier gives the reason.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kafka_cy.bench import results, workloads
from kafka_cy.bench.bench_topic import bench_topic
from kafka_cy.bench.brokers import BrokerError, OwnBroker, connect_admin
from kafka_cy.bench.compare import DELETE_SOON
from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.bench.measure import Progress
from kafka_cy.bench.native_runner import (
    NativeRunner,
    new_native_load,
    raise_descriptor_limit_as_far_as_it_goes,
    run_unmeasured,
)
from kafka_cy.bench.payloads import Payloads
from kafka_cy.bench.workloads.consume import fill
from kafka_cy.bench.workloads.groups import add_commits, prepare_coordinator
from kafka_cy.bench.workloads.many_connections import idle_connections

TOPIC = "scaling"
PARTITIONS = 4
FILL_BYTES = 50_000_000
SEGMENT_BYTES = 1 << 20  # the minimum that Kafka accepts
TOPIC_PARTITIONS_MAX = 1000  # of one idle topic
MAKE_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class MeasuredLoad:
    """A load that runs at each point, on a topic that exists already."""

    label: str
    workload: str
    options: dict[str, Any] = field(default_factory=dict)
    unit: results.Unit = "request"


ONE_RECORD = MeasuredLoad("produce one 100 B record, 1 in flight", "produce", {"batch_records": 1, "in_flight": 1})
ONE_OF_A_SIZE = MeasuredLoad("produce one record of this size, 1 in flight", "produce", ONE_RECORD.options)
FETCH = MeasuredLoad("fetch 64 KiB", "consume", {"fetch_bytes": 1 << 16})
COMMIT = MeasuredLoad("commit an offset of one group", "groups", {"groups": 1, "producers": 1, "in_flight": 1})
MANY_CLIENTS = MeasuredLoad(
    "produce one 100 B record, 64 connections", "produce", {"batch_records": 1, "in_flight": 1, "producers": 64}
)
BATCHES = MeasuredLoad("produce 16 KiB batches, 5 in flight", "produce", {"batch_records": 150}, "GB")


@dataclass(frozen=True)
class Curve:
    """What grows, the points at which it is measured, and the loads."""

    name: str
    points: tuple[int, ...]
    quick_points: tuple[int, ...]
    loads: tuple[MeasuredLoad, ...]


CURVES = [
    Curve("partitions", (1, 10, 100, 1_000, 10_000, 20_000), (1_000,), (ONE_RECORD, FETCH)),
    Curve("connections", (1, 10, 100, 1_000, 5_000), (1_000,), (ONE_RECORD, FETCH)),
    Curve("groups", (1, 10, 100, 1_000, 10_000), (1_000,), (ONE_RECORD, COMMIT)),
    Curve("segments", (1, 10, 100, 1_000), (50,), (ONE_RECORD, FETCH)),
    Curve("record size", (10, 100, 1_000, 10_000, 100_000, 1_000_000), (10, 1_000, 100_000), (ONE_OF_A_SIZE,)),
    Curve("reactors", (1, 2, 3, 4), (2,), (MANY_CLIENTS, BATCHES)),
]


@dataclass(frozen=True)
class ScalingOptions:
    """The duration of a run, the number of pairs per point, and the curves (empty: all)."""

    duration_s: float = 0.7
    pairs: int = 5
    curves: tuple[str, ...] = ()
    quick: bool = False


class Scaling:
    """Measures the curves. `file` has their runs, even after an interruption. Raises BrokerError when no broker starts."""

    def __init__(self, file: results.Results, options: ScalingOptions, progress: Progress) -> None:
        self.file, self.options, self.progress = file, options, progress

    def run(self) -> bool:
        """Run all chosen curves. Returns False after Ctrl-C."""
        raise_descriptor_limit_as_far_as_it_goes()
        try:
            for curve in CURVES:
                if not self.options.curves or curve.name in self.options.curves:
                    try:
                        self._curve(curve)
                    except BrokerError as error:
                        self.progress.note(f"The curve “{curve.name}” ends here: {error}")
        except KeyboardInterrupt:
            return False
        return True

    def _curve(self, curve: Curve) -> None:
        points = curve.quick_points if self.options.quick else curve.points
        config: dict[str, object] = {"num.network.threads": 1} if curve.name == "reactors" else {}
        with contextlib.ExitStack() as held:
            base = self._broker(held, config)
            variant = None if curve.name == "reactors" else self._broker(held, {})
            for point in points:
                with contextlib.ExitStack() as of_point:
                    if variant is None:
                        measured = self._broker(of_point, {"num.network.threads": point})
                    else:
                        measured = variant
                        GROW.get(curve.name, nothing)(variant, point, of_point)
                    for load in curve.loads:
                        self._point(curve, point, load, base, measured)

    def _broker(self, held: contextlib.ExitStack, config: dict[str, object]) -> OwnBroker:
        """A broker with the topic for the loads, filled with records to read."""
        broker = OwnBroker({**DELETE_SOON, **config})
        held.callback(broker.stop)
        options = LoadOptions(
            topic=TOPIC, partitions=PARTITIONS, topic_config={"segment.bytes": str(SEGMENT_BYTES)}, batch_records=150
        )
        with bench_topic(broker, options) as topic:
            fill(broker, topic, options, FILL_BYTES)
        return broker

    def _point(self, curve: Curve, point: int, load: MeasuredLoad, base: OwnBroker, variant: OwnBroker) -> None:
        options = LoadOptions(
            topic=TOPIC, duration_s=self.options.duration_s, warm_up_s=self.options.duration_s / 4, **load.options
        )
        grown = options
        if curve.name == "record size":  # on topics that are deleted immediately, because it writes gigabytes
            options = dataclasses.replace(options, topic=None, partitions=PARTITIONS)
            grown = dataclasses.replace(options, payloads=Payloads(record_size=point))
        for pair in range(1, self.options.pairs + 1):
            sides = [("base", base, options), ("variant", variant, grown)]
            for role, broker, chosen in sides if pair % 2 else sides[::-1]:
                run = workloads.run(
                    load.workload,
                    broker,
                    chosen,
                    self.progress,
                    label=load.label,
                    round=pair,
                    marks={"curve": curve.name, "at": point, "pair": pair, "role": role, "unit": load.unit},
                )
                self.file.runs.append(run)
                if run.outcome == "interrupted":
                    raise KeyboardInterrupt
                if run.outcome == "broker-died":
                    raise BrokerError(run.error or "the broker died.")


# -- what grows --


def grow_partitions(broker: OwnBroker, point: int, _held: contextlib.ExitStack) -> None:
    """Create idle partitions until there are `point`."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import NewTopic

    admin = connect_admin(broker)
    topics = admin.list_topics(timeout=MAKE_TIMEOUT_S).topics
    missing = point - sum(len(topic.partitions) for name, topic in topics.items() if name.startswith("idle-"))
    new: list[NewTopic] = []
    while missing > 0:
        size = min(missing, TOPIC_PARTITIONS_MAX)
        new.append(NewTopic(f"idle-{point}-{len(new)}", size, 1))
        missing -= size
    for topic in new:
        try:
            admin.create_topics([topic], request_timeout=MAKE_TIMEOUT_S)[topic.topic].result(MAKE_TIMEOUT_S)
        except (KafkaException, TimeoutError) as error:
            raise BrokerError(f"{point} partitions could not be created: {error}.") from None


def grow_connections(broker: OwnBroker, point: int, held: contextlib.ExitStack) -> None:
    """Open idle connections, for this point only."""
    held.enter_context(idle_connections(broker, point))


def grow_groups(broker: OwnBroker, point: int, _held: contextlib.ExitStack) -> None:
    """Create groups with a committed offset; the names are the same at every point."""
    names = [f"idle-{number:06d}" for number in range(point)]
    prepare_coordinator(broker, names[0], TOPIC)
    options = LoadOptions(topic=TOPIC, producers=1, in_flight=32, num_records=point, batch_records=1, warm_up_s=0.0)
    options = dataclasses.replace(options, duration_s=MAKE_TIMEOUT_S)
    with bench_topic(broker, options) as topic:
        native = new_native_load(broker, options)
        add_commits(native, topic, names, options)
    run_unmeasured(NativeRunner(native), f"{point} groups could not be created")


def grow_segments(broker: OwnBroker, point: int, _held: contextlib.ExitStack) -> None:
    """Add 1 MiB segments to each partition of the loaded topic until each has `point`."""
    options = LoadOptions(topic=TOPIC, partitions=PARTITIONS, batch_records=150)

    def fewest() -> int:
        folders = broker.data_dir.glob(f"{TOPIC}-*")
        return min(len(list(folder.glob("*.log"))) for folder in folders)

    with bench_topic(broker, options) as topic:
        while (missing := point - fewest()) > 0:
            fill(broker, topic, options, missing * PARTITIONS * SEGMENT_BYTES, MAKE_TIMEOUT_S)


def nothing(_broker: OwnBroker, _point: int, _held: contextlib.ExitStack) -> None:
    """Grow nothing: on this curve the load itself changes."""


GROW: dict[str, Callable[[OwnBroker, int, contextlib.ExitStack], None]] = {
    "partitions": grow_partitions,
    "connections": grow_connections,
    "groups": grow_groups,
    "segments": grow_segments,
}


def pairs_of(file: results.Results) -> Iterator[tuple[str, str, float, list[tuple[results.Run, results.Run]]]]:
    """(curve, label, at, [(base, variant) of each complete pair]); the points of a load follow each other."""
    found: dict[tuple[str, str, float], dict[str, dict[str, results.Run]]] = {}
    for run in file.runs:
        options = run.options
        if {"curve", "at", "pair", "role"} <= options.keys():
            key = (str(options["curve"]), run.label, float(options["at"]))
            found.setdefault(key, {}).setdefault(str(options["pair"]), {})[str(options["role"])] = run
    loads = list(dict.fromkeys((curve, label) for curve, label, _ in found))
    for (curve, label, at), pairs in sorted(found.items(), key=lambda each: (loads.index(each[0][:2]), each[0][2])):
        whole = [(pair["base"], pair["variant"]) for pair in pairs.values() if {"base", "variant"} <= pair.keys()]
        yield curve, label, at, whole
