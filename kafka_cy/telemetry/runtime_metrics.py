"""Metrics of the thread of the coordinators and of their runtimes, and of verified transactions.

Kafka: CoordinatorRuntimeMetrics (of its group and its share coordinator), AddPartitionsToTxnManager. One thread works for all
coordinators here: what is said of it is the same in both families.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client.core import Metric

from kafka_cy.telemetry import reactor_numbers
from kafka_cy.telemetry.broker_view import BrokerView
from kafka_cy.telemetry.families import QUANTILES, both_counts, family, gauge
from kafka_cy.telemetry.runtime_numbers import RuntimeNumbers
from kafka_cy.telemetry.transaction_numbers import TransactionNumbers
from kafka_cy.telemetry.windows import CountsWindow, Rates

COORDINATOR: Final = 1  # place of the loop, as in api/registry
MS: Final = 1e-6  # of a nanosecond
PARTS: Final = (("max", 1.0), ("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999))  # Kafka: KafkaMetricHistogram
VERIFICATION: Final = "kafka_server_addpartitionstotxnmanager_verification"


class RuntimeMetrics:
    """Owner: the thread that scrapes. `persec`: adds the names of the other dialect."""

    def __init__(self, view: BrokerView, rates: Rates, persec: bool) -> None:
        self._view = view
        self._rates = rates
        self._persec = persec
        self._windows: dict[str, CountsWindow] = {}

    def collect(self, now: float) -> Iterable[Metric]:
        """Yield each family once; `now` is the monotonic time in seconds."""
        thread = self._thread(now)
        for name, numbers in self._view.runtimes().items():
            prefix = f"kafka_server_{name}_coordinator_metrics_"
            for part, text, value in thread:
                yield gauge(prefix + part, text, value)
            yield from self._runtime(prefix, numbers, now)
        yield from self._verification(self._view.transactions(), now)

    def _thread(self, now: float) -> list[tuple[str, str, float]]:
        """(end of the name, text, value)."""
        loop = reactor_numbers.control(self._view.server)[COORDINATOR]
        events = self._view.coordinator_events()
        uptime_s = reactor_numbers.shared(self._view.server).uptime_ns / 1e9
        idle = self._rates.rate("coordinator idle", loop.idle_ns / 1e9, now, now - uptime_s)
        return [
            ("event_queue_size", "Requests and calls that wait for the coordinators' thread", loop.queued + events.posted),
            ("thread_idle_ratio_avg", "Idle share of the coordinators' thread, 0 to 1", min(1.0, idle)),
            *self._times("event_queue_time", "an event waited for the coordinators' thread", events.waited_ns, now),
            *self._times("event_processing_time", "the coordinators' thread worked on an event", events.worked_ns, now),
        ]

    def _times(self, name: str, what: str, counts: Sequence[int], now: float) -> list[tuple[str, str, float]]:
        recent = self._recent(name, counts, now)
        return [
            (f"{name}_ms_{part}", f"Milliseconds that {what}, in the last minutes ({part})", MS * _quantile(recent, wanted))
            for part, wanted in PARTS
        ]

    def _recent(self, name: str, counts: Sequence[int], now: float) -> list[int]:
        return self._windows.setdefault(name, CountsWindow()).recent(counts, now) if counts else []

    def _runtime(self, prefix: str, numbers: RuntimeNumbers, now: float) -> Iterable[Metric]:
        states = (("loading", numbers.loading), ("active", numbers.active), ("failed", numbers.failed))
        samples = [({"state": state}, float(count)) for state, count in states]
        yield family("gauge", prefix + "num_partitions", "Partitions of the coordinator's topic by state", samples)
        for name, what, counts in (
            ("event_purgatory_time", "responses waited until what they say was stored", numbers.wait_ns),
            ("batch_flush_time", "it took to append the records of an operation", numbers.flush_ns),
        ):
            recent = self._recent(prefix + name, counts, now)
            for part, wanted in PARTS:
                text = f"Milliseconds that {what}, in the last minutes ({part})"
                yield gauge(f"{prefix}{name}_ms_{part}", text, MS * _quantile(recent, wanted))
        name, flushes = prefix + "batch_flush_rate", sum(numbers.flush_ns)
        yield gauge(name, "Batches of records that were appended per second", self._rates.rate(name, flushes, now))

    def _verification(self, numbers: TransactionNumbers, now: float) -> Iterable[Metric]:
        name, text = VERIFICATION + "failurerate", "Partitions of writes that are not part of their transaction"
        yield from self._counted(name, text, [], numbers.refused_partitions)
        text = "per second, over the last minute"
        rate = self._rates.rate(name, numbers.refused_partitions, now)
        yield gauge(name + "_oneminuterate", f"Partitions of writes that are not part of their transaction, {text}", rate)
        name, text = VERIFICATION + "timems", "Milliseconds until a coordinator said whether partitions are in a transaction"
        recent = self._recent(name, numbers.verification_ns, now)
        samples = [({"quantile": label}, MS * _quantile(recent, wanted)) for wanted, label in QUANTILES]
        yield from self._counted(name, text, samples, sum(numbers.verification_ns))

    def _counted(self, name: str, text: str, samples: list[tuple[dict[str, str], float]], count: int) -> Iterable[Metric]:
        """The count as `_count`, and in the other dialect under the bare name."""
        total: list[tuple[dict[str, str], float]] = [({}, float(count))]
        shown = [*samples, *(total if self._persec else [])]
        if shown:
            yield family("gauge" if samples else "unknown", name, text, shown)
        yield from both_counts(name, text, total)


def _quantile(counts: list[int], wanted: float) -> float:
    return reactor_numbers.quantile(counts, wanted) if counts else 0.0
